"""Runs `agentfleet loader` as a child for what the sidecar itself has to bring in: adapters.

A process, not a thread: it can be ended when nobody wants its result any more, and what a source's library leaves in
memory goes with it. All that passes between the two is the loader's command line, its progress.json and its exit code.
"""

import asyncio
import contextlib
import logging
import sys
from dataclasses import dataclass
from pathlib import Path

from agentfleet.sidecar import progress
from agentfleet.sidecar.cache import FOLDER
from agentfleet.sidecar.failures import INTERNAL_ERROR, ModelFailed
from agentfleet.sidecar.progress import Progress

log = logging.getLogger(__name__)

AT_ONCE = 2
KILLED_AFTER = 2.0


@dataclass(frozen=True, slots=True)
class Reach:
    """How the loader gets at sources: its own options."""

    credentials_dir: Path | None = None
    endpoint: str | None = None
    ca_bundle: Path | None = None

    scheme: str | None = None
    """The scheme that `endpoint` is for; None where it is for any."""

    def arguments(self, uri: str) -> list[str]:
        """As the loader takes them for `uri`."""
        fits = self.scheme in (None, uri.partition("://")[0])
        options = {
            "credentials-dir": self.credentials_dir,
            "endpoint": self.endpoint if fits else None,
            "ca-bundle": self.ca_bundle,
        }
        return [f"--{name}={value}" for name, value in options.items() if value is not None]


class Downloads:
    """Brings sources into folders, a few at a time."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._room = asyncio.Semaphore(AT_ONCE)

    async def bring(self, uri: str, folder: Path) -> None:
        """Completes `folder`; ModelFailed says why that cannot be. Safe to cancel: what has arrived is used again."""
        async with self._room:
            command = ["loader", f"--source={uri}", f"--target={folder}", *self._reach.arguments(uri)]
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "agentfleet", *command, f"--termination-log={folder / FOLDER / 'outcome.json'}"
            )
            try:
                code = await process.wait()
            finally:
                await _end(process)
        if code:
            raise self._failure(folder, code)

    def progress(self, folder: Path) -> Progress | None:
        """What the loader of `folder` said last."""
        try:
            return progress.read(folder / FOLDER)
        except (OSError, ValueError) as error:
            log.warning("progress of %s is unreadable: %s", folder, error)
            return None

    def _failure(self, folder: Path, code: int) -> ModelFailed:
        said = self.progress(folder)
        if said is not None and said.state == "Failed" and said.reason:
            return ModelFailed(said.reason, said.message or "the loader gave no message")
        return ModelFailed(INTERNAL_ERROR, f"the loader ended with code {code}; see the sidecar's log")


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), KILLED_AFTER)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):  # it ended in this very moment
            process.kill()
        await process.wait()
