"""Asks the pods of ModelServers and Agents, and the gateways before them, for their numbers: one request for each, all
at one time.

    loop ─ targets ─▶ Scraper.look ─ GET /engine?names=… ─▶ sidecar of each replica ─ /metrics ─▶ its engine
                                   ├ GET /metrics ─▶ pods of Agents
                                   └ GET /metrics ─▶ gateways (demand.py)
    budgets ─ Scraper.pages ─ GET /budgets ─▶ gateways

The sidecar asks the engine, for it has the engine's key, and sends back only the lines that are asked for; what they
mean is decided here (engines.py). A pod that does not answer is left out. Nothing is kept of a pod from look to look
but its connection, so nothing old can pass for new; nothing here decides.
"""

import asyncio
import logging
import resource
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Self

import aiohttp

from agentfleet.autoscale.samples import DemandSample, EngineSample, Replica
from agentfleet.monitor.connections import BadAnswer, Connections
from agentfleet.monitor.demand import Demand, Guests
from agentfleet.monitor.engines import ENGINES
from agentfleet.monitor.exposition import scan
from agentfleet.objects import Key

log = logging.getLogger(__name__)

Look = tuple[Mapping[str, EngineSample], DemandSample | None, int]
"""Replica → what its engine said, for those that answered; what gateways said; and how many gateways there are."""

_TIMEOUT = 1.0
_LONGEST_LOOK = 4.0
"""Seconds after which whoever was not asked yet is left out: the loop's next tick must not come late."""
_BATCH = 100
_PATIENCE = 0.2
"""So many are asked at one time, and the next after so many seconds at most. All at once would hold up the rest of the
process, and those whose answer is read last would seem to be late; yet 2,000 that never answer fit into a look."""
_LARGEST = 1 << 20
_KEEP_ALIVE = 30.0
"""Seconds that an idle connection stays: longer than the loop's interval, shorter than the sidecar's own 75."""
_OPEN_FILES = 1 << 16
_MOST_SILENT = 20_000


@dataclass(frozen=True, slots=True)
class Target:
    """One ModelServer or Agent to look at."""

    key: Key
    engine: str
    """One of engines.ENGINES; what is not one of them is not asked."""
    replicas: tuple[Replica, ...]
    addresses: Mapping[str, str]
    """Replica → IP of its pod. Replicas without one are not asked."""
    max_running: float | None = None
    """Requests that one replica takes into work at once: vLLM's max_num_seqs, llama-server's slots, Ollama's parallel;
    None where it is not known."""


@dataclass(frozen=True, slots=True)
class _Pod:
    """One replica to ask."""

    target: Target
    replica: str

    @property
    def address(self) -> str:
        return self.target.addresses[self.replica]


class Scraper:
    """Looks at targets. An async context manager: it holds connections open between looks."""

    def __init__(
        self, *, port: int | None = None, timeout: float = _TIMEOUT, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._timeout = timeout
        self._clock = clock
        self._demand = Demand()
        self._silent: set[str] = set()
        """Addresses that did not answer the last time: asked last, for they may take all the time that there is."""
        self._places = {
            name: (port or engine.port, engine.path.format(names=",".join(engine.names)))
            for name, engine in ENGINES.items()
        }
        self._wanted = {name: frozenset(engine.names) for name, engine in ENGINES.items()}
        self._connections = Connections(idle=_KEEP_ALIVE, largest=_LARGEST)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        _allow_open_files()
        self._session = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self._timeout),
            auto_decompress=False,  # a page is as large as it says it is
            headers={"Accept": "text/plain", "Accept-Encoding": "identity"},
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connections.close()
        if self._session is not None:
            await self._session.close()

    def set_demand_sources(self, sources: Mapping[str, str], guests: Guests) -> None:
        """The gateways that there are, as demand.sources_of gives them, host:port → namespace; and which of them may
        speak for ModelServers of other namespaces."""
        self._demand.set_sources(sources, guests)

    async def look(self, targets: Sequence[Target], now: float) -> dict[Key, Look]:
        """Asks everybody. `now`, in seconds since the epoch, is when it begins; samples carry when they came."""
        began = self._clock()
        pods = sorted(_pods(targets), key=lambda pod: pod.address in self._silent)
        gateways = self._demand.addresses([target.key for target in targets])
        samples: dict[Key, dict[str, EngineSample]] = {target.key: {} for target in targets}

        async def gateway(address: str) -> None:
            self._demand.take(address, await self._gateway_page(address))

        async def engine(pod: _Pod) -> None:
            page = await self._engine_page(pod)
            self._note(pod.address, answered=page is not None)
            if page is not None:
                samples[pod.target.key][pod.replica] = self._read(pod.target, page, now + self._clock() - began)

        try:
            async with asyncio.timeout(_LONGEST_LOOK):
                await _all([*(partial(gateway, address) for address in gateways), *(partial(engine, p) for p in pods)])
        except TimeoutError:
            answers = sum(map(len, samples.values()))
            log.warning("%d of %d pods answered within %g s; nobody waits longer", answers, len(pods), _LONGEST_LOOK)
        self._connections.close_idle()
        end = now + self._clock() - began
        return {target.key: (samples[target.key], *self._demand.sample(target.key, end)) for target in targets}

    async def pages(self, addresses: Sequence[str], path: str) -> dict[str, str]:
        """host:port → one page of that gateway, of those that answer in time."""
        answers: dict[str, str] = {}

        async def ask(address: str) -> None:
            page = await self._gateway_page(address, path)
            if page is not None:
                answers[address] = page

        await _all([partial(ask, address) for address in addresses])
        return answers

    def _read(self, target: Target, page: str, at: float) -> EngineSample:
        return ENGINES[target.engine].read(scan(page, self._wanted[target.engine]), at, target.max_running)

    def _note(self, address: str, *, answered: bool) -> None:
        if answered:
            self._silent.discard(address)
            return
        if len(self._silent) >= _MOST_SILENT:  # most are of pods that are gone
            self._silent.clear()
        self._silent.add(address)

    async def _engine_page(self, pod: _Pod) -> str | None:
        """What a sidecar sends; None where it sends nothing within the time."""
        try:
            async with asyncio.timeout(self._timeout):
                status, body = await self._connections.get(pod.address, *self._places[pod.target.engine])
        except (OSError, BadAnswer) as error:  # TimeoutError is an OSError
            log.debug("the sidecar at %s did not answer: %s", pod.address, error or type(error).__name__)
            return None
        if status != 200:
            log.debug("the sidecar at %s answered %d: %s", pod.address, status, body[:200])
            return None
        return body.decode("utf-8", "replace")

    async def _gateway_page(self, address: str, path: str = "/metrics") -> str | None:
        """What a gateway sends, which may be anybody's server; None where it sends nothing within the time."""
        if self._session is None:
            raise RuntimeError("the Scraper is not entered: use it as `async with Scraper() as scraper`")
        try:
            async with self._session.get(f"http://{address}{path}", allow_redirects=False) as answer:
                if answer.status != 200:
                    log.debug("the gateway at %s answered %d", address, answer.status)
                    return None
                return (await self._content(answer)).decode("utf-8", "replace")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            log.debug("the gateway at %s did not answer: %s", address, error or type(error).__name__)
            return None

    async def _content(self, answer: aiohttp.ClientResponse) -> bytes:
        pieces: list[bytes] = []
        size = 0
        async for piece in answer.content.iter_any():
            size += len(piece)
            if size > _LARGEST:
                raise ValueError(f"an answer of more than {_LARGEST} bytes")
            pieces.append(piece)
        return b"".join(pieces)


def _pods(targets: Iterable[Target]) -> Iterator[_Pod]:
    for target in targets:
        if target.engine in ENGINES:
            yield from (_Pod(target, each.name) for each in target.replicas if each.name in target.addresses)


async def _all(jobs: Sequence[Callable[[], Coroutine[None, None, None]]]) -> None:
    """Does all jobs in their order, some at a time."""
    waiting = iter(jobs)
    async with asyncio.TaskGroup() as tasks:
        while batch := [tasks.create_task(job()) for job in islice(waiting, _BATCH)]:
            await asyncio.wait(batch, timeout=_PATIENCE)


def _allow_open_files() -> None:
    """A connection for each pod takes more than the 1024 files that container runtimes begin with."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
