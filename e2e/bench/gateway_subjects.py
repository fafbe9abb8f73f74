"""What ``bench gateway`` compares: each a proxy in one process on one core, in front of the same server."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agentfleet.gateway import layout as places
from e2e.bench import gateway_envoy, gateway_route, gateway_traffic
from e2e.bench.process import Process, running
from e2e.cluster.shell import run, wait_until
from e2e.support import haproxy
from e2e.support.ports import free_ports

PROXY_CORE, TRAFFIC_CORE = 1, 0
"""The proxy has a core; server and client share the other one, with the decider."""

_REPOSITORY = Path(__file__).resolve().parents[2]
_PLAIN = """global
  nbthread 1
  fd-hard-limit 16384
defaults
  mode http
  option http-no-delay
  timeout connect 1s
  timeout client 300s
  timeout server 300s
frontend bench
  bind 127.0.0.1:{port}
  default_backend pods
backend pods
  server pod 127.0.0.1:{target}
"""


@dataclass(frozen=True)
class Subject:
    """One way to the server."""

    name: str
    port: int
    process: Process
    """The proxy, or the server itself."""
    helper: Process | None = None
    """What runs beside the proxy and takes part."""

    def forget_log(self) -> None:
        """Empty its log: a few seconds of full load fill a disk in time."""
        os.truncate(self.process.log, 0)


@contextmanager
def server(folder: Path) -> Iterator[Subject]:
    """The server behind all of them, to be asked directly."""
    (port,) = free_ports(1)
    with _pinned("server", TRAFFIC_CORE, [gateway_traffic.program(), "serve", port], folder) as process:
        _wait_listening(process, port)
        yield Subject("direct", port, process)


@contextmanager
def plain(folder: Path, target: int, version: haproxy.Version) -> Iterator[Subject]:
    """HAProxy that passes on what comes."""
    (port,) = free_ports(1)
    config = folder / "plain.cfg"
    config.write_text(_PLAIN.format(port=port, target=target), encoding="utf-8")
    with _pinned("plain", PROXY_CORE, [*haproxy.command(version), "-db", "-f", config], folder) as process:
        _wait_listening(process, port)
        yield Subject("plain", port, process)


@contextmanager
def policy(folder: Path, target: int, version: haproxy.Version, part: str | None = None) -> Iterator[Subject]:
    """The gateway with its decider, whole or without one part."""
    name = f"without-{part}" if part else "policy"
    place = folder / name
    place.mkdir()
    port, metrics, decides, page = free_ports(4)
    ports = {places.HTTP_PORT: port, places.METRICS_PORT: metrics, places.DECIDER_PORT: decides}
    config = gateway_route.place(gateway_route.rendered(target, part), place, ports)
    decider = _decider(place, decides, page, port)
    run([*map(str, decider), "--prepare"], env=_environment())
    with (
        _pinned(f"{name}-decider", TRAFFIC_CORE, decider, folder) as helper,
        _pinned(name, PROXY_CORE, [*haproxy.command(version), "-db", "-f", config], folder) as process,
    ):
        _wait_listening(helper, decides)
        _wait_listening(process, port)
        yield Subject(name, port, process, helper)


@contextmanager
def envoy(folder: Path, target: int) -> Iterator[Subject]:
    """Envoy with what it has of the policy."""
    (port,) = free_ports(1)
    config = folder / "envoy.json"
    config.write_text(gateway_envoy.configuration(port, target), encoding="utf-8")
    words: list[str | Path | int] = [
        gateway_envoy.program(),
        "-c",
        config,
        "--concurrency",
        "1",
        "--log-level",
        "warning",
        "--disable-hot-restart",
    ]
    with _pinned("envoy", PROXY_CORE, words, folder) as process:
        _wait_listening(process, port)
        yield Subject("envoy", port, process)


@contextmanager
def bare(folder: Path, target: int) -> Iterator[Subject]:
    """A proxy in Python."""
    (port,) = free_ports(1)
    words: list[str | Path | int] = [
        sys.executable,
        "-m",
        "e2e.bench.gateway_bare_proxy",
        port,
        f"http://127.0.0.1:{target}",
    ]
    with _pinned("aiohttp", PROXY_CORE, words, folder) as process:
        _wait_listening(process, port)
        yield Subject("aiohttp", port, process)


def _decider(place: Path, port: int, page: int, haproxy_port: int) -> list[str | Path | int]:
    nowhere = place / "none"
    return [
        *(sys.executable, "-m", "agentfleet", "decider", "--name", "bench-route-0", "--log-level", "WARNING"),
        *("--config", place, "--run", place / "run", "--keys", place / "keys", "--identity", place / "identity"),
        *("--jwt", nowhere, "--credentials", nowhere, "--tls", nowhere, "--budgets", nowhere),
        *("--port", port, "--page-address", "127.0.0.1", "--page-port", page),
        *("--loopback", f"http://127.0.0.1:{haproxy_port}"),
    ]


@contextmanager
def _pinned(name: str, core: int, words: Sequence[str | Path | int], folder: Path) -> Iterator[Process]:
    argv = ["taskset", "-c", str(core), *map(str, words)]
    with running(name, argv, folder, _environment()) as process:
        yield process


def _environment() -> dict[str, str]:
    folders = (str(_REPOSITORY), str(_REPOSITORY / "operator"))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}


def _wait_listening(process: Process, port: int) -> None:
    def listening() -> bool:
        process.expect_running()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_until(listening, f"{process.name} listens", timeout=30, interval=0.05)
