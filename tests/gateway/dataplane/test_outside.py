"""Endpoints outside: what they are sent, and what is made of answers as only they give them."""

import gzip
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from agentfleet.gateway.compile import compile_policy
from agentfleet.gateway.compile_layout import layout as compile_layout
from agentfleet.gateway.haproxy import render
from agentfleet.gateway.layout import Limit
from tests.gateway import routes
from tests.gateway.dataplane import dns, gateway
from tests.routes import AUTH, SETTINGS, Held, resolved, route, to

_USAGE = {"prompt_tokens": 7, "completion_tokens": 5000}
_SLOW = 12


class Endpoint:
    """A server that does what it is not asked for: it may compress, or send white space before its answer."""

    def __init__(self) -> None:
        self.headers: list[dict[str, str]] = []
        """Of the requests, in lower case."""
        self.compresses = False
        self.blanks = 0


@contextmanager
def _serving(port: int) -> Iterator[Endpoint]:
    endpoint = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            endpoint.headers.append({name.lower(): value for name, value in self.headers.items()})
            is_stream = asked.get("stream", False)
            content = json.dumps({"model": asked["model"], "usage": _USAGE, "choices": ["x" * 4000]}).encode()
            body = b"data: %s\n\ndata: [DONE]\n\n" % content if is_stream else content
            accepted = "gzip" in self.headers.get("accept-encoding", "")
            if endpoint.compresses or accepted:
                body = gzip.compress(body)
            self.send_response(200)
            self.send_header("content-type", "text/event-stream" if is_stream else "application/json")
            if endpoint.compresses or accepted:
                self.send_header("content-encoding", "gzip")
            self.send_header("content-length", str(endpoint.blanks + len(body)))
            self.end_headers()
            for _ in range(endpoint.blanks):
                self.wfile.write(b"\n")
                self.wfile.flush()
                time.sleep(1)
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: its requests are in `headers`."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, args=(0.05,), name="endpoint")
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Outside:
    """A gateway before one endpoint."""

    def __init__(self, gateway: gateway.Gateway, endpoint: Endpoint, port: int) -> None:
        self.gateway, self.endpoint, self.port = gateway, endpoint, port


@pytest.fixture(scope="module")
def outside(zone: dns.Zone) -> Iterator[Outside]:
    """A ModelServer of engine External: a target as others, but for where it is."""
    port = gateway.free_port()
    cloud = routes.target(0, "cloud", location="Cloud")
    policy = routes.policy(cloud)
    backend = routes.backend(cloud, host="localhost", service=None, port=port, health=None)
    limits = (Limit("Route", "tokens", 10**9, 3600),)
    layout = routes.layout(policy, backends=(backend,), limits=limits)
    zone.set("localhost", "127.0.0.1")
    with _serving(port) as endpoint, gateway.running(policy, layout, zone) as running:
        running.wait_for(pool_t0=1)
        yield Outside(running, endpoint, port)


def test_what_an_endpoint_is_sent(outside: Outside) -> None:
    headers = {
        "x-gateway-model-name": "model/cloud",
        "x-request-id": "the client's",
        "x-agentroute-tier": "capable",
        "x-session-id": "s",
    }
    answered = outside.gateway.ask("auto", headers=headers)
    sent = outside.endpoint.headers[-1]
    assert answered.json()["model"] == "cloud-id"
    assert sent["host"] == f"localhost:{outside.port}"
    assert sent["x-request-id"] == answered.headers["x-request-id"] == outside.gateway.logged(answered)["id"]
    kept = [name for name in sent if name.startswith(("x-agentroute-", "x-gateway-", "x-session-", "x-af-"))]
    assert kept == []


@pytest.mark.parametrize("stream", [False, True])
def test_answers_are_not_compressed(outside: Outside, stream: bool) -> None:
    """Clients ask for it always, and then nobody could read what an answer has cost."""
    answered = outside.gateway.ask("auto", stream=stream, headers={"accept-encoding": "gzip, deflate"})
    line = outside.gateway.logged(answered)
    assert (line["tokens_in"], line["tokens_out"]) == (7, 5000)
    assert "content-encoding" not in answered.headers


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_compressed_nevertheless_costs_its_bytes(outside: Outside, stream: bool) -> None:
    outside.endpoint.compresses = True
    try:
        answered = outside.gateway.ask("auto", stream=stream)
    finally:
        outside.endpoint.compresses = False
    assert answered.headers["content-encoding"] == "gzip"
    assert outside.gateway.logged(answered)["tokens_out"] == int(answered.headers["content-length"])


def test_white_space_before_an_answer(outside: Outside) -> None:
    """Some send headers at once, and blank lines for as long as they think."""
    outside.endpoint.blanks = _SLOW
    try:
        answered = outside.gateway.ask("auto")
    finally:
        outside.endpoint.blanks = 0
    assert answered.status_code == 200
    assert answered.json()["usage"] == _USAGE
    assert outside.gateway.logged(answered)["tokens_out"] == 5000


def _pool(external: dict[str, object]) -> str:
    """The backend of a ModelServer of engine External, from the objects of a cluster on."""
    asked = route(to("far"), auth=AUTH)
    found = resolved(asked, Held().server("far", engine="External", external={"model": "m", **external}))
    files = render(compile_policy(asked, found), compile_layout(asked, found, SETTINGS))
    return files["haproxy.cfg"].split("backend pool_t0\n")[1].split("\n\n")[0]


def test_a_server_outside_is_no_pod() -> None:
    pool = _pool({"url": "https://api.example.com/v1"})
    assert "http-request set-header host api.example.com\n" in pool
    assert "timeout connect 2s" in pool
    assert "The gateway is not let in at the target." in pool
    assert "server-template" not in pool
    assert "verifyhost api.example.com sni str(api.example.com)" in pool


def test_hosts_have_their_ports() -> None:
    assert "http-request set-header host api.example.com:9000\n" in _pool({"url": "http://api.example.com:9000/v1"})
    assert "http-request set-header host api.example.com:80\n" in _pool({"url": "https://api.example.com:80/v1"})


def test_an_address_is_no_name_for_tls() -> None:
    pool = _pool({"url": "https://192.0.2.7/v1"})
    assert "ssl verify required ca-file" in pool
    assert "sni" not in pool
    assert "verifyhost" not in pool
