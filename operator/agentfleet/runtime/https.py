"""HTTPS on a port of its own, where a certificate is given; the plain port then answers probes and metrics alone.

What comes over the loopback stays in the pod: it is answered on both.
"""

import asyncio
import ipaddress
import logging
import ssl
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from agentfleet.runtime.config import Tls
from agentfleet.runtime.types import RunError
from agentfleet.runtime.wire_errors import error_response

log = logging.getLogger(__name__)

_OPEN = ("/healthz", "/readyz", "/metrics")
_PERIOD = 10.0
"""Seconds between two looks at the files."""


class Certificate:
    """The mounted pair, followed when it is renewed."""

    def __init__(self, pair: Tls) -> None:
        """OSError, also as ssl.SSLError, where it cannot be used."""
        self._pair = pair
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._seen = self._stamp()
        self.context.load_cert_chain(pair.cert_file, pair.key_file)

    async def follow(self) -> None:
        """For ever. New connections get the new certificate; one that cannot be used leaves the former in place."""
        while True:
            await asyncio.sleep(_PERIOD)
            self.renew()

    def renew(self) -> None:
        """Take the files as they are now."""
        try:
            stamp = self._stamp()
            if stamp == self._seen:
                return
            # A pair that does not fit would leave the context with half of it.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._pair.cert_file, self._pair.key_file)
            self.context.load_cert_chain(self._pair.cert_file, self._pair.key_file)
        except OSError as error:
            log.error("the renewed certificate cannot be used, the former one is kept: %s", error)
            return
        self._seen = stamp
        log.info("the certificate was renewed")

    def _stamp(self) -> tuple[int, ...]:
        return tuple(Path(file).stat().st_mtime_ns for file in (self._pair.cert_file, self._pair.key_file))


class PlainPort:
    """What the port without TLS serves of `app`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["path"] in _OPEN or _is_loopback(scope.get("client")):
            await self._app(scope, receive, send)
            return
        refused = RunError(421, "https_required", "This agent takes requests over HTTPS alone.")
        await error_response(refused)(scope, receive, send)


def _is_loopback(client: tuple[str, int] | None) -> bool:
    return client is not None and ipaddress.ip_address(client[0]).is_loopback
