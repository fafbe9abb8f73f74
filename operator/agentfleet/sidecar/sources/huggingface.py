"""hf://org/repo[@revision] (a whole snapshot) and hf://org/repo/path/file.gguf[@revision] (one file).

huggingface_hub knows the Hub: listing, revisions, gating, errors. The bytes come by transfer.py, because they have to
survive a restart; only what the Hub no longer serves over plain HTTP goes through the library's own download.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import httpx

from agentfleet.sidecar import transfer
from agentfleet.sidecar.failures import BAD_SOURCE, MODEL_GATED, MODEL_NOT_FOUND, ModelFailed, SourceUnreachable
from agentfleet.sidecar.sources import client as http
from agentfleet.sidecar.sources.base import Access, Arrived, RemoteFile, Resolved, Source
from agentfleet.sidecar.sources.selection import needed, parts_of

TOKEN_KEY = "token"  # noqa: S105 - the name of a Secret's key

DEFAULT_REVISION = "main"
PLAIN_HTTP_LIMIT = 50 * 10**9
"""The Hub serves larger files over its Xet protocol only."""

HUB = "https://huggingface.co"

_NAME = r"[A-Za-z0-9][\w.-]*"
_URI = re.compile(rf"hf://(?P<repo>{_NAME}/{_NAME})(?:/(?P<file>[^@\s]+))?(?:@(?P<revision>[^@\s]+))?")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class HubReference:
    """A parsed hf:// URI."""

    repo: str
    file: str | None
    revision: str


def open_source(uri: str, access: Access) -> Source:
    """The source that `uri` names. Sets the library's environment, so it has to come before its import."""
    reference = parse(uri)
    os.environ |= environment(access)
    return HuggingFace(reference, access)


def parse(uri: str) -> HubReference:
    """ModelFailed BadSource names the URI and the two forms."""
    match = _URI.fullmatch(uri)
    if match is None:
        raise ModelFailed(
            BAD_SOURCE,
            f"{uri!r} is not a Hugging Face source: write hf://org/repo[@revision] for a whole model"
            " or hf://org/repo/path/file.gguf[@revision] for one file",
        )
    return HubReference(match["repo"], match["file"], match["revision"] or DEFAULT_REVISION)


def environment(access: Access) -> dict[str, str]:
    """What huggingface_hub reads when it is imported."""
    settings = {
        "HF_HOME": str(access.scratch / "huggingface"),  # the home folder is not writable
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",  # only the token that the ModelServer names
    }
    if access.endpoint is not None:
        # A mirror hands out the Hub's own Xet addresses at best, and those would bypass it.
        settings["HF_HUB_DISABLE_XET"] = "1"
    return settings


class HuggingFace:
    """A model on the Hugging Face Hub, or on a mirror that speaks its API."""

    def __init__(self, reference: HubReference, access: Access) -> None:
        self._reference = reference
        self._access = access
        self._revision = reference.revision
        self._token = access.credentials.get(TOKEN_KEY)
        self._headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        self._client = self._open_client()

    def resolve(self) -> Resolved:
        """Asks for the commit behind the revision, and for the files of that commit."""
        import huggingface_hub.errors  # noqa: PLC0415 - slow to import, and the environment has to be set before

        huggingface_hub.set_client_factory(self._open_client)
        try:
            resolved = self._one_file(self._reference.file) if self._reference.file else self._snapshot()
        except (huggingface_hub.errors.HfHubHTTPError, huggingface_hub.errors.HFValidationError) as error:
            raise self._failure(error) from error
        except (httpx.HTTPError, OSError) as error:
            raise http.failed(error, self._host) from error
        except ValueError as error:
            raise SourceUnreachable(f"{self._host} does not answer like a Hub: {_first_line(error)}") from error
        self._revision = resolved.revision
        return resolved

    def fetch(self, file: RemoteFile, part: Path, arrived: Arrived) -> None:
        """Completes `part`."""
        from huggingface_hub import hf_hub_url  # noqa: PLC0415

        if file.size > PLAIN_HTTP_LIMIT:
            return self._fetch_by_library(file, part, arrived)
        url = hf_hub_url(self._reference.repo, file.path, revision=self._revision, endpoint=self._access.endpoint)
        return transfer.download(
            self._client, url, part, file.size, headers=self._headers, arrived=arrived, refused=self._refused
        )

    def read(self, file: RemoteFile, start: int, length: int) -> bytes:
        """A piece of a file."""
        from huggingface_hub import hf_hub_url  # noqa: PLC0415

        url = hf_hub_url(self._reference.repo, file.path, revision=self._revision, endpoint=self._access.endpoint)
        return transfer.read(self._client, url, start, length, headers=self._headers, refused=self._refused)

    def close(self) -> None:
        """Closes the connections to the CDN; the library's own end with the process."""
        self._client.close()

    def _open_client(self) -> httpx.Client:
        """Ours and the library's: httpx drops the token itself when a redirect leaves the Hub for its CDN."""
        return http.open_client(self._access, self._access.endpoint or HUB)

    def _snapshot(self) -> Resolved:
        from huggingface_hub import HfApi  # noqa: PLC0415
        from huggingface_hub.hf_api import RepoFile  # noqa: PLC0415

        api = HfApi(endpoint=self._access.endpoint, token=self._token or False)
        info = api.model_info(self._reference.repo, revision=self._reference.revision, timeout=http.REQUEST_TIMEOUT)
        if info.sha is None:
            raise ValueError(f"no commit for revision {self._reference.revision}")
        entries = api.list_repo_tree(self._reference.repo, recursive=True, revision=info.sha)
        files = [
            RemoteFile(entry.path, entry.size, entry.blob_id, entry.lfs.sha256 if entry.lfs else None)
            for entry in entries
            if isinstance(entry, RepoFile) and entry.path != ".gitattributes"
        ]
        if not files:
            raise ModelFailed(MODEL_NOT_FOUND, f"{self._reference.repo} has no files at {self._reference.revision}")
        return Resolved(info.sha, needed(files))

    def _one_file(self, file: str) -> Resolved:
        from huggingface_hub import get_hf_file_metadata, hf_hub_url  # noqa: PLC0415

        files: list[RemoteFile] = []
        revision = self._reference.revision
        for path in parts_of(file):
            url = hf_hub_url(self._reference.repo, path, revision=revision, endpoint=self._access.endpoint)
            found = get_hf_file_metadata(
                url, token=self._token or False, timeout=http.REQUEST_TIMEOUT, endpoint=self._access.endpoint
            )
            if found.commit_hash is None or found.etag is None or found.size is None:
                raise ValueError(f"{url} lacks X-Repo-Commit, ETag or size")
            revision = (
                found.commit_hash
            )  # the other parts come from the same commit, whatever the branch does meanwhile
            sha256 = found.etag if _SHA256.fullmatch(found.etag) else None
            files.append(RemoteFile(path, found.size, found.etag, sha256))
        return Resolved(revision, tuple(files))

    def _fetch_by_library(self, file: RemoteFile, part: Path, arrived: Arrived) -> None:
        """Xet: fast and deduplicated, but from the start again after a restart."""
        import huggingface_hub.errors  # noqa: PLC0415

        try:
            path = huggingface_hub.hf_hub_download(
                self._reference.repo,
                file.path,
                revision=self._revision,
                local_dir=self._access.scratch / "xet",
                endpoint=self._access.endpoint,
                token=self._token or False,
            )
        except huggingface_hub.errors.HfHubHTTPError as error:
            raise self._failure(error) from error
        except httpx.HTTPError as error:
            raise http.failed(error, self._host) from error
        Path(path).replace(part)
        arrived(file.size)

    def _refused(self, response: httpx.Response) -> ModelFailed:
        """What the Hub's answer to a download means."""
        import huggingface_hub.errors  # noqa: PLC0415

        try:
            huggingface_hub.hf_raise_for_status(response)
        except huggingface_hub.errors.HfHubHTTPError as error:
            return self._failure(error)
        return SourceUnreachable(f"{self._host} answered {response.status_code} to a download")

    def _failure(self, error: Exception) -> ModelFailed:
        """An error of the library in our words. Its own messages carry URLs, and those may be signed."""
        from huggingface_hub import errors  # noqa: PLC0415

        if not isinstance(error, errors.HfHubHTTPError):
            return ModelFailed(BAD_SOURCE, f"{self._reference.repo}: {_first_line(error)}")
        status = error.response.status_code
        if isinstance(error, errors.GatedRepoError):
            return self._gated(f"{self._reference.repo} is gated: accept its licence on {self._host}, then")
        # The Hub answers 401 for a missing repository too, so as not to tell who has which; the header says it.
        if status == 404 or error.response.headers.get("X-Error-Code", "").endswith("NotFound"):
            return ModelFailed(MODEL_NOT_FOUND, self._missing(error))
        if status in (401, 403):
            return self._gated(f"{self._host} refuses access to {self._reference.repo} ({status}):")
        return SourceUnreachable(f"{self._host} answered {status} for {self._reference.repo}")

    def _missing(self, error: Exception) -> str:
        from huggingface_hub import errors  # noqa: PLC0415

        repo, revision = self._reference.repo, self._reference.revision
        if isinstance(error, errors.RevisionNotFoundError):
            return f"{repo} has no branch, tag or commit {revision!r}"
        if isinstance(error, errors.EntryNotFoundError):
            return f"{repo} has no file {self._reference.file!r} at {revision!r}"
        return f"{repo} does not exist on {self._host}; if it is private, {self._access.credentials.hint(TOKEN_KEY)}"

    def _gated(self, what: str) -> ModelFailed:
        return ModelFailed(MODEL_GATED, f"{what} {self._access.credentials.hint(TOKEN_KEY)}")

    @property
    def _host(self) -> str:
        return httpx.URL(self._access.endpoint or HUB).host


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
