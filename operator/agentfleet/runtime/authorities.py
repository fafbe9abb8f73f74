"""The certificates by which clients of this process believe servers, from mounted files that may change."""

import logging
import ssl
from collections.abc import Iterable
from pathlib import Path

import httpx

log = logging.getLogger(__name__)


class Authorities:
    """New ones count at once; those of before until the process ends, for servers may still show what they have
    signed."""

    def __init__(self, files: Iterable[str | None]) -> None:
        """None among the files: the public ones, or those that SSL_CERT_FILE names. OSError where one cannot be read,
        also as ssl.SSLError."""
        named = set(files)
        self.context = httpx.create_ssl_context() if None in named else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._seen: dict[Path, int] = {}
        for file in filter(None, named):
            self._seen[Path(file)] = Path(file).stat().st_mtime_ns
            self.context.load_verify_locations(file)

    def renew(self) -> None:
        """Take the files as they are now."""
        for file, seen in self._seen.items():
            try:
                stamp = file.stat().st_mtime_ns
                if stamp == seen:
                    continue
                self._seen[file] = stamp
                self.context.load_verify_locations(file)
            except OSError as error:
                log.error("the changed authorities cannot be used, the former ones are kept: %s", error)

    async def before(self, _: httpx.Request) -> None:
        """A hook of httpx' clients for requests."""
        self.renew()
