"""https://host/path/file: one file of a web server. It is stored under the name that it has in the URL, as written."""

import re
from pathlib import Path

import httpx

from agentfleet.sidecar import transfer
from agentfleet.sidecar.credentials import Credentials
from agentfleet.sidecar.failures import BAD_SOURCE, ModelFailed, SourceUnreachable
from agentfleet.sidecar.sources import client as http
from agentfleet.sidecar.sources.base import Access, Arrived, RemoteFile, Resolved, Source

_URI = re.compile(r"https://[^/\s@]+/(?:[^\s?#]*/)?(?P<file>[^\s/?#]+)(?:\?[^\s#]*)?")
_TOTAL = re.compile(r"bytes 0-\d+/(\d+)")


def open_source(uri: str, access: Access) -> Source:
    """The file at `uri`; with an endpoint, the same path on that host."""
    match = _URI.fullmatch(uri)
    if match is None or match["file"] in (".", ".."):
        raise ModelFailed(
            BAD_SOURCE,
            f"{uri.partition('?')[0]!r} names no file: write https://host/path/file, without credentials in it",
        )
    name, url = match["file"], httpx.URL(uri)
    if access.endpoint is not None:
        place = httpx.URL(access.endpoint)
        url = url.copy_with(scheme=place.scheme, host=place.host, port=place.port)
    return WebFile(url, name, access)


class WebFile:
    """One file behind one URL."""

    def __init__(self, url: httpx.URL, name: str, access: Access) -> None:
        self._url = url
        self._name = name
        self._credentials = access.credentials
        token = access.credentials.get("token")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._validator: str | None = None
        basic = None if token else access.credentials.basic()
        self._client = http.open_client(access, str(url), auth=basic)

    def resolve(self) -> Resolved:
        """Size and identity of the file. Asks for its first byte: some servers, and all signed URLs, refuse HEAD."""
        wanted = {**self._headers, "Accept-Encoding": "identity", "Range": "bytes=0-0"}
        try:
            with self._client.stream("GET", self._url, headers=wanted) as response:
                if response.status_code not in (200, 206, 416):
                    response.read()
                    raise self._refused(response)
                size = _size(response)
                self._validator = _validator(response.headers)
        except httpx.HTTPError as error:
            raise http.failed(error, self._url.host) from error
        if size is None:
            raise SourceUnreachable(f"{self._url.host} does not say how long {self._name!r} is")
        identity = self._validator or f"{size} bytes"
        return Resolved(identity.strip('"'), (RemoteFile(self._name, size, identity),))

    def fetch(self, file: RemoteFile, part: Path, arrived: Arrived) -> None:
        """Completes `part`: from where it ends, if the server can tell that the file is still the same."""
        headers = dict(self._headers)
        if self._validator is not None:
            headers["If-Range"] = self._validator
        elif part.exists():
            arrived(-part.stat().st_size)
            part.unlink()
        transfer.download(
            self._client, str(self._url), part, file.size, headers=headers, arrived=arrived, refused=self._refused
        )

    def read(self, file: RemoteFile, start: int, length: int) -> bytes:
        """A piece of the file."""
        return transfer.read(self._client, str(self._url), start, length, headers=self._headers, refused=self._refused)

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def _refused(self, response: httpx.Response) -> ModelFailed:
        hint = _hint(self._credentials)
        return http.refused(response.status_code, f"{self._name!r} on {self._url.host}", hint)


def _hint(credentials: Credentials) -> str:
    return credentials.hint("username", "password") if credentials.basic() else credentials.hint("token")


def _size(response: httpx.Response) -> int | None:
    if response.status_code == 206:
        total = _TOTAL.fullmatch(response.headers.get("Content-Range", ""))
        return int(total[1]) if total else None
    if response.status_code == 416:
        return 0
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _validator(headers: httpx.Headers) -> str | None:
    """What If-Range may hold: a strong ETag, else the time of the last change."""
    tag: str | None = headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified")
