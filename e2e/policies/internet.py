"""A fake internet: one server in a network namespace of its own, which pods of the embedded cluster reach through their
node, as they would the real one. It is there for the time of a block; `down` would find it by its name, too.

Every TCP port of ADDRESS and METADATA leads to a scripted OpenAI server (e2e/support/scripted.py), so it is a cloud as
well; whoever has sent it as much as one packet is remembered.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from e2e.cluster import layout, network
from e2e.cluster.daemon import Process
from e2e.cluster.shell import run, wait_until
from e2e.images.build import REPOSITORY

ADDRESS = "203.0.113.7"
METADATA = "169.254.169.254"
"""Where clouds tell machines their credentials."""
_GATEWAY = "203.0.113.1"
_PORT = 8080
_NAMESPACE = network.Namespace(f"{layout.PREFIX}internet")
_TABLE = "inet e2e_internet"
_RULES = f"""
table {_TABLE} {{
  set heard {{
    type ipv4_addr; flags dynamic; size 65535;
  }}
  chain listen {{
    type filter hook prerouting priority raw;
    ip daddr {{ {ADDRESS}, {METADATA} }} add @heard {{ ip saddr }}
  }}
  chain doors {{
    type nat hook prerouting priority dstnat;
    meta l4proto tcp redirect to :{_PORT}
  }}
}}
"""


class Internet:
    """What tests ask of it, from within the cluster's network."""

    def __init__(self, http: httpx.Client) -> None:
        self.control = http
        """Of the scripted server: PUT /replies, GET /stats and /body."""

    def heard(self) -> set[str]:
        """Addresses that have sent it a packet."""
        found = json.loads(run(_NAMESPACE.enter(["nft", "-j", "list", "set", *_TABLE.split(), "heard"])))
        [told] = [item["set"] for item in found["nftables"] if "set" in item]
        return set(told.get("elem", ()))

    def requests(self) -> int:
        """Requests to the cloud's models."""
        return int(self.control.get("/stats").json()["received"])

    def forget(self) -> None:
        """Nobody has ever been here."""
        run(_NAMESPACE.enter(["nft", "flush", "set", *_TABLE.split(), "heard"]))
        self.control.delete("/stats").raise_for_status()


@contextmanager
def internet(*, models: str = "scripted") -> Iterator[Internet]:
    """There is an internet, with a cloud that serves these models, for the time of the block."""
    _remove()
    try:
        _connect()
        with _serving(models), httpx.Client(base_url=f"http://{ADDRESS}", trust_env=False, timeout=10) as http:
            wait_until(lambda: _answers(http), "the fake internet answers", timeout=20)
            yield Internet(http)
    finally:
        _remove()


def _connect() -> None:
    """Its namespace, and a cable to the control plane's, through which all nodes' packets to elsewhere go."""
    _NAMESPACE.create()
    network.CONTROL.ip("link", "add", _NAMESPACE.name, "type", "veth", "peer", "name", "eth0", "netns", _NAMESPACE.name)
    network.CONTROL.ip("address", "add", f"{_GATEWAY}/24", "dev", _NAMESPACE.name)
    network.CONTROL.ip("link", "set", _NAMESPACE.name, "up")
    _NAMESPACE.ip("address", "add", f"{ADDRESS}/24", "dev", "eth0")
    _NAMESPACE.ip("address", "add", f"{METADATA}/32", "dev", "lo")
    _NAMESPACE.ip("link", "set", "eth0", "up")
    _NAMESPACE.ip("route", "add", "default", "via", _GATEWAY)
    network.CONTROL.ip("route", "add", f"{METADATA}/32", "via", ADDRESS)
    run(_NAMESPACE.enter(["nft", "-f", "-"]), stdin=_RULES)


@contextmanager
def _serving(models: str) -> Iterator[None]:
    environment = {**os.environ, "NAME": "internet", "PORT": str(_PORT), "MODELS": models}
    argv = _NAMESPACE.enter([sys.executable, "-m", "e2e.support.scripted"])
    with subprocess.Popen(argv, env=environment, cwd=REPOSITORY) as server:
        try:
            yield
        finally:
            server.kill()


def _remove() -> None:
    """Also what a run that was killed has left: whatever runs in this namespace was started for it."""
    if _NAMESPACE.path.exists():
        for pid in map(int, run(["ip", "netns", "pids", _NAMESPACE.name]).split()):
            if process := Process.find(pid):
                process.send(signal.SIGKILL)
        _NAMESPACE.delete()
    # The kernel takes the cable away with the namespace, though not at once.
    wait_until(_is_unplugged, "the cable of the fake internet is gone", timeout=10)


def _is_unplugged() -> bool:
    links = json.loads(network.CONTROL.ip("-json", "link", "show"))
    return _NAMESPACE.name not in {link["ifname"] for link in links}


def _answers(http: httpx.Client) -> bool:
    try:
        return http.get("/stats").is_success
    except httpx.TransportError:
        return False
