"""One guarded HTTP GET to an endpoint outside the cluster. Every failure is a ModelFailed with a stable reason.

    host ─ resolve ─▶ addresses ─ guard ─▶ connect to that very address ─ TLS for the name ─▶ at most 1 MiB of JSON

The name is resolved once per request, and the connection goes to the address that was judged: a second answer of DNS
changes nothing. Redirects are not followed, proxies not used. Plain HTTP is spoken with private addresses only: the key
and the users' texts would travel in the open.
"""

import asyncio
import ipaddress
import json
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import httpx

from agentfleet.sidecar.failures import ModelFailed
from agentfleet.sidecar.guard import Address, Network, is_private, refusal

ENDPOINT_REFUSED = "EndpointRefused"
ENDPOINT_UNREACHABLE = "EndpointUnreachable"
ENDPOINT_UNAUTHORIZED = "EndpointUnauthorized"
TLS_FAILED = "TLSFailed"

TIMEOUT = 5.0
LARGEST = 1 << 20
KEY = "apiKey"

Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]
Judge = Callable[[Address, str], str | None]
"""Address and scheme → why not, None where it is allowed."""


def parse_url(text: str) -> str:
    """The URL without a slash at its end. ValueError says what an endpoint's URL looks like."""
    try:
        url = urlsplit(text)
        valid = url.scheme in ("http", "https") and url.hostname and (url.port is None or url.port > 0)
    except ValueError:
        valid = False
    if not valid or "@" in url.netloc or url.query or url.fragment or not text.isprintable() or " " in text:
        raise ValueError(f"{text!r} is no URL of an endpoint: write for example https://host/v1, without key and query")
    return text.rstrip("/")


def judged_by(denied: Sequence[Network]) -> Judge:
    """The rule for production."""

    def judge(address: Address, scheme: str) -> str | None:
        if reason := refusal(address, denied):
            return reason
        if scheme == "http" and not is_private(address):
            return "it is public, and http:// sends keys and texts in the open; use https://"
        return None

    return judge


async def resolve(host: str, port: int) -> list[Address]:
    """All addresses of `host`. OSError where it has none."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = (ipaddress.ip_address(entry[4][0]) for entry in found)
    return list(dict.fromkeys(addresses))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How to ask one endpoint."""

    url: str
    judge: Judge
    credentials_dir: Path | None = None
    ca_bundle: Path | None = None
    resolve: Resolve = resolve

    async def get(self, url: str) -> Any:
        """The JSON at `url`, which is on the endpoint's host."""
        target = urlsplit(url)
        try:
            async with asyncio.timeout(TIMEOUT):
                return await self._get(target)
        except TimeoutError as error:
            raise ModelFailed(
                ENDPOINT_UNREACHABLE, f"{target.netloc} did not answer within {TIMEOUT:g} seconds"
            ) from error

    async def _get(self, target: SplitResult) -> Any:
        host, port = target.hostname or "", target.port or (443 if target.scheme == "https" else 80)
        addresses = await self._checked(host, port, target.scheme)
        headers = {"Host": target.netloc, "Accept": "application/json", "Accept-Encoding": "identity", **self._key()}
        context, name = self._context(), {"sni_hostname": host}
        async with httpx.AsyncClient(verify=context, timeout=TIMEOUT, trust_env=False) as client:
            failure = ModelFailed(ENDPOINT_UNREACHABLE, f"{host} has no address")
            for address in addresses:
                url = f"{target.scheme}://{_bracketed(address)}:{port}{target.path}"
                try:
                    async with client.stream("GET", url, headers=headers, extensions=name) as response:
                        return await self._content(response, target)
                except httpx.HTTPError as error:
                    failure = _unreachable(error, target.netloc)
                    if not isinstance(error, httpx.ConnectError) or failure.reason == TLS_FAILED:
                        break
        raise failure

    async def _checked(self, host: str, port: int, scheme: str) -> Sequence[Address]:
        """All addresses of the host, each allowed: one that is not spoils the name."""
        try:
            addresses = await self.resolve(host, port)
        except (OSError, ValueError) as error:  # ValueError: a label that IDNA refuses
            raise ModelFailed(ENDPOINT_UNREACHABLE, f"{host} cannot be resolved: {error}") from error
        for address in addresses:
            if reason := self.judge(address, scheme):
                raise ModelFailed(ENDPOINT_REFUSED, f"{host} is {address}, which is never asked: {reason}")
        return addresses

    async def _content(self, response: httpx.Response, target: SplitResult) -> Any:
        where, code = f"{target.netloc}{target.path}", response.status_code
        if code in (401, 403):
            raise ModelFailed(
                ENDPOINT_UNAUTHORIZED, f"{where} answered {code}: put a valid key into {KEY!r} of the Secret"
            )
        if 300 <= code < 400:
            raise ModelFailed(
                ENDPOINT_REFUSED, f"{where} redirects, which is not followed: give the URL that it leads to"
            )
        if code != 200:
            raise ModelFailed(
                ENDPOINT_UNREACHABLE, f"{where} answered {code}; is the URL's path right, most often /v1?"
            )
        body = b""
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > LARGEST:
                raise ModelFailed(ENDPOINT_UNREACHABLE, f"{where} answered more than {LARGEST} bytes")
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise ModelFailed(ENDPOINT_UNREACHABLE, f"{where} answered 200, but no JSON") from error

    def _key(self) -> dict[str, str]:
        """Read for each request: a rotated Secret needs no restart."""
        if self.credentials_dir is None:
            return {}
        try:
            key = (self.credentials_dir / KEY).read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as error:
            raise ModelFailed(ENDPOINT_UNAUTHORIZED, f"key {KEY!r} of the Secret is unreadable") from error
        if not (key.isascii() and key.isprintable()):
            # The HTTP library would quote it in its error.
            raise ModelFailed(ENDPOINT_UNAUTHORIZED, f"key {KEY!r} of the Secret has characters that no header takes")
        return {"Authorization": f"Bearer {key}"} if key else {}

    def _context(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self.ca_bundle)
        except (OSError, ssl.SSLError) as error:
            raise ModelFailed(TLS_FAILED, f"the CA bundle cannot be used: {error}") from error


def _unreachable(error: httpx.HTTPError, where: str) -> ModelFailed:
    if tls := _is_tls(error):
        return ModelFailed(TLS_FAILED, f"{where}: {tls}; trust its issuer by auth.caBundle, or correct the certificate")
    return ModelFailed(ENDPOINT_UNREACHABLE, f"{where}: {error or type(error).__name__}")


def _is_tls(error: BaseException) -> str | None:
    """The TLS library's own words, where it is behind `error`."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLError):
            return getattr(seen, "verify_message", "") or seen.reason or str(seen)
        seen = seen.__cause__ or seen.__context__
    return None


def _bracketed(address: Address) -> str:
    return f"[{address}]" if address.version == 6 else str(address)
