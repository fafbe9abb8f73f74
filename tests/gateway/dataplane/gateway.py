"""A rendered gateway on this machine: real HAProxy, its name server, and scripted servers as pods.

What is rendered runs as it is, but for places that a machine has only once: ports, folders, abstract sockets.
"""

import base64
import hashlib
import hmac
import json
import re
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from agentfleet.decider import stats
from agentfleet.gateway import layout as places
from agentfleet.gateway.haproxy import render
from agentfleet.gateway.layout import Layout
from agentfleet.gateway.types import Policy
from e2e.cluster.shell import wait_until
from e2e.support import haproxy, scripted
from e2e.support.ports import free_port
from tests.gateway.dataplane import dns

IDENTITY_KEY = b"an identity key of 32 bytes, raw"
DECIDER_PASSWORD = b"only the decider's".hex()
CHAT = "/v1/chat/completions"


class _Made:
    by: haproxy.Version = "3.2"


@contextmanager
def made_by(version: haproxy.Version) -> Iterator[None]:
    """In the block all gateways are HAProxies of this version."""
    before, _Made.by = _Made.by, version
    try:
        yield
    finally:
        _Made.by = before


@dataclass
class Gateway:
    """One running HAProxy, and a client of it."""

    folder: Path
    address: str
    ports: Mapping[int, int]
    client: httpx.Client
    zone: dns.Zone
    process: haproxy.Running
    stack: ExitStack = field(default_factory=ExitStack)

    def ask(self, model: str = "auto", content: str = "hello there", **more: Any) -> httpx.Response:
        """A chat. `headers` are headers, all else stands in the body."""
        headers = more.pop("headers", {})
        body = {"model": model, "messages": [{"role": "user", "content": content}], **more}
        return self.client.post(CHAT, json=body, headers=headers)

    def audit(self) -> list[dict[str, Any]]:
        """The lines that were logged."""
        lines = self.process.log.read_text(errors="strict").splitlines()
        return [json.loads(line) for line in lines if line.startswith('{"ts"')]

    def logged(self, response: httpx.Response) -> dict[str, Any]:
        """The audit line of a request."""
        wanted = response.headers["x-request-id"]
        found: list[dict[str, Any]] = []

        def is_there() -> bool:
            found[:] = [line for line in self.audit() if line["id"] == wanted]
            return bool(found)

        wait_until(is_there, f"the audit line of {wanted}", timeout=5, interval=0.02)
        assert len(found) == 1
        return found[0]

    def command(self, text: str) -> str:
        """An order over the admin socket, and what it answers."""
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(str(self.folder / "run/admin.sock"))
            admin.sendall(f"{text}\n".encode())
            return b"".join(iter(lambda: admin.recv(65536), b"")).decode()

    def metrics_page(self, path: str) -> httpx.Response:
        return httpx.get(f"http://{self.address}:{self.ports[places.METRICS_PORT]}{path}", trust_env=False)

    def servers(self, backend: str) -> int:
        """How many servers of a backend take requests."""
        pattern = rf'^haproxy_backend_active_servers{{proxy="{backend}"}} (\d+)'
        found = re.search(pattern, self.metrics_page("/metrics").text, re.MULTILINE)
        return int(found[1]) if found else -1

    def waiting(self, backend: str) -> int:
        """How many requests wait for a place, in the queue of a backend and in those of its servers."""
        return stats.parse(self.command(stats.COMMAND)).backends[backend].waiting

    def wait_for(self, **servers: int) -> None:
        """Wait until backends have so many servers."""

        def are_there() -> bool:
            return {name: self.servers(name) for name in servers} == servers

        wait_until(are_there, f"servers {servers}", timeout=15, interval=0.05, hint=self.process.log.read_text)


def place(
    files: Mapping[str, str], folder: Path, ports: Mapping[int, int], address: str, nameserver: int, host: str
) -> None:
    """Write the files so that they fit this machine."""
    unique = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
    for name, content in files.items():
        text = content.replace(places.CONFIG_FOLDER, str(folder)).replace(places.RUN_FOLDER, str(folder / "run"))
        text = text.replace("abns@", f"abns@{unique}-")
        if name == "haproxy.cfg":
            text = text.replace("parse-resolv-conf", f"nameserver test 127.0.0.1:{nameserver}", 1)
            text = text.replace("global\n", f"global\n  setenv HOSTNAME {host}\n  setenv SITE here\n", 1)
            text = re.sub(r"bind :(\d+)", lambda found: f"bind {address}:{ports[int(found[1])]}", text)
            text = re.sub(
                r"(127\.0\.\d+\.\d+):(\d+)", lambda found: f"{found[1]}:{ports.get(int(found[2]), int(found[2]))}", text
            )
            text = re.sub(r"check port (\d+)", lambda found: f"check port {ports[int(found[1])]}", text)
            text = re.sub(
                r"addr 127.0.0.1 port (\d+)", lambda found: f"addr {address} port {ports[int(found[1])]}", text
            )
            text = text.replace(places.TLS_FOLDER, str(folder))
        (folder / name).write_text(text)


def secrets(
    folder: Path,
    keys: Mapping[str, str],
    groups: Mapping[str, str],
    credentials: Mapping[str, str],
    identity_key: bytes = IDENTITY_KEY,
) -> None:
    """What the init step of a pod writes."""
    run = folder / "run"
    run.mkdir()
    hashes = {hashlib.sha256(key.encode()).hexdigest(): name for key, name in keys.items()}
    identity = {"key": base64.b64encode(identity_key).decode()}
    maps = {"keys": hashes, "groups": groups, "credentials": credentials, "budgets": {}, "identity": identity}
    maps["decider"] = {DECIDER_PASSWORD: "decider"}
    for name, entries in maps.items():
        (run / f"{name}.map").write_text("".join(f"{key} {value}\n" for key, value in entries.items()))


def identity(key: bytes = IDENTITY_KEY, **changes: Any) -> dict[str, str]:
    """What an agent brings that calls for somebody."""
    claims = {"sub": "erin", "groups": ["red"], "mode": "Private", "exp": int(time.time()) + 60, **changes}
    text = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return {"x-agentfleet-identity": f"{text}.{hmac.new(key, text.encode(), hashlib.sha256).hexdigest()}"}


PORTS = (
    places.HTTP_PORT,
    places.TLS_PORT,
    places.METRICS_PORT,
    places.OWNER_PORT,
    places.PEERS_PORT,
    places.DECIDER_PORT,
)


def free_ports() -> dict[int, int]:
    return {port: free_port() for port in PORTS}


@contextmanager
def running(
    policy: Policy,
    layout: Layout,
    zone: dns.Zone,
    *,
    keys: Mapping[str, str] = {},
    groups: Mapping[str, str] = {},
    credentials: Mapping[str, str] = {},
    files: Mapping[str, bytes] = {},
    ports: Mapping[int, int] | None = None,
    host: str = "chat-route-0",
    changed: Mapping[str, str] = {},
    identity: bytes = IDENTITY_KEY,
) -> Iterator[Gateway]:
    """The gateway for the time of the block; `changed` replaces texts of what was rendered."""
    ports = ports or free_ports()
    address = next((peer.address for peer in layout.peers if peer.name == host), "127.0.0.1")
    with tempfile.TemporaryDirectory(prefix="gw") as name, ExitStack() as stack:
        folder = Path(name)
        secrets(folder, keys, groups, credentials, identity)
        for path, content in files.items():
            (folder / path).write_bytes(content)
        rendered = render(policy, layout)
        for before, after in changed.items():
            assert before in rendered["haproxy.cfg"], before
            rendered["haproxy.cfg"] = rendered["haproxy.cfg"].replace(before, after)
        place(rendered, folder, ports, address, zone.port, host)
        base = f"{address}:{ports[places.HTTP_PORT]}"
        process = stack.enter_context(haproxy.running(folder / "haproxy.cfg", base, _Made.by))
        stack.callback(process.process.terminate)  # an end in peace waits for connections that only idle
        client = stack.enter_context(httpx.Client(base_url=f"http://{base}", trust_env=False, timeout=30))
        yield Gateway(folder, address, ports, client, zone, process, stack)


@contextmanager
def pods(
    zone: dns.Zone, target: str, count: int, port: int, first: int = 2, **options: Any
) -> Iterator[list[scripted.Server]]:
    """So many scripted pods of a target at addresses of their own, behind its headless name and its Service."""
    with ExitStack() as stack:
        addresses = [f"127.0.0.{first + number}" for number in range(count)]
        servers = [
            stack.enter_context(scripted.serving(f"{target}-{number}", host=address, port=port, **options))
            for number, address in enumerate(addresses)
        ]
        zone.set(f"{target}-pods.team.svc.cluster.local", *addresses)
        zone.set(f"{target}.team.svc.cluster.local", addresses[0])
        yield servers
