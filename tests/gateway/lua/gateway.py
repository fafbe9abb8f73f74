"""A real HAProxy with the gateway's Lua and the least configuration that calls it, on a Unix socket.

What haproxy.cfg of a gateway finds out by maps and stick tables, requests say here by x-test-* headers.
"""

import http.client
import json
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentfleet import gateway
from agentfleet.gateway.types import Policy
from e2e.support import haproxy

LUA = Path(gateway.__file__).parent
BUFFER = 262_144

_CONFIG = """\
global
  log stderr format raw local0 notice
  tune.lua.bool-sample-conversion normal
  tune.bufsize {buffer}
  nbthread 1
  lua-prepend-path {lua}/?.lua
  lua-load-per-thread {lua}/agentroute.lua {folder}/route.json {buffer} {trial}
defaults
  mode http
  timeout client 20s
  timeout server 20s
  timeout connect 1s
  timeout queue 20s
  timeout http-request 20s
  timeout http-keep-alive 60s
frontend route
  bind unix@{folder}/gateway.sock
  http-request wait-for-body time 20s
  http-request set-var(txn.endpoint) req.hdr(x-test-endpoint)
  http-request set-var(txn.caller) str()
  http-request set-var(txn.caller) req.hdr(x-test-caller) if {{ req.hdr(x-test-caller) -m found }}
  http-request set-var(txn.groups) req.fhdr(x-test-groups)
  http-request set-var(txn.mode) req.hdr(x-test-mode) if {{ req.hdr(x-test-mode) -m found }}
  http-request set-var(txn.sens) req.hdr(x-test-sensitivity)
  http-request set-var(txn.cplx) req.hdr(x-test-complexity)
  http-request set-var(txn.intent) req.hdr(x-test-intent)
  http-request set-var(txn.small) int(1) if {{ req.hdr(x-test-small) -m found }}
  http-request set-var(txn.local) int(1) if {{ req.hdr(x-test-local) -m found }}
  http-request lua.scan
  http-request set-var(txn.seed) str() if !{{ var(txn.seed) -m found }}
  http-request set-var(txn.key) var(txn.caller),concat(|,txn.model,|),concat(,txn.seed,|),concat(,txn.who)
  http-request set-var(txn.session) req.fhdr(x-session-id)
  http-request set-var(txn.key) var(txn.caller),concat(|s|,txn.session) if {{ var(txn.session) -m len gt 0 }}
  http-request set-var(txn.conversation) var(txn.key),crc32
  http-request set-var(txn.prefix) str() if !{{ var(txn.prefix) -m found }}
  http-request set-var(txn.prefix_hash) var(txn.prefix),crc32
  http-request return status 200 content-type text/plain lf-string "{scanned}" if {{ path /scan }}
  http-request lua.route
  http-request lua.dry_run if {{ req.hdr(x-agentroute-dry-run) -m str true }}
  http-request return status 200 content-type text/plain lf-string "{decided}" if {{ path /decide }}
{rules}  use_backend hold_%[var(txn.target)] if {{ var(txn.hold) -m int 1 }}
  use_backend pool_%[var(txn.target)]
"""
_POOL = """\
backend pool_{id}
  filter lua.rewrite
{servers}
"""
_ECHO = """\
frontend echo
  bind unix@{folder}/echo.sock
  http-request wait-for-body time 20s
  http-after-response set-header x-length "%[var(txn.length)]"
  http-request set-var(txn.length) req.hdr(content-length)
  http-request return status 200 content-type text/plain lf-string "%[req.body]"
"""
_SCANNED = (
    "problem readable tokens stream tools vision turns conversation prefix_hash",
    "model last seed second who prefix text",
)
_DECIDED = "status code reason rule plan retry target hold request_ms decision d_intent d_cplx d_sens"
_UNSET = {"readable": ",1", "stream": ",0", "tools": ",0", "vision": ",0", "hold": ",0"}
"""What a variable counts as that is not set."""


class Gateway:
    """Sends requests to a running HAProxy, over one connection."""

    def __init__(self, socket_file: Path) -> None:
        self._socket_file = socket_file
        self._connection = _UnixConnection(str(socket_file))

    def another(self) -> "Gateway":
        """The same gateway over a connection of its own."""
        return Gateway(self._socket_file)

    def close(self) -> None:
        self._connection.close()

    def scan(self, body: bytes, endpoint: str = "chat/completions", **headers: str) -> dict[str, Any]:
        """What `scan` sets, texts as bytes; what is not set is empty."""
        answer = self.post("/scan", body, {"x-test-endpoint": endpoint, **_dashed(headers)})
        found: dict[str, Any] = dict(line.split("=", 1) for line in answer.body.decode().split(";"))
        return found | {name: bytes.fromhex(found[name]) for name in _SCANNED[1].split()}

    def decide(self, body: bytes, headers: Mapping[str, str]) -> dict[str, str]:
        """What `route` sets."""
        answer = self.post("/decide", body, headers)
        return dict(line.split("=", 1) for line in answer.body.decode().split("|"))

    def dry_run(self, body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
        answer = self.post("/v1", body, {**headers, "x-agentroute-dry-run": "true"})
        if answer.status != 200:
            raise AssertionError(f"dry run answered {answer.status}: {answer.body!r}")
        return dict(json.loads(answer.body))

    def post(self, path: str, body: Any, headers: Mapping[str, str]) -> "Answer":
        chunked = headers.get("transfer-encoding") == "chunked"
        self._connection.request("POST", path, body, dict(headers), encode_chunked=chunked)
        answer = self._connection.getresponse()
        return Answer(answer.status, dict(answer.getheaders()), answer.read())


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("gateway", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _dashed(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


@contextmanager
def running(
    folder: Path,
    policy: Policy,
    *,
    trial: bool = False,
    pools: Mapping[str, str] | None = None,
    rules: str = "",
    more: str = "",
    version: haproxy.Version = "3.2",
) -> Iterator[Gateway]:
    """A gateway with this policy. `trial`: requests may say loads and draws. `pools`: lines of targets' backends, else
    each has one server that sends back what it gets. `rules`: lines of the frontend before a backend is chosen."""
    (folder / "route.json").write_text(policy.to_json())
    config = folder / "haproxy.cfg"
    config.write_text(_config(folder, policy, trial, pools or {}, rules) + more)
    log = folder / "haproxy.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*haproxy.command(version), "-dW", "-db", "-f", str(config)], stdout=output, stderr=subprocess.STDOUT
        )
    try:
        _wait_for(folder / "gateway.sock", process, log)
        gateway = Gateway(folder / "gateway.sock")
        try:
            yield gateway
        finally:
            gateway.close()
        _no_mistakes(log)
    finally:
        process.terminate()
        process.wait(20)


def _config(folder: Path, policy: Policy, trial: bool, pools: Mapping[str, str], rules: str) -> str:
    numbers = ";".join(f"{name}=%[var(txn.{name}{_UNSET.get(name, '')})]" for name in _SCANNED[0].split())
    texts = ";".join(f"{name}=%[var(txn.{name}),hex]" for name in _SCANNED[1].split())
    config = _CONFIG.format(
        folder=folder,
        lua=LUA,
        buffer=BUFFER,
        trial="trial" if trial else "",
        scanned=f"{numbers};{texts}",
        decided="|".join(f"{name}=%[var(txn.{name}{_UNSET.get(name, '')})]" for name in _DECIDED.split()),
        rules=rules,
    )
    echo = f"  server pod unix@{folder}/echo.sock"
    config += "".join(_POOL.format(id=target.id, servers=pools.get(target.id, echo)) for target in policy.targets)
    return config + _ECHO.format(folder=folder)


def _no_mistakes(log: Path) -> None:
    """An error in Lua ends only its action: HAProxy says so and goes on, so a test would not see it."""
    text = log.read_text()
    if "Lua function" in text:
        raise AssertionError(f"the gateway's Lua has failed: {text}")


def _wait_for(socket_file: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket(socket.AF_UNIX) as trial:
            try:
                trial.connect(str(socket_file))
            except OSError:
                time.sleep(0.01)
                continue
            return
    raise AssertionError(f"HAProxy does not answer on {socket_file}: {log.read_text()}")
