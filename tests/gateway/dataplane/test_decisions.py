"""What a gateway finds out about requests, what it passes on, and what it says of them."""

import time

import pytest

from tests.gateway.dataplane import gateway
from tests.gateway.dataplane.cloudy import INTENT_MS, Route, error_of, new

_DECIDER = {"x-af-decider": gateway.DECIDER_PASSWORD}
_SSN = "my number is 123-45-6789"


@pytest.fixture
def route(cloudy_route: Route) -> Route:
    return cloudy_route


def test_the_decider_is_asked_once_for_each_conversation(route: Route) -> None:
    route.decider.intent = "code"
    text = new("hello you, could you do something for me that takes more than eighty bytes to say, please?")
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
    session = {"x-session-id": new("session")}
    for text in ("one", "two", "three"):
        assert "intent=talk" in route.gateway.ask("auto", text, headers=session).headers["x-agentroute-decision"]
    assert len(route.decider.asked) == 1


def test_a_slow_decider_holds_nobody(route: Route) -> None:
    route.decider.intent, route.decider.delay = "code", 4 * INTENT_MS / 1000
    began = time.monotonic()
    response = route.gateway.ask("auto", new("simple"))
    assert time.monotonic() - began < route.decider.delay
    assert response.status_code == 200
    assert "intent=;" in response.headers["x-agentroute-decision"]


def test_nobody_is_asked_about_a_named_target(route: Route) -> None:
    route.gateway.ask("model/big", new("x"))
    assert route.decider.asked == []


def test_the_decider_says_how_hard_a_request_is(route: Route) -> None:
    response = route.gateway.ask("auto", new("simple"), headers={"x-agentroute-complexity": "Complex", **_DECIDER})
    assert "complexity=Complex" in response.headers["x-agentroute-decision"]


def test_a_dry_run_forwards_nothing(route: Route) -> None:
    before = len(route.small.requests)
    response = route.gateway.ask("auto", new("simple"), headers={"x-agentroute-dry-run": "true"})
    assert response.json()["plan"][0] == "small"
    assert len(route.small.requests) == before


@pytest.mark.parametrize(
    ("model", "headers", "attempts"),
    [("nobody", {}, 0), ("auto", {"x-agentroute-dry-run": "true"}, 0), ("auto", {}, 1)],
)
def test_header_and_audit_line_count_the_same_attempts(
    route: Route, model: str, headers: dict[str, str], attempts: int
) -> None:
    """What is refused or only tried out was sent nowhere."""
    response = route.gateway.ask(model, new("simple"), headers=headers)
    assert response.headers["x-agentroute-decision"].endswith(f"; attempt={attempts}")
    assert route.gateway.logged(response)["attempts"] == attempts


def test_paths_of_the_decider(route: Route) -> None:
    headers = {"authorization": "Bearer mine"}
    for path in ("/chat", "/v1/batch-chat"):
        assert route.gateway.client.post(path, json={"message": "x"}, headers=headers).json() == {"status": "healthy"}
        assert route.decider.asked[-1][0] == path
        assert route.decider.asked[-1][1]["authorization"] == "Bearer mine"
    assert route.gateway.client.get("/health").status_code == 200


def test_a_stream_is_passed_on_as_it_comes(route: Route) -> None:
    route.small.play("gap=0.2,chunks=10")
    body = {"model": "model/small", "messages": [], "stream": True}
    with route.gateway.client.stream("POST", gateway.CHAT, json=body) as response:
        pieces = response.iter_raw()
        first = next(pieces)
        assert route.small.in_flight == 1, "the others are not sent yet"
        assert (first + b"".join(pieces)).endswith(b"data: [DONE]\n\n")
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
    text = new('he said "漢"\\\n\t')
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


def test_no_content_of_private_callers_in_the_audit_line(route: Route) -> None:
    for mode in ("Private", "Offline"):
        line = route.gateway.logged(route.gateway.ask("model/big", "hello", headers=gateway.identity(mode=mode)))
        assert (line["status"], line["sensitivity"], line["mode"], line["content"]) == (200, "Public", mode, "")
    line = route.gateway.logged(route.gateway.ask("model/big", "hello", headers=gateway.identity(mode="Standard")))
    assert line["content"] == "hello"


def test_nobody_pushes_the_rest_out_of_the_audit_line(route: Route) -> None:
    """Else a request could go on without its tokens counting for a budget."""
    for headers in ({"x-agentroute-tier": "t" * 70_000}, {"x-session-id": "s" * 70_000}):
        line = route.gateway.logged(route.gateway.ask("target/cloud", new("x"), headers=headers))
        assert (line["status"], line["target"], line["tokens_out"]) == (200, "cloud", 4)
    assert error_of(route.gateway.ask("gpt-" + "x" * 70_000)) == (400, "no_model")
    line = route.gateway.logged(route.gateway.ask("gpt-" + '"' * 249, new("x" * 8192)))
    assert (line["status"], line["target"], line["tokens_out"]) == (200, "cloud", 4)


def test_only_the_decider_says_how_hard_a_request_is(route: Route) -> None:
    """An address tells nothing: a sidecar's traffic, and a port-forward's, come from the pod's own."""
    hard = {"x-agentroute-complexity": "Complex"}
    for more, said in (({}, False), ({"x-af-decider": "guess"}, False), (_DECIDER, True)):
        answered = route.gateway.ask("auto", new("Route this, simple"), headers={**hard, **more})
        assert ("complexity=Complex" in answered.headers["x-agentroute-decision"]) is said
    assert "x-af-decider" not in route.big.requests[-1].headers


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
