"""Keeps the LoRA adapters of a vLLM engine as a file lists them: downloaded, loaded, and gone when they are not listed.

    adapters.json ─▶ Adapters ─▶ one Keeper per adapter ─ agentfleet loader ─▶ folder ─ POST load ─▶ vLLM

The file is a mounted ConfigMap, so it changes at any time; the engine is never restarted for it, and no adapter waits
for another. Level-based: each round asks vLLM what it serves and does what is missing.
"""

import asyncio
import contextlib
import json
import logging
import re
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from agentfleet.sidecar.companion import Companion
from agentfleet.sidecar.download import Downloads
from agentfleet.sidecar.engines.base import EngineUnavailable, Health
from agentfleet.sidecar.engines.loras import Loras
from agentfleet.sidecar.failures import INTERNAL_ERROR, ModelFailed, retry_delay
from agentfleet.sidecar.models import ModelState, ModelStatus

log = logging.getLogger(__name__)

POLL = 2.0
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


class Adapters(Companion):
    """All adapters of one engine. The pod is ready when those of the first file are loaded, or have failed."""

    def __init__(self, file: Path, home: Path, loras: Loras, downloads: Downloads, *, poll: float = POLL) -> None:
        self._file = file
        self._home = home
        self._loras = loras
        self._downloads = downloads
        self._poll = poll
        self._text: str | None = None
        self._started = False
        self._serving = False
        self._keepers: dict[str, Keeper] = {}
        self._retired: list[Keeper] = []
        """No longer listed, or listed from another source: to be disposed of."""
        self._swept = False

    def tick(self, health: Health, models: Sequence[ModelStatus]) -> None:
        """Lets the keepers know whether there is an engine to talk to."""
        self._serving = health is Health.SERVING
        for keeper in (*self._keepers.values(), *self._retired):
            keeper.engine(serving=self._serving)

    def engine_restarted(self) -> None:
        """A new process serves no adapters."""
        for keeper in (*self._keepers.values(), *self._retired):
            keeper.engine_lost()

    def overlay(self, models: list[ModelStatus]) -> list[ModelStatus]:
        """The adapters come after the models. Until the file was read, it is not known what to wait for."""
        if not self._started:
            return [replace(model, settled=False) for model in models]
        return models + [keeper.status for keeper in self._keepers.values()]

    async def run(self) -> None:
        """Follows the file until cancelled."""
        try:
            while True:
                self._read()
                if self._serving:
                    await self._tidy()
                await asyncio.sleep(self._poll)
        finally:
            await asyncio.gather(*(keeper.stop() for keeper in (*self._keepers.values(), *self._retired)))

    def _read(self) -> None:
        """Takes over the file when its content changed; keeps to the last good one while it is none."""
        try:
            text = self._file.read_text(encoding="utf-8")
        except FileNotFoundError:
            text = "[]"
        except (OSError, UnicodeDecodeError) as error:
            log.warning("%s is unreadable, its last content counts: %s", self._file, error)
            return
        if text == self._text:
            return
        self._text = text
        try:
            wanted = listed(text)
        except ValueError as error:
            log.warning("%s is not a list of adapters, its last content counts: %s", self._file, error)
            return
        self._take_over(wanted)
        self._started = True

    def _take_over(self, wanted: list[Adapter]) -> None:
        for name, keeper in list(self._keepers.items()):
            if keeper.adapter not in wanted:
                self._retired.append(self._keepers.pop(name))
        for adapter in wanted:
            if adapter.name not in self._keepers:
                keeper = self._keepers[adapter.name] = self._keeper(adapter)
                keeper.engine(serving=self._serving)
                keeper.start()

    def _keeper(self, adapter: Adapter) -> Keeper:
        for keeper in self._retired:
            if keeper.adapter == adapter:
                self._retired.remove(keeper)
                return keeper
        folder = self._home / adapter.folder
        return Keeper(adapter, folder, self._loras, self._downloads, self._stop_retired, settled=self._started)

    async def _stop_retired(self, name: str) -> None:
        for keeper in self._retired:
            if keeper.adapter.name == name:
                await keeper.stop()

    async def _tidy(self) -> None:
        """Takes away what is not listed, unless its successor of the same name cannot serve yet."""
        try:
            if not self._swept:
                await self._sweep()
                self._swept = True
            for keeper in list(self._retired):
                successor = self._keepers.get(keeper.adapter.name)
                if successor is None or successor.status.state is ModelState.READY:
                    await keeper.dispose()
                    self._retired.remove(keeper)
        except (EngineUnavailable, ModelFailed) as error:
            log.warning("adapters that are no longer listed stay for now: %s", error)

    async def _sweep(self) -> None:
        """Once: adapters that went from the file while no sidecar ran."""
        for name, folder in (await self._loras.loaded()).items():
            if Path(folder).parent == self._home and name not in self._keepers:
                await self._loras.unload(name)
        kept = {keeper.folder for keeper in (*self._keepers.values(), *self._retired)}
        for found in self._home.iterdir():
            if found.is_dir() and found not in kept:
                await asyncio.to_thread(shutil.rmtree, found, ignore_errors=True)
