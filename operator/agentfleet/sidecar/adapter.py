"""One LoRA adapter of a vLLM engine: from its source to the folder, from the folder into the engine, and away again.

Level-based: each round asks vLLM what it serves and does what is missing, so a restarted engine gets it again. Which
adapters there are is adapters.py's to say.
"""

import asyncio
import contextlib
import json
import logging
import re
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from agentfleet.sidecar.download import Downloads
from agentfleet.sidecar.engines.base import EngineUnavailable
from agentfleet.sidecar.engines.loras import Loras
from agentfleet.sidecar.failures import INTERNAL_ERROR, ModelFailed, retry_delay
from agentfleet.sidecar.models import ModelState, ModelStatus

log = logging.getLogger(__name__)

RECHECK = 15.0
"""Seconds between two looks at an adapter that is loaded."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """One entry of the file: the id in the OpenAI API, and where the weights come from."""

    name: str
    uri: str

    @property
    def folder(self) -> str:
        """Another source gets another folder, so the one in use is never written to."""
        readable = re.sub(r"[^A-Za-z0-9._-]", "-", self.name)[:40].strip(".")
        return f"{readable}-{sha256(f'{self.name} {self.uri}'.encode()).hexdigest()[:12]}"


def listed(text: str) -> list[Adapter]:
    """The adapters of a file. ValueError says what is wrong with it."""
    content = json.loads(text)
    if not isinstance(content, list):
        raise ValueError("not a list")
    adapters: dict[str, Adapter] = {}
    for item in content:
        match item:
            case {"name": str(name), "uri": str(uri)} if name and uri:
                adapters[name] = Adapter(name, uri)
            case _:
                raise ValueError(f'{item!r} is not {{"name": …, "uri": …}}')
    return list(adapters.values())


class Keeper:
    """Keeps one adapter from one source."""

    def __init__(
        self,
        adapter: Adapter,
        folder: Path,
        loras: Loras,
        downloads: Downloads,
        clear_way: Callable[[str], Awaitable[None]],
        *,
        settled: bool,
    ) -> None:
        self.adapter = adapter
        self.folder = folder
        self._loras = loras
        self._downloads = downloads
        self._clear_way = clear_way
        """Stops whoever keeps the same name from another source. It serves until this one can."""
        self._serving = asyncio.Event()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._complete = False
        self._failures = 0
        self._status = ModelStatus(adapter.name, settled=settled)

    @property
    def status(self) -> ModelStatus:
        """As of now, with the loader's progress."""
        if self._status.state is ModelState.DOWNLOADING and (said := self._downloads.progress(self.folder)):
            return replace(self._status, progress_percent=said.percent, size=said.total)
        return self._status

    def start(self) -> None:
        """Begins to keep it, or goes on."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    def engine(self, *, serving: bool) -> None:
        """Told on every round. What is not served now is looked at again as soon as the engine is back."""
        if serving:
            self._serving.set()
        else:
            self._serving.clear()
            self.engine_lost()

    def engine_lost(self) -> None:
        """The engine serves nothing now, or another process does, without this adapter."""
        if self._status.state is ModelState.READY:
            self._status = self._status.to(ModelState.LOADING, reason="EngineUnavailable")
            self._wake.set()

    async def stop(self) -> None:
        """Stops keeping it; nothing changes in the engine."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def dispose(self) -> None:
        """Out of the engine, then off the disk. EngineUnavailable: try again."""
        await self.stop()
        if (await self._loras.loaded()).get(self.adapter.name) == str(self.folder):
            await self._loras.unload(self.adapter.name)
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)
        log.info("adapter %s from %s is gone", self.adapter.name, self.adapter.uri)

    async def _run(self) -> None:
        while True:
            delay = await self._round()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), delay)
            self._wake.clear()

    async def _round(self) -> float:
        """One attempt; returns the seconds until the next."""
        try:
            await self._converge()
        except EngineUnavailable as error:
            # The engine's own failure: nothing is wrong with the adapter.
            self._status = self._status.to(ModelState.LOADING, reason="EngineUnavailable", message=str(error))
            return retry_delay("EngineUnavailable", 1)
        except ModelFailed as failure:
            return self._failed(failure)
        except Exception:
            # A bug. The process must outlive it: a drain in progress would end with it, and requests be cut.
            log.exception("adapter %s", self.adapter.name)
            return self._failed(ModelFailed(INTERNAL_ERROR, "see the sidecar's log; this is a bug"))
        self._failures = 0
        return RECHECK

    def _failed(self, failure: ModelFailed) -> float:
        self._failures += 1
        delay = retry_delay(failure.reason, self._failures)
        self._status = self._status.failed(failure)
        log.warning("adapter %s: %s; next try in %.0f s", self.adapter.name, failure, delay)
        return delay

    async def _converge(self) -> None:
        if not self._complete:
            self._status = self._status.to(ModelState.DOWNLOADING)
            await self._downloads.bring(self.adapter.uri, self.folder)
            self._complete = True
        if not self._serving.is_set():
            self._status = self._status.to(ModelState.LOADING, reason="EngineStarting")
            await self._serving.wait()
        await self._load()
        if self._status.state is not ModelState.READY:
            log.info("adapter %s from %s is ready", self.adapter.name, self.adapter.uri)
        self._status = self._status.to(ModelState.READY)

    async def _load(self) -> None:
        name, folder = self.adapter.name, str(self.folder)
        served = (await self._loras.loaded()).get(name)
        if served == folder:
            return
        self._status = self._status.to(ModelState.LOADING)
        await self._clear_way(name)
        if served is not None:
            await self._loras.unload(name)
        await self._loras.load(name, folder)
