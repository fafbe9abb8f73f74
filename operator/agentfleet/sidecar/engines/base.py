"""What the sidecar asks every engine, and the HTTP client they share."""

import asyncio
import logging
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import httpx

from agentfleet.errors import Transient
from agentfleet.sidecar import exposition

log = logging.getLogger(__name__)

TIMEOUT = httpx.Timeout(5.0, connect=2.0)
"""llama-server answers /metrics between two decode steps, so a busy one is slow but not dead."""


class EngineUnavailable(Transient):
    """The engine did not answer, or not in the way its API promises."""


class Health(StrEnum):
    """What an engine's own health endpoint says."""

    SERVING = "Serving"
    LOADING = "Loading"
    UNREACHABLE = "Unreachable"


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at the engine's work. `in_flight` is None when it cannot be told, `detail` says why not."""

    in_flight: int | None
    detail: str = ""
    refused: bool = False
    """Nobody listens on the engine's port."""
    page: str | None = field(default=None, compare=False, repr=False)
    """The metrics page that the number was read from; None where the engine has none, or did not give it."""


class Engine(Protocol):
    """An engine in this pod."""

    async def health(self) -> Health:
        """What the health endpoint says; never raises for an engine that is down."""

    async def version(self) -> str | None:
        """The engine's version, None where it cannot be told."""

    async def reading(self) -> Reading:
        """Requests that are queued or in work. Never raises: what cannot be read is a Reading without a number."""


def local_client(port: int, api_key_file: Path | None = None) -> httpx.AsyncClient:
    """A client of the engine on this pod's loopback. Proxy variables of the pod are for the outside, not for this."""
    return httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", timeout=TIMEOUT, trust_env=False, auth=BearerFile(api_key_file)
    )


class BearerFile(httpx.Auth):
    """Sends the key in `path`, read for each request: a rotated Secret needs no restart."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if self._path is not None:
            request.headers["Authorization"] = f"Bearer {self._key(self._path)}"
        yield request

    def _key(self, path: Path) -> str:
        key = path.read_text(encoding="utf-8", errors="replace").strip()
        if not (key.isascii() and key.isprintable()):
            # The HTTP library would quote the key in its error.
            raise OSError(f"{path} has characters that no HTTP header can carry")
        return key


async def health_of(client: httpx.AsyncClient, path: str) -> Health:
    """The health of an engine that answers 200 when it serves."""
    try:
        response = await client.get(path)
    except (httpx.HTTPError, OSError):
        return Health.UNREACHABLE
    return Health.SERVING if response.status_code == 200 else Health.LOADING


async def reading_of(client: httpx.AsyncClient, metrics: tuple[str, ...]) -> Reading:
    """The sum of `metrics` on the engine's /metrics page."""
    try:
        response = await client.get("/metrics")
    except httpx.ConnectError as error:
        return Reading(None, describe(error), refused=True)
    except (httpx.HTTPError, OSError) as error:
        return Reading(None, describe(error))
    if response.status_code != 200:
        return Reading(None, f"/metrics answered {response.status_code}")
    page = exposition.unquoted(response.text)
    total = exposition.total(page, metrics)
    return Reading(total, "" if total is not None else f"/metrics lacks {' or '.join(metrics)}", page=page)


def describe(error: Exception) -> str:
    """An error in words; some of httpx's carry none but their class."""
    return str(error) or type(error).__name__


class Sampler:
    """Readings for many askers at the price of one.

    /drain, /engine and /metrics of the sidecar are open to whoever reaches the pod; however many ask, the engine is
    asked once per `max_age` seconds.
    """

    def __init__(self, engine: Engine, max_age: float = 0.25, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._max_age = max_age
        self._clock = clock
        self._lock = asyncio.Lock()
        self._last: tuple[float, Reading] | None = None

    async def read(self) -> Reading:
        """A reading that is at most `max_age` seconds old."""
        async with self._lock:
            if self._last is None or self._clock() - self._last[0] > self._max_age:
                reading = await self._engine.reading()
                if reading.in_flight is None and (self._last is None or self._last[1] != reading):
                    log.warning("requests in flight cannot be told: %s", reading.detail)
                self._last = (self._clock(), reading)
            return self._last[1]
