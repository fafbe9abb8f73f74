"""What s3:// and gs:// have in common: a bucket, and below a key one object or a folder of them.

obstore lists, and signs the address of each object; the bytes come by transfer.py like those of every source, so that
resume, redirects, proxies and certificates are one code.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

import httpx
import obstore
from obstore.exceptions import BaseError
from obstore.store import GCSStore, S3Store

from agentfleet.sidecar import transfer
from agentfleet.sidecar.failures import BAD_SOURCE, MODEL_NOT_FOUND, ModelFailed
from agentfleet.sidecar.sources import client as http
from agentfleet.sidecar.sources.base import Access, Arrived, RemoteFile, Resolved
from agentfleet.sidecar.sources.selection import needed, parts_of

if TYPE_CHECKING:  # obstore has these for type checkers only
    from obstore import ObjectMeta
    from obstore.store import ClientConfig, RetryConfig

SIGNED_FOR = timedelta(hours=12)
MOST_OBJECTS = 10_000
"""A folder with more than that is not one model."""

_URI = re.compile(r"(?P<scheme>s3|gs)://(?P<bucket>[a-z0-9][-._a-z0-9]*)/(?P<key>[^?#]*[^?#/])/?")
_STATUS = re.compile(r"status code: (\d{3})")

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Location:
    """A bucket and a key in it, and where both can be reached."""

    bucket: str
    key: str
    origin: str
    """URL of the store's host."""
    hint: str = field(repr=False)
    """What to do when access is refused."""


def parse(uri: str) -> tuple[str, str]:
    """Bucket and key; ModelFailed BadSource names the form."""
    match = _URI.fullmatch(uri)
    if match is None:
        scheme = uri.partition("://")[0]
        raise ModelFailed(BAD_SOURCE, f"{uri!r} names no object or folder: write {scheme}://bucket/path")
    return match["bucket"], match["key"]


def client_options(access: Access) -> "ClientConfig":
    """obstore's HTTP client; without allow_http its redirects stay on TLS."""
    options: ClientConfig = {"connect_timeout": "10s", "timeout": "60s"}
    if access.endpoint is not None and access.endpoint.startswith("http://"):
        options["allow_http"] = True
    if trusted := http.certificates(access):
        options["root_certificate"] = trusted
    return options


NO_RETRIES: "RetryConfig" = {"max_retries": 0}
"""The loader has its own patience (transfer.persistently)."""


class ObjectStore:
    """A model in a bucket."""

    def __init__(self, store: S3Store | GCSStore, location: Location, access: Access, *, signed: bool) -> None:
        self._store = store
        self._location = location
        self._signed = signed
        self._client = http.open_client(access, location.origin)
        self._keys: dict[str, str] = {}

    def resolve(self) -> Resolved:
        """One object where the key names one, else the folder of that name."""
        key = self._location.key
        found = self._single(key) or self._folder(key)
        self._keys = {file.path: object_key for object_key, file in found.items()}
        files = tuple(found.values())
        if len(files) == 1:
            return Resolved(files[0].identity, files)
        listing = "".join(f"{file.path}\n{file.size}\n{file.identity}\n" for file in files)
        return Resolved("sha256:" + hashlib.sha256(listing.encode()).hexdigest(), files)

    def fetch(self, file: RemoteFile, part: Path, arrived: Arrived) -> None:
        """Completes `part`; SourceChanged when the object was replaced since it was listed."""
        headers = {"If-Match": file.identity} if file.identity.startswith('"') else {}
        transfer.download(
            self._client,
            self._url(self._keys[file.path]),
            part,
            file.size,
            headers=headers,
            arrived=arrived,
            refused=self._refused,
        )

    def read(self, file: RemoteFile, start: int, length: int) -> bytes:
        """A piece of an object."""
        url = self._url(self._keys[file.path])
        return transfer.read(self._client, url, start, length, headers={}, refused=self._refused)

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def _single(self, key: str) -> dict[str, RemoteFile]:
        """The object at `key` and the other parts of a split GGUF; nothing where there is no such object."""
        found: dict[str, RemoteFile] = {}
        for name in parts_of(PurePosixPath(key).name):
            part = str(PurePosixPath(key).with_name(name))
            meta = self._asked(partial(obstore.head, self._store, part))
            if meta is None:
                if not found:
                    return {}
                raise ModelFailed(MODEL_NOT_FOUND, f"{self._name} is split, but its part {name} does not exist")
            found[part] = RemoteFile(name, meta["size"], _identity(meta))
        return found

    def _folder(self, key: str) -> dict[str, RemoteFile]:
        listed = self._asked(partial(_listing, self._store, key)) or []
        files = {
            meta["path"]: RemoteFile(meta["path"].removeprefix(f"{key}/"), meta["size"], _identity(meta))
            for meta in listed
            # Consoles mark folders by empty objects with a slash at the end.
            if meta["path"] != key and not (meta["size"] == 0 and meta["path"].endswith("/"))
        }
        if not files:
            raise ModelFailed(MODEL_NOT_FOUND, f"there is no object and no folder {self._name}")
        if len(listed) > MOST_OBJECTS:
            raise ModelFailed(BAD_SOURCE, f"{self._name} has more than {MOST_OBJECTS} objects: name one model's folder")
        wanted = {file.path for file in needed(list(files.values()))}
        return {object_key: file for object_key, file in sorted(files.items()) if file.path in wanted}

    def _asked(self, question: Callable[[], Answer]) -> Answer | None:
        """The answer; None for an object that is not there."""
        try:
            return question()
        except FileNotFoundError:
            return None
        except (BaseError, ValueError) as error:
            # A listing's refusal has no exception of its own. The rest of the text may quote headers.
            status = _STATUS.search(str(error))
            if status is None:
                raise http.failed(error, httpx.URL(self._location.origin).host) from None
            raise http.refused(int(status[1]), self._name, self._location.hint) from None

    def _url(self, key: str) -> str:
        if self._signed:
            return obstore.sign(self._store, "GET", key, SIGNED_FOR)
        return f"{self._location.origin.rstrip('/')}/{self._location.bucket}/{quote(key)}"

    def _refused(self, response: httpx.Response) -> ModelFailed:
        return http.refused(response.status_code, self._name, self._location.hint)

    @property
    def _name(self) -> str:
        return f"{self._location.key!r} in bucket {self._location.bucket} on {httpx.URL(self._location.origin).host}"


def _listing(store: S3Store | GCSStore, folder: str) -> list["ObjectMeta"]:
    """All objects below `folder`, or enough of them to see that there are too many."""
    found: list[ObjectMeta] = []
    for batch in obstore.list(store, prefix=folder, chunk_size=1000):
        found += batch
        if len(found) > MOST_OBJECTS:
            break
    return found


def _identity(meta: "ObjectMeta") -> str:
    """The ETag, with its quotes, where the store has one that is not weak."""
    tag = meta["e_tag"]
    if tag and not tag.startswith("W/"):
        return tag if tag.startswith('"') else f'"{tag}"'
    return f"{meta['last_modified'].isoformat()} {meta['size']}"
