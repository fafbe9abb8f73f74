"""The HTTP client of all sources, and where it may be sent: a source must not steer the loader around the cluster.

Redirects go on over TLS once they are on it, and else stay on the host. None leads to loopback or link-local addresses,
where nodes and clouds keep what pods should not see, unless the source itself is there.
"""

import ipaddress
import socket
import ssl
from urllib.request import getproxies

import httpx

from agentfleet.sidecar.failures import (
    BAD_SOURCE,
    MODEL_GATED,
    MODEL_NOT_FOUND,
    SOURCE_CHANGED,
    TLS_FAILED,
    ModelFailed,
    SourceUnreachable,
)
from agentfleet.sidecar.sources.base import Access

REQUEST_TIMEOUT = 30.0
REDIRECTS = 5

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Guard:
    """Judges where requests that began at `origin` (a URL) may end up. Raises ModelFailed BadSource."""

    def __init__(self, origin: str) -> None:
        self._origin = httpx.URL(origin)

    def check_redirect(self, response: httpx.Response) -> None:
        """An event hook for responses: runs before a redirect is followed and before a body is read."""
        self._check_peer(response)
        if not response.has_redirect_location:
            return
        before = response.request.url
        after = before.join(response.headers["Location"])
        if after.host != before.host and after.scheme != "https":
            raise _refused(before, after, "only https leads to another host")
        if before.scheme == "https" and after.scheme != "https":
            raise _refused(before, after, "it would give up TLS")
        self.check_host(after)

    def check_host(self, url: httpx.URL) -> None:
        """`url` is on the origin's host, or on one that a source may name."""
        if url.host == self._origin.host or not any(_is_local(address) for address in _addresses(url.host)):
            return
        if not any(_is_local(address) for address in _addresses(self._origin.host)):
            raise _refused(self._origin, url, "that is a loopback or link-local address")

    def _check_peer(self, response: httpx.Response) -> None:
        """The name was looked up before the connection was made, and may have meant another address by then."""
        stream = response.extensions.get("network_stream")
        peer = stream.get_extra_info("server_addr") if stream is not None else None
        if peer is None or response.request.url.host == self._origin.host or getproxies():
            return
        if _is_local(ipaddress.ip_address(peer[0].partition("%")[0])):
            self.check_host(httpx.URL(scheme="http", host=peer[0].partition("%")[0]))


def open_client(access: Access, origin: str, *, auth: tuple[str, str] | None = None) -> httpx.Client:
    """A client for requests to `origin`. It drops credentials itself when a redirect leaves the origin."""
    trusted = certificates(access)
    return httpx.Client(
        auth=auth,
        follow_redirects=True,
        max_redirects=REDIRECTS,
        timeout=REQUEST_TIMEOUT,
        verify=ssl.create_default_context(cadata=trusted) if trusted else True,
        event_hooks={"response": [Guard(origin).check_redirect]},
    )


def failed(error: Exception, host: str) -> ModelFailed:
    """What an exception of the HTTP client means. Its text may quote a signed address, so it is not repeated."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return ModelFailed(
                TLS_FAILED,
                f"the certificate of {host} is not trusted ({cause.verify_message}); put the CA that issued it into the"
                " ConfigMap of spec.model.auth.caBundle",
            )
        cause = cause.__cause__ or cause.__context__
    detail = "too many redirects" if isinstance(error, httpx.TooManyRedirects) else type(error).__name__
    return SourceUnreachable(f"{host} cannot be reached: {_innermost(error) or detail}")


def refused(status: int, what: str, hint: str) -> ModelFailed:
    """What an answer other than the wanted one means; `hint` says what to do about credentials."""
    if status in (401, 403):
        return ModelFailed(MODEL_GATED, f"access to {what} is refused ({status}): {hint}")
    if status in (404, 410):
        return ModelFailed(MODEL_NOT_FOUND, f"{what} does not exist")
    if status in (412, 416):
        return ModelFailed(SOURCE_CHANGED, f"{what} was replaced while it was loaded; the next start loads the new one")
    return SourceUnreachable(f"{what}: the source answered {status}")


def certificates(access: Access) -> str | None:
    """The certificates to trust, in PEM form; None for the public ones."""
    if access.ca_bundle is None:
        return None
    try:
        text = access.ca_bundle.read_text(encoding="utf-8")
        ssl.create_default_context(cadata=text)
    except (OSError, ValueError) as error:
        raise ModelFailed(
            TLS_FAILED, f"the CA bundle {access.ca_bundle} holds no certificates in PEM form: {error}"
        ) from error
    return text


def _addresses(host: str) -> list[Address]:
    """All addresses of `host`; none where a proxy looks it up or nobody knows it, so that the connection fails."""
    try:
        return [ipaddress.ip_address(host)]
    except ValueError:
        pass
    if getproxies():
        return []
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


def _is_local(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast


def _innermost(error: BaseException) -> str | None:
    """Words of the operating system, such as "Connection refused"; the layers above only repeat or hide them."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return None


def _refused(before: httpx.URL, after: httpx.URL, why: str) -> ModelFailed:
    return ModelFailed(
        BAD_SOURCE, f"{before.host} redirects to {after.scheme}://{after.host}, which is not followed: {why}"
    )
