"""Sources of models as small real HTTP servers: object store, registry, web server. Each counts what it sends."""

import base64
import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from aiohttp import web


@dataclass
class Content:
    """Sends contents in ranges, breaks connections where it is told to, and counts."""

    cuts: list[int] = field(default_factory=list)
    """Each request for a content takes one: the connection breaks after so many bytes."""
    sent: int = 0
    ranges: list[str | None] = field(default_factory=list)
    ignore_ranges: bool = False

    async def send(self, request: web.Request, content: bytes, headers: dict[str, str]) -> web.StreamResponse:
        wanted = None if self.ignore_ranges else request.headers.get("Range")
        self.ranges.append(wanted)
        first, last = 0, len(content) - 1
        if wanted is not None and (request.headers.get("If-Range") in (None, headers.get("ETag"))):
            begin, _, end = wanted.removeprefix("bytes=").partition("-")
            first, last = int(begin), min(last, int(end) if end else last)
            if first > last:
                return web.Response(status=416)
        partial = wanted is not None and (first, last) != (0, len(content) - 1)
        response = web.StreamResponse(status=206 if partial else 200, headers=headers)
        if partial:
            response.headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        response.content_length = last - first + 1
        await response.prepare(request)
        cut = self.cuts.pop(0) if self.cuts and last - first > 100 else None
        piece = content[first : last + 1] if cut is None else content[first : first + cut]
        self.sent += len(piece)
        await response.write(piece)
        if cut is not None:
            assert request.transport is not None
            request.transport.close()
        return response


@dataclass
class Bucket(Content):
    """An S3 bucket, or a Google one by its XML API, as far as obstore asks one."""

    objects: dict[str, bytes] = field(default_factory=dict)
    name: str = "models"
    signer: str | None = None
    """What a signature has to name: the access key, or the account's address; None lets everybody."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{bucket}", self._list)
        app.router.add_route("*", "/{bucket}/{key:.*}", self._object)
        return app

    def _refused(self, request: web.Request) -> web.Response | None:
        self.requests.append((request.method, request.path))
        signature = request.headers.get("Authorization", "") + unquote(request.query_string)
        if self.signer is not None and self.signer not in signature:
            return web.Response(status=403, text="<Error><Code>AccessDenied</Code></Error>")
        if request.match_info["bucket"] != self.name:
            return web.Response(status=404, text="<Error><Code>NoSuchBucket</Code></Error>")
        return None

    async def _list(self, request: web.Request) -> web.Response:
        if refusal := self._refused(request):
            return refusal
        prefix = request.query["prefix"]
        found = "".join(
            f"<Contents><Key>{key}</Key><Size>{len(content)}</Size><ETag>{etag(content)}</ETag>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for key, content in sorted(self.objects.items())
            if key.startswith(prefix)
        )
        return web.Response(
            content_type="application/xml", text=f"<ListBucketResult><Name>x</Name>{found}</ListBucketResult>"
        )

    async def _object(self, request: web.Request) -> web.StreamResponse:
        if refusal := self._refused(request):
            return refusal
        content = self.objects.get(request.match_info["key"])
        if content is None:
            return web.Response(status=404)
        if request.headers.get("If-Match") not in (None, etag(content)):
            return web.Response(status=412)
        headers = {"ETag": etag(content), "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
        if request.method == "HEAD":
            return web.Response(headers={**headers, "Content-Length": str(len(content))})
        return await self.send(request, content, headers)


@dataclass
class Registry(Content):
    """A registry with one repository and Docker's token flow."""

    repository: str = "acme/tiny"
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    """Tag or digest → media type and content."""
    login: str | None = None
    """user:password; None gives tokens to everybody."""
    token_uses: int = 1000
    """Requests that a token is good for."""
    tokens: int = 0
    realm: str | None = None
    url: str = ""
    _left: int = 0

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/token", self._token)
        app.router.add_get("/v2/{repository:.+}/manifests/{reference}", self._manifest)
        app.router.add_get("/v2/{repository:.+}/blobs/{digest}", self._blob)
        return app

    def push(self, layers: list[dict[str, Any]], *, tag: str = "latest", config: str = "application/x") -> str:
        """Stores a manifest; gives its digest."""
        content = json.dumps(
            {"schemaVersion": 2, "config": {"mediaType": config, "digest": "sha256:0", "size": 0}, "layers": layers}
        ).encode()
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        self.manifests[tag] = self.manifests[digest] = ("application/vnd.oci.image.manifest.v1+json", content)
        return digest

    def layer(self, content: bytes, kind: str, **annotations: str) -> dict[str, Any]:
        """Stores a blob; gives its descriptor. In names of annotations, _ stands for a dot."""
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        self.blobs[digest] = content
        notes = {name.replace("_", "."): value for name, value in annotations.items()}
        return {"mediaType": kind, "digest": digest, "size": len(content), "annotations": notes}

    def _challenge(self, request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") == f"Bearer token-{self.tokens}" and self._left > 0:
            self._left -= 1
            return None
        realm = self.realm or f"{self.url}/token"
        challenge = f'Bearer realm="{realm}",service="stand-in",scope="repository:{self.repository}:pull"'
        return web.Response(status=401, headers={"WWW-Authenticate": challenge})

    async def _token(self, request: web.Request) -> web.Response:
        assert request.query["scope"] == f"repository:{self.repository}:pull"
        wanted = "Basic " + base64.b64encode((self.login or "").encode()).decode()
        if self.login is not None and request.headers.get("Authorization") != wanted:
            return web.Response(status=401)
        self.tokens += 1
        self._left = self.token_uses
        return web.json_response({"token": f"token-{self.tokens}"})

    async def _manifest(self, request: web.Request) -> web.Response:
        if challenge := self._challenge(request):
            return challenge
        if request.match_info["repository"] != self.repository or request.match_info["reference"] not in self.manifests:
            return web.Response(status=404)
        kind, content = self.manifests[request.match_info["reference"]]
        return web.Response(body=content, headers={"Content-Type": kind})

    async def _blob(self, request: web.Request) -> web.StreamResponse:
        if challenge := self._challenge(request):
            return challenge
        return await self.send(request, self.blobs[request.match_info["digest"]], {})


@dataclass
class Site(Content):
    """A web server with files, and redirects."""

    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    authorization: str | None = None
    seen: list[str | None] = field(default_factory=list)
    """The Authorization of every request."""
    etags: bool = True
    url: str = ""
    ca: Path | None = None

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/{path:.+}", self._get, allow_head=False)
        return app

    async def _get(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        self.seen.append(request.headers.get("Authorization"))
        if self.authorization not in (None, request.headers.get("Authorization")):
            return web.Response(status=401)
        if path in self.redirects:
            return web.Response(status=302, headers={"Location": self.redirects[path]})
        if path not in self.files:
            return web.Response(status=404)
        content = self.files[path]
        return await self.send(request, content, {"ETag": etag(content)} if self.etags else {})


def etag(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


def archive(*members: tuple[str, bytes | tarfile.TarInfo], packed: bool = False) -> bytes:
    """A tar archive of files (name, content), or of whatever a TarInfo says."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in members:
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            body = b"" if isinstance(content, tarfile.TarInfo) else content
            info.name, info.size = name, len(body)
            tar.addfile(info, io.BytesIO(body))
    return gzip.compress(buffer.getvalue(), mtime=0) if packed else buffer.getvalue()


def link(kind: bytes, target: str) -> tarfile.TarInfo:
    """A member that is a link (tarfile.SYMTYPE, tarfile.LNKTYPE) or another thing."""
    info = tarfile.TarInfo("link")
    info.type, info.linkname = kind, target
    return info
