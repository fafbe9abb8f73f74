"""Who uses a model of a shared cache: what the sidecar tells and eviction.py asks.

A pod's sidecar lives from before its loader until after its engine, so it holds a shared lock on the model's folder all
the while. The kernel drops the lock with its holder, however that dies, and NFS (4) and CephFS keep it across nodes:
neither clocks nor names of pods are needed to tell that a model is in use. The lock's file also carries, as its time of
change, when the model was last used; that is the order of eviction, and a grace for sidecars that are being restarted.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agentfleet.sidecar.cache import FOLDER

LEASE = "used"


class Lease:
    """One pod's use of the model in `target`. Call hold() again and again; it never blocks."""

    def __init__(self, target: Path) -> None:
        self._path = target / FOLDER / LEASE
        self._descriptor: int | None = None

    def hold(self) -> bool:
        """True while the model is kept from eviction. The loader makes the file, so it may not be there at first."""
        if self._descriptor is None:
            self._descriptor = self._lock()
        else:
            touch(self._path.parent.parent)
        return self._descriptor is not None

    def release(self) -> None:
        """Ends the use; the end of the process does the same."""
        if self._descriptor is not None:
            touch(self._path.parent.parent)
            os.close(self._descriptor)
            self._descriptor = None

    def _lock(self) -> int | None:
        try:
            descriptor = os.open(self._path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:  # it is being evicted; the loader fills it anew
            os.close(descriptor)
            return None
        return descriptor


def touch(target: Path) -> None:
    """The model in `target` is in use now. Nothing on a volume that is read-only: the lock says the same."""
    try:
        (target / FOLDER / LEASE).touch(mode=0o666)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise


@contextmanager
def unused(target: Path) -> Iterator[bool]:
    """Whether no pod uses the model in `target`; as long as that holds, none can begin to."""
    try:
        descriptor = os.open(target / FOLDER / LEASE, os.O_RDONLY | os.O_CREAT, 0o666)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        yield False
        return
    try:
        yield True
    finally:
        os.close(descriptor)


def last_used(target: Path) -> float:
    """When the model was last in use, in seconds since 1970; where no use is known, when its folder changed."""
    for path in (target / FOLDER / LEASE, target / FOLDER):
        try:
            return path.stat().st_mtime
        except FileNotFoundError:
            continue
    return 0.0
