"""Keeps the LoRA adapters of a vLLM engine as a file lists them: downloaded, loaded, and gone when they are not listed.

    adapters.json ─▶ Adapters ─▶ one Keeper per adapter ─ agentfleet loader ─▶ folder ─ POST load ─▶ vLLM

The file is a mounted ConfigMap, so it changes at any time; the engine is never restarted for it, and no adapter waits
for another.
"""

import asyncio
import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from agentfleet.sidecar.adapter import RECHECK, Adapter, Keeper, listed
from agentfleet.sidecar.companion import Companion
from agentfleet.sidecar.download import Downloads
from agentfleet.sidecar.engines.base import EngineUnavailable, Health
from agentfleet.sidecar.engines.loras import Loras
from agentfleet.sidecar.failures import ModelFailed
from agentfleet.sidecar.models import ModelState, ModelStatus

log = logging.getLogger(__name__)

POLL = 2.0


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
        self._next_sweep = 0.0

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
                await self._look()
                await asyncio.sleep(self._poll)
        finally:
            await asyncio.gather(*(keeper.stop() for keeper in (*self._keepers.values(), *self._retired)))

    async def _look(self) -> None:
        try:
            self._read()
            if self._serving:
                await self._tidy()
        except Exception:
            # A bug. The process must outlive it: a drain in progress would end with it, and requests be cut.
            log.exception("adapters")

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
            if time.monotonic() >= self._next_sweep:
                await self._sweep()
                self._next_sweep = time.monotonic() + RECHECK
            for keeper in list(self._retired):
                successor = self._keepers.get(keeper.adapter.name)
                if successor is None or successor.status.state is ModelState.READY:
                    await keeper.dispose()
                    self._retired.remove(keeper)
        except (EngineUnavailable, ModelFailed) as error:
            log.warning("adapters that are no longer listed stay for now: %s", error)

    async def _sweep(self) -> None:
        """Adapters of ours that nobody keeps: they went from the file while no sidecar ran, or while they loaded."""
        for name, folder in (await self._loras.loaded()).items():
            if Path(folder).parent == self._home and name not in self._keepers:
                await self._loras.unload(name)
        kept = {keeper.folder for keeper in (*self._keepers.values(), *self._retired)}
        for found in self._home.iterdir() if self._home.is_dir() else ():
            if found.is_dir() and found not in kept:
                await asyncio.to_thread(shutil.rmtree, found, ignore_errors=True)
