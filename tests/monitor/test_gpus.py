"""Gpus: what pods have, from the pages of real exporters' code over real HTTP; ages, sharing, and every way to fail."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from agentfleet.gpu.page import View, page
from agentfleet.gpu.readings import Device, Holder, Reading
from agentfleet.monitor.gpus import KEPT, Gpus, page_of

GIB = float(1 << 30)
NOW = 1_000_000.0
NAME = "exporters.example"


def _reading(
    uuid: str, utilization: float | None = 50.0, used: float = 60 * GIB, *, up: bool = True, mig: str = ""
) -> Reading:
    values = {"memory_used_bytes": used, "memory_total_bytes": 80 * GIB}
    if utilization is not None:
        values["utilization_percent"] = utilization
    device = Device(uuid, uuid[-1], 'H100 "80GB"', profile="1g.10gb" if mig else "", instance=mig)
    return Reading(device, up, values if up else {})


def _text(
    readings: Sequence[Reading],
    pods: Mapping[str, Sequence[str]],
    *,
    up: bool = True,
    age: float = 1.0,
    asked: bool = True,
    node: str = "node-1",
) -> str:
    """A page as the exporter writes it; `pods` is UUID → pods that hold it."""
    holders = {
        reading.device: tuple(Holder("demo", pod, "engine") for pod in pods.get(reading.device.uuid, ()))
        for reading in readings
    }
    return page(View(node, "nvml", up, age, "570", tuple(readings), holders, asked)).decode()


def test_gpus_of_a_pod_together() -> None:
    readings = [_reading("GPU-0", 40), _reading("GPU-1", 80, 20 * GIB), _reading("GPU-2", 7)]
    said = page_of(_text(readings, {"GPU-0": ["phi"], "GPU-1": ["phi"], "GPU-2": ["qwen"]}, age=3), NOW)
    assert said.problem is None
    sample = said.samples["demo", "phi"]
    assert (sample.at, sample.count, sample.utilization) == (NOW - 3, 2, pytest.approx(0.6))
    assert (sample.memory_used, sample.memory_total) == (80 * GIB, 160 * GIB)
    assert said.samples["demo", "qwen"].utilization == pytest.approx(0.07)


def test_zero_is_a_number_and_missing_is_none() -> None:
    readings = [_reading("GPU-0", 0.0), _reading("GPU-1", None, mig="9")]
    samples = page_of(_text(readings, {"GPU-0": ["idle"], "GPU-1": ["slice"]}), NOW).samples
    assert samples["demo", "idle"].utilization == 0.0
    assert samples["demo", "slice"].utilization is None
    assert samples["demo", "slice"].memory_used == 60 * GIB


def test_a_part_says_nothing_of_the_whole() -> None:
    readings = [_reading("GPU-0", 40), _reading("GPU-1", up=False)]
    said = page_of(_text(readings, {"GPU-0": ["phi"], "GPU-1": ["phi"]}), NOW)
    sample = said.samples["demo", "phi"]
    assert (sample.count, sample.utilization, sample.memory_used, sample.memory_total) == (2, None, None, None)
    assert said.problem == "lost: GPU 1 GPU-1"


def test_nobody_knows_what_each_of_two_pods_uses_of_one_gpu() -> None:
    samples = page_of(_text([_reading("GPU-0", 40)], {"GPU-0": ["phi", "qwen"]}), NOW).samples
    for pod in ("phi", "qwen"):
        sample = samples["demo", pod]
        assert (sample.count, sample.utilization, sample.memory_used, sample.memory_total) == (1, None, None, 80 * GIB)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not that of a GPU exporter"),
        ("<html>", "not that of a GPU exporter"),
        (_text([], {}, up=False), r"GPUs cannot be read \(nvml does not answer\)"),
        (_text([_reading("GPU-0")], {}, asked=False), "the kubelet does not tell"),
    ],
)
def test_pages_that_tell_nothing(text: str, said: str) -> None:
    read = page_of(text, NOW)
    assert (dict(read.samples), read.knows_pods) == ({}, False)
    assert read.problem is not None
    assert re.search(said, read.problem)


# --- over the network -------------------------------------------------------------------------------------------------


class _Exporter:
    """One exporter: its page, or a failure."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.status = 200
        self.hangs = False

    async def handle(self, _: web.Request) -> web.Response:
        if self.hangs:
            await asyncio.sleep(2)
        return web.Response(text=self.text, status=self.status)


@asynccontextmanager
async def _listening(exporter: _Exporter, address: str, port: int) -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_get("/metrics", exporter.handle)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    try:
        await web.TCPSite(runner, address, port).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


class _Dns:
    """The answer for the headless Service's name."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.addresses: list[str] = []
        self.error: OSError | None = None
        real = socket.getaddrinfo

        def getaddrinfo(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
            if host != NAME:
                return real(host, port, *arguments, **options)
            if self.error is not None:
                raise self.error
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in self.addresses]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> _Dns:
    return _Dns(monkeypatch)


class _Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def _fleet(dns: _Dns, *exporters: _Exporter, timeout: float = 10) -> AsyncIterator[tuple[Gpus, _Clock]]:
    """Exporters on addresses of their own, all on one port, and a Gpus that finds them by name."""
    async with AsyncExitStack() as stack:
        port = 0
        for number, exporter in enumerate(exporters):
            address = f"127.0.0.{number + 2}"
            port = await stack.enter_async_context(_listening(exporter, address, port))
            dns.addresses.append(address)
        clock = _Clock()
        yield await stack.enter_async_context(Gpus(f"{NAME}:{port}", timeout=timeout, clock=clock)), clock


def _node(number: int, **options: Any) -> _Exporter:
    return _Exporter(_text([_reading("GPU-0")], {"GPU-0": [f"pod-{number}"]}, node=f"node-{number}", **options))


async def test_all_exporters_are_asked(dns: _Dns) -> None:
    async with _fleet(dns, _node(1), _node(2, age=4)) as (gpus, _):
        samples = await gpus.read()
        assert {pod[1]: sample.at for pod, sample in samples.items()} == {"pod-1": NOW - 1, "pod-2": NOW - 4}
        assert gpus.problems == {}


def _status(exporter: _Exporter) -> None:
    exporter.status = 500


def _hang(exporter: _Exporter) -> None:
    exporter.hangs = True


def _blind(exporter: _Exporter) -> None:
    exporter.text = _text([], {}, up=False, node="node-1")


def _kubeletless(exporter: _Exporter) -> None:
    exporter.text = _text([_reading("GPU-0")], {}, asked=False, node="node-1")


def _endless(exporter: _Exporter) -> None:
    exporter.text = "x" * (1 << 23)


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        (_status, "did not answer: HTTP status 500"),
        (_hang, "did not answer: no answer within 1 s"),
        (_blind, "GPUs cannot be read"),
        (_kubeletless, "the kubelet does not tell"),
        (_endless, "an answer of more than"),
    ],
)
async def test_what_fails_keeps_its_old_samples_for_a_while(
    dns: _Dns, fails: Callable[[_Exporter], None], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", logger="aiohttp.access")
    caplog.set_level("INFO", logger="agentfleet")
    first, second = _node(1), _node(2)
    async with _fleet(dns, first, second, timeout=1 if fails is _hang else 10) as (gpus, clock):
        await gpus.read()
        fails(first)
        clock.now += 5
        samples = await gpus.read()
        assert {pod[1]: sample.at for pod, sample in samples.items()} == {"pod-1": NOW - 1, "pod-2": NOW + 4}
        assert list(gpus.problems) == ["node-1"]
        assert said in gpus.problems["node-1"]
        clock.now += KEPT
        assert [pod for _, pod in await gpus.read()] == ["pod-2"]

        first.status, first.hangs, first.text = 200, False, _node(1).text
        assert len(await gpus.read()) == 2
        assert gpus.problems == {}
    assert [record.message.split(":")[0] for record in caplog.records] == ["GPUs of node-1"] * 2


async def test_an_exporter_that_goes_takes_its_samples_with_it(dns: _Dns) -> None:
    async with _fleet(dns, _node(1), _node(2)) as (gpus, _):
        await gpus.read()
        del dns.addresses[0]
        assert [pod for _, pod in await gpus.read()] == ["pod-2"]
        assert gpus.problems == {}


async def test_a_pod_that_moved_counts_where_it_was_seen_last(dns: _Dns) -> None:
    old, new = _node(1, age=20), _node(1, age=1)
    async with _fleet(dns, new, old) as (gpus, _):
        assert (await gpus.read())["demo", "pod-1"].at == NOW - 1


async def test_a_name_without_addresses_means_no_gpu_nodes(dns: _Dns) -> None:
    dns.error = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    async with Gpus(f"{NAME}:9902") as gpus:
        assert await gpus.read() == {}
        assert gpus.problems == {}


async def test_dns_that_fails_changes_nobody(dns: _Dns) -> None:
    async with _fleet(dns, _node(1)) as (gpus, _):
        await gpus.read()
        dns.error = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        assert len(await gpus.read()) == 1
        assert "could not be resolved" in gpus.problems[NAME]
        dns.error = None
        await gpus.read()
        assert gpus.problems == {}


async def test_a_name_that_is_none_is_told() -> None:
    async with Gpus(f"{'x' * 64}.example:9902") as gpus:
        assert await gpus.read() == {}
        assert len(gpus.problems) == 1


async def test_without_an_exporter_nothing_is_asked() -> None:
    async with Gpus("") as gpus:
        assert await gpus.read() == {}


async def test_a_gpus_that_is_not_entered_says_how(dns: _Dns) -> None:
    dns.addresses = ["127.0.0.1"]
    with pytest.raises(RuntimeError, match="async with"):
        await Gpus(f"{NAME}:1").read()
