"""Keys that change while the gateway runs: mounted Secrets → map files → HAProxy, without a restart.

The kubelet renews mounted Secrets within a minute or so; they are looked at every ten seconds. Files are written first,
so that an HAProxy that starts meanwhile reads what is true.
"""

import asyncio
import contextlib
import logging
from pathlib import Path

from agentfleet.decider import mounted
from agentfleet.decider.admin import AdminError, AdminSocket, NotLoaded, NotStarted
from agentfleet.decider.files import write_map
from agentfleet.decider.paths import Paths
from agentfleet.decider.prepare import maps

log = logging.getLogger(__name__)

EVERY = 10.0


class LoadedMap:
    """One map of HAProxy. It remembers what HAProxy has taken, and sends what differs."""

    def __init__(self, path: Path, admin: AdminSocket) -> None:
        self._path = path
        self._admin = admin
        self._written: dict[str, str] | None = None
        self._taken: dict[str, str] | None = None

    def write(self, entries: dict[str, str]) -> None:
        """The file, from which HAProxy reads when it starts."""
        if entries != self._written:
            write_map(self._path, entries)
            self._written = dict(entries)

    async def set(self, entries: dict[str, str]) -> bool:
        """Writes the file and tells HAProxy; True where something was new. AdminError: call it again later."""
        self.write(entries)
        if entries == self._taken:
            return False
        with contextlib.suppress(NotLoaded):  # a route without keys, say: only the file is there
            await self._admin.replace_map(self._path, entries)
        self._taken = dict(entries)
        return True


class Certificate:
    """The gateway's own certificate. HAProxy has read it when it started; a renewed one is handed to it. So is the
    first that is seen here, as it may have been renewed while there was no decider."""

    def __init__(self, paths: Paths, admin: AdminSocket) -> None:
        self._paths = paths
        self._admin = admin
        self._taken = ""

    async def renew(self) -> bool:
        """True where HAProxy got another one. AdminError where it took none: call it again later."""
        pem = self._read()
        if pem == self._taken:
            return False
        await self._admin.replace_certificate(self._paths.certificate, pem)
        self._taken = pem
        return True

    def _read(self) -> str:
        if not self._paths.certificate.is_file():
            return ""
        return self._paths.certificate.read_text() + "\n" + self._paths.private_key.read_text()


class Rotation:
    """Keeps the maps of keys and credentials, and the certificate, as the mounted Secrets are."""

    def __init__(self, paths: Paths, admin: AdminSocket) -> None:
        self._paths = paths
        self._certificate = Certificate(paths, admin)
        self._maps = {path: LoadedMap(path, admin) for path in maps(paths, mounted.Mounted({}, {}, {}))}
        self._complaint: object = None
        self.skipped = 0
        """Entries of Secrets that are not used because they make no sense."""
        self.rotations = 0
        """Maps that were replaced in HAProxy since the start, its first filling not counted."""
        self.failures = 0
        self._filled = False

    async def run(self) -> None:
        """For ever."""
        while True:
            await self.step()
            await asyncio.sleep(EVERY)

    async def step(self) -> None:
        """Looks once. What fails is tried again at the next look, and said once."""
        try:
            found = await asyncio.to_thread(mounted.read, self._paths)  # thousands of files, maybe
            self.skipped = len(found.skipped)
            wanted = maps(self._paths, found)
            for path, entries in wanted.items():
                self._maps[path].write(entries)
            changed = [await self._maps[path].set(entries) for path, entries in wanted.items()]
            renewed = await self._certificate.renew()
        except NotStarted:
            return
        except (OSError, AdminError) as error:
            self.failures += 1
            self._complain((f"keys and certificates could not be handed to HAProxy: {error}",))
            return
        self._complain(found.skipped)
        if renewed:
            log.info("certificate renewed: %s", self._paths.certificate)
        if self._filled and any(changed):
            self.rotations += sum(changed)
            log.info("keys rotated: %d API keys, %d credentials of targets", len(found.keys), len(found.credentials))
        self._filled = True

    def _complain(self, reasons: tuple[str, ...]) -> None:
        if reasons != self._complaint:
            for reason in reasons:
                log.warning("%s", reason)
        self._complaint = reasons
