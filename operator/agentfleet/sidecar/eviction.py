"""Makes room in a cache that many ModelServers share: what has not been used for longest goes first.

    ROOT/<model>/               one folder for each model (cache.py), each with its own locks
    ROOT/.agentfleet-eviction   held by the one loader that counts and deletes

Never deleted: a model that a pod uses or used a moment ago, one that a loader works on, one that is to be kept
(--keep), and folders that no loader made. What a loader is still going to write counts as if it were there, so two
loaders do not take the same room.
"""

import fcntl
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from agentfleet.sidecar import transfer
from agentfleet.sidecar.cache import EXPECTED, FOLDER, LOCK, MARKER
from agentfleet.sidecar.failures import DISK_FULL, ModelFailed
from agentfleet.sidecar.progress import write_json
from agentfleet.sidecar.usage import LEASE, last_used, unused

log = logging.getLogger(__name__)

ROOT_LOCK = ".agentfleet-eviction"
KEEP = "keep"
"""A file beside the marker of a model that stays, whatever room others need."""

IDLE_COMPLETE = 600.0
"""A model counts as used for so long after its last use: a sidecar that is restarted holds no lock meanwhile."""
IDLE_PARTIAL = 3600.0
"""A download that nobody works on is given up after that: a loader that fails is started again every five minutes."""


@dataclass(frozen=True, slots=True)
class Model:
    """A folder of the cache. `used` is a time in seconds since 1970."""

    folder: Path
    bytes: int
    complete: bool
    used: float


class Room:
    """The limit of one shared cache."""

    def __init__(
        self,
        root: Path,
        limit: int,
        *,
        idle_complete: float = IDLE_COMPLETE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._root = root
        self._limit = limit
        self._idle_complete = idle_complete
        self._clock = clock

    def make(self, target: Path, size: int, needed: int) -> None:
        """Room for a model of `size` bytes in `target`, of which `needed` are not there yet; ModelFailed DiskFull.

        Nothing goes in vain: where all that may go is not enough, all stays.
        """
        with _held(self._root / ROOT_LOCK), ExitStack() as locks:
            others = [model for model in _models(self._root) if not _same(model.folder, target)]
            excess, going = self._excess(others, size, needed), list[Model]()
            for model in sorted(others, key=lambda model: model.used):
                if excess <= 0:
                    break
                if self._may_go(model, locks):
                    going.append(model)
                    excess -= model.bytes
            if excess > 0:
                raise self._full(size, excess, others, going)
            for model in going:
                log.info("%s makes room: %d bytes, last used %.0f", model.folder.name, model.bytes, model.used)
                _empty(model.folder)
            write_json(target / FOLDER / EXPECTED, {"bytes": size})

    def _excess(self, others: list[Model], size: int, needed: int) -> int:
        """Bytes that have to go: for the limit, or because the disk itself is smaller than that."""
        over_limit = sum(model.bytes for model in others) + size - self._limit
        return max(over_limit, transfer.missing_space(self._root, needed))

    def _may_go(self, model: Model, locks: ExitStack) -> bool:
        """True when nobody has anything to do with `model`; `locks` then keep it so."""
        if (model.folder / FOLDER / KEEP).exists():
            return False
        if not locks.enter_context(_free(model.folder / FOLDER / LOCK)):
            return False
        if not locks.enter_context(unused(model.folder)):
            return False
        idle = self._clock() - last_used(model.folder)
        return idle >= (self._idle_complete if model.complete else IDLE_PARTIAL)

    def _full(self, size: int, excess: int, others: list[Model], going: list[Model]) -> ModelFailed:
        held = sum(model.bytes for model in others) - sum(model.bytes for model in going)
        return ModelFailed(
            DISK_FULL,
            f"the model has {size} bytes and the cache may hold {self._limit}; {held} bytes of other models are in use,"
            f" were so a moment ago, or are kept, which leaves {excess} bytes too few",
        )


def _models(root: Path) -> list[Model]:
    """The folders that loaders made."""
    folders = [path for path in root.iterdir() if (path / FOLDER / LOCK).is_file()]
    return [
        Model(folder, max(_stored(folder), _to_come(folder)), (folder / FOLDER / MARKER).is_file(), last_used(folder))
        for folder in folders
    ]


def _stored(folder: Path) -> int:
    """Bytes of all files; one with two names counts once."""
    sizes: dict[int, int] = {}
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                found = os.lstat(os.path.join(place, name))  # noqa: PTH118 - called for every file of a cache
            except FileNotFoundError:
                continue  # its loader renames it just now
            sizes[found.st_ino] = found.st_size
    return sum(sizes.values())


def _to_come(folder: Path) -> int:
    """Bytes that the loader of `folder` is going to have written, while there is one."""
    with _free(folder / FOLDER / LOCK) as abandoned:
        if abandoned:
            return 0
    try:
        return int(json.loads((folder / FOLDER / EXPECTED).read_text(encoding="utf-8"))["bytes"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return 0  # it has not got that far


def _empty(folder: Path) -> None:
    """Deletes everything but the locks: who waits for one must not be left with a lock on a file that is gone."""
    (folder / FOLDER / MARKER).unlink(missing_ok=True)  # first: half a model must never count as complete
    for path in [*folder.iterdir(), *(folder / FOLDER).iterdir()]:
        if path.name in (FOLDER, LOCK, LEASE):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def keep(target: Path, wanted: bool) -> None:
    """Says whether the model in `target` stays whatever room others need."""
    path = target / FOLDER / KEEP
    if wanted:
        path.touch()
    else:
        path.unlink(missing_ok=True)


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


@contextmanager
def _held(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _free(path: Path) -> Iterator[bool]:
    """Whether nobody holds `path`; then it is held here."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)
