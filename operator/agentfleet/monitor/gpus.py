"""Asks the GPU exporters of all nodes how the GPUs of each pod are: one request for each exporter, all at one time.

    headless Service of the DaemonSet ─ DNS ─▶ Gpus.read ─ GET /metrics ─▶ exporters ─▶ {(namespace, pod): GpuSample}

An exporter that does not answer leaves the samples that it gave, with their age, until they are too old; its trouble is
in `problems`. Nothing here decides.
"""

import asyncio
import logging
import math
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

import aiohttp

from agentfleet.autoscale.samples import GpuSample
from agentfleet.gpu import names
from agentfleet.monitor.exposition import Samples, labels_of, scan

log = logging.getLogger(__name__)

PodKey = tuple[str, str]
"""Namespace and name."""

TIMEOUT = 2.0
KEPT = 30.0
"""Seconds after which a sample is dropped."""

_AT_ONCE = 64
_LARGEST = 1 << 22
_UTILIZATION = names.PREFIX + names.UTILIZATION
_USED, _TOTAL = names.PREFIX + names.MEMORY_USED, names.PREFIX + names.MEMORY_TOTAL
_WANTED = frozenset(
    {
        names.EXPORTER_UP,
        names.POD_RESOURCES_UP,
        names.SAMPLE_AGE,
        names.UP,
        names.ALLOCATED,
        _UTILIZATION,
        _USED,
        _TOTAL,
    }
)
_NO_ADDRESS = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}

Device = tuple[str, str]
"""UUID and GPU instance."""


@dataclass(frozen=True, slots=True)
class Page:
    """What one exporter said."""

    samples: Mapping[PodKey, GpuSample] = field(default_factory=dict)
    node: str = ""
    problem: str | None = None
    knows_pods: bool = True
    """Whether it can tell which pod has which GPU."""


class Gpus:
    """Reads all exporters. An async context manager: it holds connections open between reads."""

    def __init__(
        self,
        exporter: str,
        *,
        timeout: float = TIMEOUT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`exporter` is host:port of the headless Service; empty where there are no exporters."""
        self._host, _, self._port = exporter.rpartition(":")
        self._timeout = timeout
        self._clock = clock
        self._pages: dict[str, Page] = {}
        self._dns_problem: str | None = None
        self._told: Mapping[str, str] = {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=_AT_ONCE),
            timeout=aiohttp.ClientTimeout(total=self._timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def read(self) -> Mapping[PodKey, GpuSample]:
        """The newest sample of each pod that has GPUs; its `at` says how old it is."""
        if not self._host:
            return {}
        addresses = await self._addresses()
        pages = await asyncio.gather(*(self._page(address) for address in addresses))
        self._pages = dict(zip(addresses, pages, strict=True))
        self._tell()
        # A pod's name may have been on another node before: the newest counts.
        samples = sorted(
            (item for page in pages for item in page.samples.items()),
            key=lambda item: item[1].at,
        )
        return dict(samples)

    @property
    def problems(self) -> Mapping[str, str]:
        """Node (or the exporter's address, where its node is not known) → what is wrong there."""
        found = {page.node or address: page.problem for address, page in self._pages.items() if page.problem}
        return found | ({self._host: self._dns_problem} if self._dns_problem else {})

    async def _addresses(self) -> list[str]:
        """Of all exporters; the last known ones where DNS fails. A name without addresses means that there are none."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout):
                found = await loop.getaddrinfo(self._host, int(self._port), type=socket.SOCK_STREAM)
        except (OSError, ValueError) as error:  # TimeoutError is an OSError, a name that IDNA refuses a ValueError
            if isinstance(error, socket.gaierror) and error.errno in _NO_ADDRESS:
                self._dns_problem = None
                return []
            self._dns_problem = f"{self._host} could not be resolved: {error or 'no answer'}"
            return list(self._pages)
        self._dns_problem = None
        return sorted({str(address[0]) for *_, address in found})

    async def _page(self, address: str) -> Page:
        before = self._pages.get(address, Page())
        try:
            text = await self._text(address)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            words = str(error) or f"no answer within {self._timeout:g} s"
            return self._kept(before, before.node, f"the GPU exporter at {address} did not answer: {words}")
        page = page_of(text, self._clock())
        return page if page.knows_pods else self._kept(before, page.node, page.problem)

    async def _text(self, address: str) -> str:
        if self._session is None:
            raise RuntimeError("Gpus is not entered: use it as `async with Gpus(…) as gpus`")
        host = f"[{address}]" if ":" in address else address
        async with self._session.get(f"http://{host}:{self._port}/metrics", allow_redirects=False) as answer:
            if answer.status != 200:
                raise ValueError(f"HTTP status {answer.status}")
            pieces = bytearray()
            async for piece in answer.content.iter_any():
                pieces += piece
                if len(pieces) > _LARGEST:
                    raise ValueError(f"an answer of more than {_LARGEST} bytes")
        return pieces.decode("utf-8", "replace")

    def _kept(self, before: Page, node: str, problem: str | None) -> Page:
        oldest = self._clock() - KEPT
        samples = {pod: sample for pod, sample in before.samples.items() if sample.at >= oldest}
        return Page(_with(problem, samples), node, problem)

    def _tell(self) -> None:
        """Into the log goes what changed."""
        problems = self.problems
        for where, problem in problems.items():
            if self._told.get(where) != problem:
                log.warning("GPUs of %s: %s", where, problem)
        for where in self._told.keys() - problems.keys():
            log.info("GPUs of %s: all is well again", where)
        self._told = problems


def page_of(text: str, now: float) -> Page:
    """What an exporter's page says of the pods on its node. Pure."""
    found = scan(text, _WANTED)
    up = [(labels_of(labels), value) for labels, value in found.get(names.EXPORTER_UP, ())]
    if not up:
        return Page(problem="the page is not that of a GPU exporter", knows_pods=False)
    labels, answers = up[0]
    allocated = list(_allocated(found))
    asked = any(value == 1 for _, value in found.get(names.POD_RESOURCES_UP, ()))
    problem = _problem(found, labels.get("source", "driver"), answers=answers == 1, asked=asked)
    if answers != 1 or not (asked or allocated):
        return Page(node=labels.get("node", ""), problem=problem, knows_pods=False)
    age = next((value for _, value in found.get(names.SAMPLE_AGE, ()) if math.isfinite(value)), 0.0)
    samples = _samples(found, allocated, now - age)
    return Page(_with(problem, samples), labels.get("node", ""), problem)


def _with(problem: str | None, samples: Mapping[PodKey, GpuSample]) -> Mapping[PodKey, GpuSample]:
    return {pod: replace(sample, problem=problem) for pod, sample in samples.items()} if problem else samples


def _problem(found: Samples, source: str, *, answers: bool, asked: bool) -> str | None:
    if not answers:
        return f"GPUs cannot be read ({source} does not answer); its /healthz says why"
    lost = [labels_of(labels) for labels, value in found.get(names.UP, ()) if value == 0]
    if lost:
        return "lost: " + ", ".join(f"GPU {gpu.get('gpu')} {gpu.get('uuid')}".rstrip() for gpu in lost)
    return None if asked else "the kubelet does not tell which pod has which GPU"


def _allocated(found: Samples) -> Iterator[tuple[Device, PodKey]]:
    for text, _ in found.get(names.ALLOCATED, ()):
        labels = labels_of(text)
        yield _device(labels), (labels.get("namespace", ""), labels.get("pod", ""))


def _device(labels: Mapping[str, str]) -> Device:
    return labels.get("uuid", ""), labels.get("mig_instance", "")


def _samples(found: Samples, allocated: Sequence[tuple[Device, PodKey]], at: float) -> dict[PodKey, GpuSample]:
    values = {name: _by_device(found, name) for name in (_UTILIZATION, _USED, _TOTAL)}
    pods: dict[PodKey, set[Device]] = {}
    for device, pod in allocated:
        pods.setdefault(pod, set()).add(device)
    shared = {device for device, pod in allocated if any(d == device and p != pod for d, p in allocated)}
    samples = {}
    for pod, devices in pods.items():
        percent = _all_of(values[_UTILIZATION], devices - shared, devices)
        samples[pod] = GpuSample(
            at=at,
            count=len(devices),
            utilization=None if percent is None else sum(percent) / len(percent) / 100,
            memory_used=_sum(_all_of(values[_USED], devices - shared, devices)),
            memory_total=_sum(_all_of(values[_TOTAL], devices, devices)),
        )
    return samples


def _by_device(found: Samples, name: str) -> Mapping[Device, float]:
    return {_device(labels_of(text)): value for text, value in found.get(name, ()) if math.isfinite(value)}


def _all_of(values: Mapping[Device, float], own: set[Device], devices: set[Device]) -> list[float] | None:
    """The values of all devices, None where one is not known or is not the pod's own: a part says nothing of the whole,
    and nobody can tell apart what each of several pods uses of one GPU."""
    if own != devices or not devices <= values.keys():
        return None
    return [values[device] for device in sorted(devices)]


def _sum(values: list[float] | None) -> float | None:
    return None if values is None else sum(values)
