"""Requests through a real gateway: names, bodies, classes, and what is answered to what is wrong."""

import hashlib
import hmac
import json
import socket

import pytest

from agentfleet.decider import stats
from e2e.cluster.shell import wait_until
from tests.gateway.dataplane import gateway
from tests.gateway.dataplane.cloudy import BUFFER, Route, error_of, new

_SSN = "my number is 123-45-6789"
_OWN = hmac.new(gateway.IDENTITY_KEY, b"team/chat", hashlib.sha256).hexdigest()[:16]
"""The route itself among those that a request has passed."""


@pytest.fixture
def route(cloudy_route: Route) -> Route:
    return cloudy_route


def test_a_target_is_asked_by_its_name_with_its_own_model_id(route: Route) -> None:
    response = route.gateway.ask("model/big")
    assert response.json()["model"] == "big-id"
    assert "target=big" in response.headers["x-agentroute-decision"]


def test_an_alias_goes_where_the_tier_says(route: Route) -> None:
    assert route.gateway.ask("auto", new("Route this, simple")).headers["x-served-by"] == "small-0"
    assert route.gateway.ask("auto", new("Complex analysis of it")).headers["x-served-by"] == "big-0"


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
    assert error_of(route.gateway.client.get('/v1/models/no"ne')) == (404, "model_not_found")


def test_paths_and_methods(route: Route) -> None:
    client = route.gateway.client
    assert error_of(client.get("/nowhere")) == (404, "unknown_url")
    assert error_of(client.get("/v1/chat/completions")) == (405, "method_not_allowed")
    assert error_of(client.post("/v1/models")) == (405, "method_not_allowed")
    assert error_of(client.delete("/v1/models/model/big")) == (405, "method_not_allowed")
    assert error_of(client.post("/health")) == (405, "method_not_allowed")


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
    assert error_of(route.gateway.client.post(gateway.CHAT, content=body)) == (400, code)


def test_a_model_that_does_not_exist(route: Route) -> None:
    response = route.gateway.ask('no"ne\\', "x")
    assert error_of(response) == (404, "model_not_found")
    assert 'no"ne\\' in response.json()["error"]["message"]


def test_too_large_a_request_is_refused_before_it_is_sent(route: Route) -> None:
    with socket.create_connection(("127.0.0.1", route.gateway.client.base_url.port or 0), timeout=5) as raw:
        raw.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n")
        assert raw.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_a_body_over_the_buffer_is_passed_on_unread(route: Route) -> None:
    response = route.gateway.ask("model/big", "x" * 3 * BUFFER)
    assert response.status_code == 200
    assert response.json()["model"] == "big-id"
    assert response.json()["scripted"]["size"] > 3 * BUFFER
    assert "sensitivity=Restricted" in response.headers["x-agentroute-decision"]
    assert "body=unread" in response.headers["x-agentroute-decision"]


def test_a_body_as_large_as_the_buffer_is_read(route: Route) -> None:
    body = json.dumps({"model": "auto", "messages": [{"role": "user", "content": ""}]}).encode()
    body = body.replace(b'"content": ""', b'"content": "' + b"x" * (BUFFER - len(body)) + b'"')
    assert len(body) == BUFFER
    headers = {"content-type": "application/json", "x-long": "x" * 8000}
    response = route.gateway.client.post(gateway.CHAT, content=body, headers=headers)
    assert "body=whole" in response.headers["x-agentroute-decision"]
    assert response.json()["scripted"]["size"] > 0


def test_chunked_bodies(route: Route) -> None:
    whole = json.dumps({"model": "model/big", "messages": []}).encode()
    response = route.gateway.client.post(gateway.CHAT, content=iter([whole[:7], whole[7:]]))
    assert response.json()["model"] == "big-id"
    large = json.dumps({"model": "model/big", "messages": [], "x": "y" * 2 * BUFFER}).encode()
    assert error_of(route.gateway.client.post(gateway.CHAT, content=iter([large]))) == (413, "request_too_large")


def test_a_body_that_does_not_come(route: Route) -> None:
    with socket.create_connection(("127.0.0.1", route.gateway.client.base_url.port or 0), timeout=15) as raw:
        raw.sendall(b'POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"mod')
        answer = raw.recv(65536)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"content-type: application/json" in answer
    assert b'"code": "request_timeout"' in answer
    assert b"x-request-id: " in answer
    assert b"x-agentroute-decision" not in answer, "nothing is known of it"


@pytest.mark.parametrize(
    ("text", "status", "code"),
    [
        (b"POST / HTTP/1.1\r\nhost: x\r\nno colon\r\n\r\n", 400, "bad_request"),
        (b"POST / HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * 300 + b"\r\n", 400, "bad_request"),
        (b"POST http://y/ HTTP/1.1\r\nhost: x\r\n\r\n", 400, "bad_request"),
        (b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: zip, chunked\r\n\r\n", 422, "bad_request"),
    ],
)
def test_what_is_no_http(route: Route, text: bytes, status: int, code: str) -> None:
    with socket.create_connection(("127.0.0.1", route.gateway.client.base_url.port or 0), timeout=15) as raw:
        raw.sendall(text)
        answer = raw.recv(65536)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    head, body = answer.split(b"\r\n\r\n")
    assert b"content-type: application/json" in head
    assert json.loads(body)["error"]["code"] == code
    about = {"reason": "no_request", "status": status}
    wait_until(lambda: any(about.items() <= line.items() for line in route.gateway.audit()), "it is logged", timeout=10)


def test_who_says_nothing_is_no_request(route: Route) -> None:
    """Requests that have ended and have no audit line would be an alert."""

    def without_line() -> int:
        return stats.parse(route.gateway.command(stats.COMMAND)).ended - len(route.gateway.audit())

    wait_until(lambda: without_line() == 0, "all have their lines", timeout=5, interval=0.05)
    for _ in range(3):
        socket.create_connection(("127.0.0.1", route.gateway.client.base_url.port or 0)).close()
    route.gateway.logged(route.gateway.ask("model/small"))
    wait_until(lambda: without_line() == 0, "they count for none", timeout=5, interval=0.05)


def test_what_is_confidential_stays_out_of_the_cloud(route: Route) -> None:
    assert route.gateway.ask("gpt-4", "mail me: a.b@example.com").headers["x-served-by"] != "cloud-0"
    assert error_of(route.gateway.ask("target/cloud", json.dumps(_SSN))) == (403, "privacy_denied")
    assert route.gateway.ask("gpt-4", "what is the weather like").headers["x-served-by"] == "cloud-0"


def test_a_session_keeps_its_intent_and_no_class(route: Route) -> None:
    """What was public a moment ago lets no secret out, and one secret binds nobody for ever."""
    route.decider.intent = "talk"
    session = {"x-session-id": new("session")}
    for text, sensitivity, is_cloud in (
        ("what is the weather like", "Public", True),
        (_SSN, "Restricted", False),
        ("and tomorrow", "Public", True),
    ):
        response = route.gateway.ask("gpt-4", text, headers=session)
        decision = response.headers["x-agentroute-decision"]
        assert f"sensitivity={sensitivity};" in decision
        assert "intent=talk;" in decision
        assert (response.headers["x-served-by"] == "cloud-0") is is_cloud
    assert len(route.decider.asked) == 1


def test_escapes_hide_nothing(route: Route) -> None:
    body = b'{"model":"target/cloud","messages":[{"role":"user","content":"123\\u002d45\\u002d6789"}]}'
    assert error_of(route.gateway.client.post(gateway.CHAT, content=body)) == (403, "privacy_denied")


def test_the_cloud_gets_its_key_its_path_and_no_header_of_ours(route: Route) -> None:
    ours = {
        "x-session-id": "s-1",
        "x-agentroute-tier": "balanced",
        "x-agentroute-priority": "high",
        "x-gateway-model-name": "gpt-4",
    }
    response = route.gateway.ask("auto", "hello", headers={"authorization": "Bearer client", "x-af-plan": "t1", **ours})
    received = response.json()["scripted"]
    headers = received["headers"]
    assert received["name"] == "cloud-0"
    assert headers["authorization"] == "Bearer sk-cloud"
    assert headers["host"] == route.cloud.address
    assert received["path"] == "/delay=0/v1/chat/completions"
    assert received["model"] == "cloud-id"
    assert not [name for name in headers if name.startswith("x-af-")]
    assert not set(ours) & set(headers)


def test_clients_cannot_bring_headers_of_the_gateway(route: Route) -> None:
    ours = {"x-agentfleet-anything": "1", "authorization": "Bearer secret"}
    headers = route.gateway.ask("model/big", "hello", headers=ours).json()["scripted"]["headers"]
    assert "x-agentfleet-anything" not in headers
    assert "authorization" not in headers
    assert headers["x-agentfleet-hops"] == _OWN


def test_a_request_in_a_circle_is_stopped(route: Route) -> None:
    for passed in (_OWN, f"a,{_OWN}, b", ",".join(f"team/{number}" for number in range(8))):
        refused = route.gateway.ask("auto", "x", headers={"x-agentfleet-hops": passed})
        assert error_of(refused) == (508, "loop_detected")


def test_one_route_after_another(route: Route) -> None:
    """Whatever host it was asked for by."""
    headers = {"x-agentfleet-hops": "a,team/chat", "host": "chat-route.team.svc.cluster.local"}
    received = route.gateway.ask("model/big", "x", headers=headers).json()["scripted"]["headers"]
    assert received["x-agentfleet-hops"] == f"a,team/chat,{_OWN}"
