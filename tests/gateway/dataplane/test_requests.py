"""Requests through a real gateway: names, bodies, classes, and what is answered to what is wrong."""

import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, pairwise

import pytest

from agentfleet.gateway.layout import DECIDER_PORT
from agentfleet.gateway.types import Match, Rule
from e2e.support.scripted import Server
from tests.gateway import routes
from tests.gateway.dataplane import deciding, dns, gateway

_BUFFER = 64 * 1024
_SSN = "my number is 123-45-6789"


@dataclass
class Route:
    gateway: gateway.Gateway
    decider: deciding.Decider
    small: Server
    big: Server
    cloud: Server


@pytest.fixture(scope="module")
def running(zone: dns.Zone, port: int) -> Iterator[Route]:
    small = routes.target(0, "small", tier="Lightweight")
    big = routes.target(1, "big", tier="Capable", tasks=("code",))
    cloud = routes.target(2, "cloud", kind="External", location="Cloud", model="cloud-id")
    rules = (Rule("to-cloud", Match(models=("gpt-*",)), ("t2",)),)
    policy = routes.policy(small, big, cloud, rules=rules, intents=("code", "talk"), deny_cloud_from="Confidential")
    at = {"port": port, "service_port": port}
    outside = routes.backend(cloud, host="127.0.0.20", port=port, health=None, path="/delay=0/v1", has_credentials=True)
    backends = (routes.backend(small, **at), routes.backend(big, **at), outside)
    layout = routes.layout(
        policy,
        backends=backends,
        buffer=_BUFFER,
        max_body=10 * _BUFFER,
        ask_intent=True,
        intent_ms=200,
        audit_content=True,
    )
    ports = gateway.free_ports()
    with (
        gateway.pods(zone, "small", 1, port) as (one,),
        gateway.pods(zone, "big", 1, port, first=10) as (two,),
        gateway.pods(zone, "cloud", 1, port, first=20) as (three,),
        deciding.serving(ports[DECIDER_PORT]) as decider,
        gateway.running(policy, layout, zone, ports=ports, credentials={"t2": "sk-cloud"}) as running,
    ):
        running.wait_for(pool_t0=1, pool_t1=1, pool_t2=1)
        yield Route(running, decider, one, two, three)


_numbers = count()


@pytest.fixture
def route(running: Route) -> Route:
    for server in (running.small, running.big, running.cloud):
        server.play("")
    running.decider.intent, running.decider.delay = "", 0.0
    running.decider.asked.clear()
    return running


def _new(text: str) -> str:
    """A text that begins a conversation of its own."""
    return f"{text} ({next(_numbers)})"


def _error(response: gateway.httpx.Response) -> tuple[int, str]:
    """Status and code of an answer in OpenAI's form."""
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    assert response.headers["x-agentroute-decision"]
    error = response.json()["error"]
    assert set(error) >= {"message", "type", "param", "code"}
    return response.status_code, error["code"]


def test_a_target_is_asked_by_its_name_with_its_own_model_id(route: Route) -> None:
    response = route.gateway.ask("model/big")
    assert response.json()["model"] == "big-id"
    assert "target=big" in response.headers["x-agentroute-decision"]


def test_an_alias_goes_where_the_tier_says(route: Route) -> None:
    assert route.gateway.ask("auto", _new("Route this, simple")).headers["x-served-by"] == "small-0"
    assert route.gateway.ask("auto", _new("Complex analysis of it")).headers["x-served-by"] == "big-0"


def test_lists_of_models(route: Route) -> None:
    listed = route.gateway.client.get("/v1/models").json()
    assert [model["id"] for model in listed["data"]] == [
        "auto",
        "route/chat",
        "model/small",
        "model/big",
        "target/cloud",
    ]
    assert route.gateway.client.get("/v1/models/model/big").json()["id"] == "model/big"
    assert route.gateway.client.get("/v1/models/model%2Fbig").json()["id"] == "model/big"
    assert _error(route.gateway.client.get('/v1/models/no"ne')) == (404, "model_not_found")


def test_paths_and_methods(route: Route) -> None:
    client = route.gateway.client
    assert _error(client.get("/nowhere")) == (404, "unknown_url")
    assert _error(client.get("/v1/chat/completions")) == (405, "method_not_allowed")
    assert _error(client.post("/v1/models")) == (405, "method_not_allowed")
    assert _error(client.delete("/v1/models/model/big")) == (405, "method_not_allowed")
    assert _error(client.post("/health")) == (405, "method_not_allowed")


@pytest.mark.parametrize("path", ["chat/completions", "completions", "embeddings", "responses"])
def test_all_endpoints_pass_through(route: Route, path: str) -> None:
    body = {"model": "model/small", "messages": [{"role": "user", "content": "x"}], "prompt": "x", "input": "x"}
    response = route.gateway.client.post(f"/v1/{path}", json=body)
    assert response.status_code == 200
    assert response.json()["scripted"]["path"] == f"/v1/{path}"
    line = route.gateway.logged(response)
    assert line["endpoint"] == path
    assert line["tokens_in"] > 0


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b'{"model": "auto", "messages": [', "invalid_json"),
        (b'{"model": "auto", "model": "x"}', "duplicate_model"),
        (b'{"messages": []}', "no_model"),
        (b"[1]", "not_an_object"),
        (b'{"model": "auto", "x": "\xff"}', "invalid_utf8"),
    ],
)
def test_bodies_that_cannot_be_read(route: Route, body: bytes, code: str) -> None:
    assert _error(route.gateway.client.post(gateway.CHAT, content=body)) == (400, code)


def test_a_model_that_does_not_exist(route: Route) -> None:
    response = route.gateway.ask('no"ne\\', "x")
    assert _error(response) == (404, "model_not_found")
    assert 'no"ne\\' in response.json()["error"]["message"]


def test_too_large_a_request_is_refused_before_it_is_sent(route: Route) -> None:
    with socket.create_connection(("127.0.0.1", route.gateway.client.base_url.port or 0), timeout=5) as raw:
        raw.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n")
        assert raw.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_a_body_over_the_buffer_is_passed_on_unread(route: Route) -> None:
    response = route.gateway.ask("model/big", "x" * 3 * _BUFFER)
    assert response.status_code == 200
    assert response.json()["model"] == "big-id"
    assert response.json()["scripted"]["size"] > 3 * _BUFFER
    assert "sensitivity=Restricted" in response.headers["x-agentroute-decision"]
    assert "body=unread" in response.headers["x-agentroute-decision"]


def test_a_body_as_large_as_the_buffer_is_read(route: Route) -> None:
    body = json.dumps({"model": "auto", "messages": [{"role": "user", "content": ""}]}).encode()
    body = body.replace(b'"content": ""', b'"content": "' + b"x" * (_BUFFER - len(body)) + b'"')
    assert len(body) == _BUFFER
    headers = {"content-type": "application/json", "x-long": "x" * 8000}
    response = route.gateway.client.post(gateway.CHAT, content=body, headers=headers)
    assert "body=whole" in response.headers["x-agentroute-decision"]
    assert response.json()["scripted"]["size"] > 0


def test_chunked_bodies(route: Route) -> None:
    whole = json.dumps({"model": "model/big", "messages": []}).encode()
    response = route.gateway.client.post(gateway.CHAT, content=iter([whole[:7], whole[7:]]))
    assert response.json()["model"] == "big-id"
    large = json.dumps({"model": "model/big", "messages": [], "x": "y" * 2 * _BUFFER}).encode()
    assert _error(route.gateway.client.post(gateway.CHAT, content=iter([large]))) == (413, "request_too_large")


def test_a_body_that_does_not_come(route: Route) -> None:
    with socket.create_connection(("127.0.0.1", route.gateway.client.base_url.port or 0), timeout=15) as raw:
        raw.sendall(b'POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"mod')
        answer = raw.recv(65536)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"content-type: application/json" in answer
    assert b'"code": "request_timeout"' in answer


def test_what_is_confidential_stays_out_of_the_cloud(route: Route) -> None:
    assert route.gateway.ask("gpt-4", "mail me: a.b@example.com").headers["x-served-by"] != "cloud-0"
    assert _error(route.gateway.ask("target/cloud", json.dumps(_SSN))) == (403, "privacy_denied")
    assert route.gateway.ask("gpt-4", "what is the weather like").headers["x-served-by"] == "cloud-0"


def test_escapes_hide_nothing(route: Route) -> None:
    body = b'{"model":"target/cloud","messages":[{"role":"user","content":"123\\u002d45\\u002d6789"}]}'
    assert _error(route.gateway.client.post(gateway.CHAT, content=body)) == (403, "privacy_denied")


def test_the_cloud_gets_its_key_its_path_and_no_header_of_ours(route: Route) -> None:
    route.gateway.ask("gpt-4", "hello", headers={"authorization": "Bearer client", "x-af-plan": "t1"})
    received = route.cloud.requests[-1]
    assert received.headers["authorization"] == "Bearer sk-cloud"
    assert received.headers["host"] == "127.0.0.20"
    assert received.path == "/delay=0/v1/chat/completions"
    assert received.model == "cloud-id"
    assert not [name for name in received.headers if name.startswith("x-af-")]


def test_clients_cannot_bring_headers_of_the_gateway(route: Route) -> None:
    route.gateway.ask("model/big", "hello", headers={"x-agentfleet-anything": "1", "authorization": "Bearer secret"})
    headers = route.big.requests[-1].headers
    assert "x-agentfleet-anything" not in headers
    assert "authorization" not in headers
    assert headers["x-agentfleet-hops"] == "1"


def test_a_request_in_a_circle_is_stopped(route: Route) -> None:
    assert _error(route.gateway.ask("auto", "x", headers={"x-agentfleet-hops": "8"})) == (508, "loop_detected")


def test_the_decider_is_asked_once_for_each_conversation(route: Route) -> None:
    route.decider.intent = "code"
    text = _new("hello you, could you do something for me that takes more than eighty bytes to say, please?")
    first, second = route.gateway.ask("auto", text), route.gateway.ask("auto", text)
    assert "intent=code" in first.headers["x-agentroute-decision"]
    assert "intent=code" in second.headers["x-agentroute-decision"]
    assert first.headers["x-served-by"] == "big-0"
    assert [path for path, _, _ in route.decider.asked] == ["/decide"]
    _, headers, body = route.decider.asked[0]
    assert headers["x-agentroute-want"] == "intent"
    assert text.encode() in body


def test_sessions_are_conversations(route: Route) -> None:
    route.decider.intent = "talk"
    session = {"x-session-id": _new("session")}
    for text in ("one", "two", "three"):
        assert "intent=talk" in route.gateway.ask("auto", text, headers=session).headers["x-agentroute-decision"]
    assert len(route.decider.asked) == 1


def test_a_slow_decider_holds_nobody(route: Route) -> None:
    route.decider.intent, route.decider.delay = "code", 3.0
    began = time.monotonic()
    response = route.gateway.ask("auto", _new("simple"))
    assert time.monotonic() - began < 1.5
    assert response.status_code == 200
    assert "intent=;" in response.headers["x-agentroute-decision"]


def test_nobody_is_asked_about_a_named_target(route: Route) -> None:
    route.gateway.ask("model/big", _new("x"))
    assert route.decider.asked == []


def test_a_dry_run_forwards_nothing(route: Route) -> None:
    before = len(route.small.requests)
    response = route.gateway.ask("auto", _new("simple"), headers={"x-agentroute-dry-run": "true"})
    assert response.json()["plan"][0] == "small"
    assert len(route.small.requests) == before


def test_paths_of_the_decider(route: Route) -> None:
    headers = {"authorization": "Bearer mine"}
    for path in ("/chat", "/v1/batch-chat"):
        assert route.gateway.client.post(path, json={"message": "x"}, headers=headers).json() == {"status": "healthy"}
        assert route.decider.asked[-1][0] == path
        assert route.decider.asked[-1][1]["authorization"] == "Bearer mine"
    assert route.gateway.client.get("/health").status_code == 200


def test_a_stream_is_passed_on_as_it_comes(route: Route) -> None:
    route.small.play("gap=0.05,chunks=10")
    body = {"model": "model/small", "messages": [], "stream": True}
    times = []
    with route.gateway.client.stream("POST", gateway.CHAT, json=body) as response:
        for _ in response.iter_raw():
            times.append(time.monotonic())
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert len(times) == 10
    assert max(gaps) < 0.15
    line = route.gateway.logged(response)
    assert line["stream"] == 1
    assert line["tokens_out"] >= 10


def test_the_usage_of_a_stream_is_told(route: Route) -> None:
    route.small.play("chunks=7")
    response = route.gateway.ask("model/small", "x", stream=True, stream_options={"include_usage": True})
    line = route.gateway.logged(response)
    assert line["tokens_out"] == 7
    assert line["tokens_in"] == -(-route.small.requests[-1].size // 4)


def test_errors_of_targets_are_in_openai_form(route: Route) -> None:
    route.small.play("status=400")
    response = route.gateway.ask("model/small", "x")
    assert response.status_code == 400
    assert response.json()["error"]["message"] == "scripted 400"


def test_the_audit_line(route: Route) -> None:
    text = _new('he said "漢"\\\n\t')
    line = route.gateway.logged(route.gateway.ask("model/big", text))
    assert line["content"] == text
    assert line["target"] == "big"
    assert line["reason"] == "Named"
    assert (line["status"], line["attempts"]) == (200, 1)
    assert line["tokens_in"] > 0
    assert line["tokens_out"] == 4


def test_no_content_above_public_in_the_audit_line(route: Route) -> None:
    line = route.gateway.logged(route.gateway.ask("model/big", _SSN))
    assert line["sensitivity"] == "Restricted"
    assert line["content"] == ""


def test_hostile_texts_in_the_audit_line(route: Route) -> None:
    headers = {"x-agentroute-tier": '"},{"x', "x-gateway-model-name": 'a"b\\'}
    line = route.gateway.logged(route.gateway.ask("auto", "x", headers=headers))
    assert line["tier"] == '"},{"x'
    assert line["model"] == 'a"b\\'


def test_ready_and_metrics(route: Route) -> None:
    assert route.gateway.metrics_page("/readyz").text == "ok"
    assert route.gateway.metrics_page("/healthz").text == "ok"
    assert "haproxy_backend_active_servers" in route.gateway.metrics_page("/metrics").text
    assert route.gateway.metrics_page("/else").status_code == 404
