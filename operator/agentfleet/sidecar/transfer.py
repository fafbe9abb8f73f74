"""One HTTP download into a file that survives being cut: every try goes on where the last one ended.

huggingface_hub (1.33) resumes within one call only; it puts each try into a new temporary file and deletes it on
failure, so a loader that is killed at 39 of 40 GB would start at zero. Sites behind thin lines need better.
"""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import httpx

from agentfleet.sidecar.failures import ModelFailed, SourceUnreachable, retry_delay
from agentfleet.sidecar.sources import client as http
from agentfleet.sidecar.sources.base import Arrived

ATTEMPTS = 6
"""Tries without a single new byte before the loader gives up and kubelet's back-off takes over: about a minute."""

Result = TypeVar("Result")
Refused = Callable[[httpx.Response], ModelFailed]
"""What an answer other than 200 and 206 means."""


def download(
    client: httpx.Client,
    url: str,
    part: Path,
    size: int,
    *,
    headers: Mapping[str, str],
    arrived: Arrived,
    refused: Refused,
) -> None:
    """Completes `part` to `size` bytes; SourceUnreachable when the source stopped before that."""
    offset = part.stat().st_size if part.exists() else 0
    if offset > size:
        part.unlink()
        arrived(-offset)
        offset = 0
    if offset == size:
        part.touch()  # an empty file is complete before it is there
        return
    # Compressed bytes would make offsets meaningless.
    wanted = {**headers, "Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
    try:
        with client.stream("GET", url, headers=wanted) as response:
            if response.status_code not in (200, 206):
                response.read()
                raise refused(response)
            if offset and not _continues(response, offset):
                arrived(-offset)
                offset = 0
            with part.open("ab" if offset else "wb") as file:
                # As they come: a fixed chunk size would lose the last, partly filled chunk whenever a line is cut.
                for chunk in response.iter_bytes():
                    file.write(chunk)
                    arrived(len(chunk))
    except httpx.HTTPError as error:
        raise http.failed(error, httpx.URL(url).host) from error
    if (got := part.stat().st_size) != size:
        raise SourceUnreachable(f"{httpx.URL(url).host} sent {got} of {size} bytes of {part.name}")


def read(
    client: httpx.Client, url: str, start: int, length: int, *, headers: Mapping[str, str], refused: Refused
) -> bytes:
    """At most `length` bytes of `url` from `start` on, and not many more over the line."""
    if not length:
        return b""
    wanted = {**headers, "Accept-Encoding": "identity", "Range": f"bytes={start}-{start + length - 1}"}
    found = bytearray()
    try:
        with client.stream("GET", url, headers=wanted) as response:
            if response.status_code == 416:
                return b""  # the file ends before
            if response.status_code not in (200, 206):
                response.read()
                raise refused(response)
            skipped = 0 if response.status_code == 206 else start
            for chunk in response.iter_bytes():
                found += chunk
                if len(found) >= skipped + length:
                    break
    except httpx.HTTPError as error:
        raise http.failed(error, httpx.URL(url).host) from error
    return bytes(found[skipped : skipped + length])


def persistently(action: Callable[[], Result], advanced: Callable[[], int], pause: Callable[[float], None]) -> Result:
    """Repeats `action` while the source is unreachable; `advanced` is a number that grows with every byte won."""
    failures = 0
    while True:
        before = advanced()
        try:
            return action()
        except SourceUnreachable as failure:
            failures = 1 if advanced() > before else failures + 1
            if failures >= ATTEMPTS:
                raise
            pause(retry_delay(failure.reason, failures))


def missing_space(folder: Path, needed: int) -> int:
    """Bytes that the volume of `folder` lacks for `needed` more; 0 when they fit."""
    return max(0, needed - shutil.disk_usage(folder).free)


def _continues(response: httpx.Response, offset: int) -> bool:
    """True when the answer starts at `offset`; a server that ignores ranges sends the whole file under 200."""
    return response.status_code == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {offset}-")
