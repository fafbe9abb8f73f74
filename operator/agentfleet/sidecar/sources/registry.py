"""The HTTP API of OCI registries, as far as reading needs it: manifests, blobs, and tokens for both."""

import base64
import binascii
import json
import re
import threading
from collections.abc import Mapping
from typing import Any

import httpx

from agentfleet.sidecar.credentials import SECRET, Credentials
from agentfleet.sidecar.failures import BAD_SOURCE, MODEL_GATED, ModelFailed, SourceUnreachable
from agentfleet.sidecar.sources import client as http
from agentfleet.sidecar.sources.base import Access

DOCKER_CONFIG = ".dockerconfigjson"
MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
DOCKER_HUB = "docker.io"
API_HOSTS = {DOCKER_HUB: "registry-1.docker.io"}
"""Where the API answers under another name than the images have."""

LARGEST_MANIFEST = 4 * 2**20
"""What registries accept at most."""

_DECODED = ("content-encoding", "content-length")
"""Headers that are no longer true of a body that was read."""

_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


class Registry:
    """One repository. Asks without credentials first: that is what a registry's challenge is for."""

    def __init__(self, host: str, repository: str, access: Access) -> None:
        self.origin = (access.endpoint or f"https://{API_HOSTS.get(host, host)}").rstrip("/")
        self.host = httpx.URL(self.origin).host
        self._repository = repository
        self._credentials = access.credentials
        self._login = login(access.credentials, host)
        self._guard = http.Guard(self.origin)
        self.client = http.open_client(access, self.origin)
        self._authorization: str | None = None
        self._signing_in = threading.Lock()

    def close(self) -> None:
        """Closes the connections."""
        self.client.close()

    def manifest(self, reference: str) -> tuple[bytes, str]:
        """Content and media type of the manifest that a tag or digest names."""
        url = f"{self.origin}/v2/{self._repository}/manifests/{reference}"
        accept = ", ".join((*MANIFESTS, *INDEXES))
        response = self._get(url, {"Accept": accept})
        if response.status_code == 401:
            self.sign_in(response)
            response = self._get(url, {"Accept": accept})
        if response.status_code != 200:
            raise self.refused(response)
        return response.content, response.headers.get("Content-Type", "").partition(";")[0]

    def blob_url(self, digest: str) -> str:
        """Where a blob lies."""
        return f"{self.origin}/v2/{self._repository}/blobs/{digest}"

    def headers(self) -> dict[str, str]:
        """What the registry wants to see with a request for a blob, as far as is known."""
        return {"Authorization": self._authorization} if self._authorization else {}

    def sign_in(self, response: httpx.Response) -> None:
        """Answers the challenge of a 401: with the credentials themselves, or with a token that they buy."""
        with self._signing_in:
            if response.request.headers.get("Authorization") != self._authorization:
                return  # another thread was faster
            scheme, _, rest = response.headers.get("WWW-Authenticate", "").partition(" ")
            if scheme.lower() == "basic" and self._login and self._authorization is None:
                pair = ":".join(self._login).encode()
                self._authorization = "Basic " + base64.b64encode(pair).decode()
                return
            if scheme.lower() != "bearer":
                raise self.refused(response)
            self._authorization = "Bearer " + self._token(dict(_PARAMETER.findall(rest)), response)

    def refused(self, response: httpx.Response) -> ModelFailed:
        """What another answer than the wanted one means."""
        hint = self._credentials.hint("username", "password")
        return http.refused(response.status_code, f"{self._repository} on {self.host}", hint)

    def _token(self, challenge: Mapping[str, str], response: httpx.Response) -> str:
        realm = httpx.URL(challenge.get("realm", ""))
        if realm.scheme != "https" and realm.host != self.host:
            raise ModelFailed(
                BAD_SOURCE, f"{self.host} sends credentials to {realm.host} over {realm.scheme or 'nothing'}: refused"
            )
        self._guard.check_host(realm)
        scope = challenge.get("scope") or f"repository:{self._repository}:pull"
        query = {"service": challenge.get("service", ""), "scope": scope}
        answer = self._get(str(realm.copy_merge_params(query)), {}, auth=self._login)
        if answer.status_code != 200:
            raise self.refused(answer if answer.status_code in (401, 403) or answer.status_code >= 500 else response)
        content = _json(answer.content, self.host)
        token = content.get("token") or content.get("access_token")
        if not isinstance(token, str):
            raise SourceUnreachable(f"{realm.host} answers without a token")
        return token

    def _get(self, url: str, headers: Mapping[str, str], auth: tuple[str, str] | None = None) -> httpx.Response:
        """A small answer, read whole."""
        wanted = {**headers} if auth else {**headers, **self.headers()}
        try:
            with self.client.stream("GET", url, headers=wanted, auth=auth) as response:
                body = bytearray()
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > LARGEST_MANIFEST:
                        raise SourceUnreachable(f"{self.host} answers with more than {LARGEST_MANIFEST} bytes")
        except httpx.HTTPError as error:
            raise http.failed(error, httpx.URL(url).host) from error
        told = {name: value for name, value in response.headers.items() if name not in _DECODED}
        return httpx.Response(response.status_code, headers=told, content=bytes(body), request=response.request)


def login(credentials: Credentials, host: str) -> tuple[str, str] | None:
    """User name and password for `host`: the keys of that name, else its entry in a Docker configuration."""
    if pair := credentials.basic():
        return pair
    text = credentials.get(DOCKER_CONFIG)
    if text is None:
        return None
    try:
        entries: dict[str, Any] = json.loads(text)["auths"]
        entry = next((value for name, value in entries.items() if _host(name) == host), None)
        if entry is None:
            return None
        if "auth" in entry:
            username, _, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
            return username, password
        return str(entry["username"]), str(entry["password"])
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error):
        # The exception's text may quote the content.
        raise ModelFailed(MODEL_GATED, f"key {DOCKER_CONFIG!r} of {SECRET} is not a Docker configuration") from None


def _host(name: str) -> str:
    """An entry's name may be a URL with a path, as `docker login` writes it for Docker Hub."""
    host = name.partition("://")[2] or name
    host = host.partition("/")[0]
    return DOCKER_HUB if host == "index.docker.io" else host


def _json(content: bytes, host: str) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError as error:
        raise SourceUnreachable(f"{host} does not answer like a registry: no JSON") from error
    if not isinstance(found, dict):
        raise SourceUnreachable(f"{host} does not answer like a registry: no object")
    return found
