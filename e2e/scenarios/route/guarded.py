"""Who is let in and how much, what never reaches the cloud, and requests that are wrong."""

from __future__ import annotations

import json
import socket
import time

from e2e.scenarios.route.shop import ALICE, GREEDY, Shop
from e2e.scenarios.routes import Ask

_LIMIT = 20
"""limits[0].requests"""
_OVER_THE_BUFFER = 400_000
_SECRETS = (
    "Write to jane.doe@example.org about it",
    "My card is 4111 1111 1111 1111",
    "SSN 078-05-1120",
    "the key is sk-abcdefghijklmnopqrstuvwx",
)
_AT = "\\u0040"


def nobody_without_a_key(shop: Shop) -> None:
    for key in (None, "sk-nobody", "SK-ALICE", "36c76b48bb2ee1d9d37140550e9d7ed7d395cf56f41050dc2a72e5291c0011f0"):
        answer = shop.route_for(key).ask("model/small")
        assert (answer.status, answer.code) == (401, "invalid_api_key"), answer
        assert answer.headers["www-authenticate"] == "Bearer"


def a_key_never_goes_on(shop: Shop) -> None:
    assert shop.route.ask("target/cloud").status == 200
    assert ALICE not in json.dumps(shop.last["headers"])


def a_client_cannot_pose_as_the_gateway(shop: Shop) -> None:
    forged = {"x-agentfleet-identity": "e30.00", "x-agentfleet-hops": "1", "x-af-plan": "t0", "x-af-target": "t0"}
    assert shop.route.ask("target/cloud", headers=forged).status == 401
    del forged["x-agentfleet-identity"]
    assert shop.route.ask("target/cloud", headers=forged).status == 200
    assert not any(name.startswith("x-af-") for name in shop.last["headers"]), shop.last


def over_the_limit_is_429_with_a_time(shop: Shop) -> None:
    asks = [Ask("target/cloud", after=index * 0.1) for index in range(2 * _LIMIT)]
    answers = shop.route_for(GREEDY).burst(asks)
    passed = [answer for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status == 429]
    assert len(passed) + len(refused) == len(asks), [str(each) for each in answers if each.status not in (200, 429)]
    # Two gateways tell each other of their counts: what arrives within that time may pass once more. Each for itself
    # would let nearly all pass.
    assert _LIMIT <= len(passed) <= _LIMIT * 3 // 2, len(passed)
    assert all(int(each.headers["retry-after"]) > 0 and each.code == "rate_limit_exceeded" for each in refused)
    assert shop.route.ask("target/cloud").status == 200  # nobody else is held up


def secrets_never_reach_the_cloud(shop: Shop) -> None:
    before = shop.received
    for secret in _SECRETS:
        chosen = shop.route.ask("gpt-5", secret)
        assert (chosen.status, chosen.target) == (200, "large"), chosen
        named = shop.route.ask("target/cloud", secret)
        assert (named.status, named.code) == (403, "privacy_denied"), named
    other_kinds = [
        Ask("gpt-5", path="/v1/completions", body={"prompt": _SECRETS[0], "max_tokens": 2}),
        Ask("gpt-5", raw=_chat("gpt-5", f"jane.doe{_AT}example.org")),
        Ask("gpt-5", _SECRETS[0], headers={"x-agentroute-sensitivity": "public"}),  # it may only be raised
        Ask("gpt-5", "Hello", headers={"x-agentroute-sensitivity": "restricted"}),
        Ask("gpt-5", _SECRETS[0], body={"stream": True}),
    ]
    for answer in shop.route.burst(other_kinds):
        assert (answer.status, answer.target) == (200, "large"), answer
    assert shop.received == before
    assert shop.route.ask("gpt-5", "Hello").target == "cloud"
    assert shop.received == before + 1


def what_is_too_long_to_be_read_stays_inside(shop: Shop) -> None:
    before = shop.received
    answer = shop.route.ask("target/cloud", "a " * (_OVER_THE_BUFFER // 2))
    assert (answer.status, answer.code, answer.decision["body"]) == (403, "privacy_denied", "unread"), answer
    assert shop.received == before


def the_service_of_the_document(shop: Shop) -> None:
    before = shop.received
    said = shop.route.ask(path="/chat", raw=json.dumps({"message": "Hello", "agent_type": "general"}).encode())
    assert said.status == 200, said
    assert said.json.keys() == {"response", "agent_used", "processing_time"}
    assert said.json["agent_used"] in ("small", "large")
    requests = [{"id": "a", "message": "Where is my parcel?"}, {"id": "b", "message": ""}, {"message": _SECRETS[0]}]
    batch = shop.route.ask(path="/v1/batch-chat", raw=json.dumps({"requests": requests}).encode())
    told = [(each["id"], each["status"]) for each in batch.json["results"]]
    assert told == [("a", "success"), ("b", "error"), (2, "success")], batch
    assert shop.route_for(None).ask(path="/chat", raw=b'{"message": "Hello"}').status == 401
    health = shop.route.get("/health").json()
    assert health["status"] == "healthy"
    assert {target["name"] for target in health["targets"]} == {"small", "large", "vectors", "cloud"}
    assert shop.received == before


def wrong_requests_are_told_in_openais_form(shop: Shop) -> None:
    good = _chat("model/small", "Hello")
    wrong = {
        "invalid_json": good[:-2],
        "duplicate_model": b'{"model":"model/small",' + good[1:],
        "invalid_utf8": good.replace(b"Hello", b"H\xff\xfello"),
        "no_model": b'{"messages":[]}',
        "not_an_object": b"[1]",
    }
    for code, body in wrong.items():
        answer = shop.route.ask(raw=body)
        assert (answer.status, answer.code) == (400, code), answer
    large = shop.route.ask(raw=_chat("model/small", "a" * (10 * 2**20)))
    assert (large.status, large.code) == (413, "request_too_large"), large
    nowhere = shop.route.get("/v1/nowhere")
    assert (nowhere.status_code, nowhere.json()["error"]["code"]) == (404, "unknown_url")


def a_header_cannot_be_injected(shop: Shop) -> None:
    bodies = [_chat("model/small\\r\\nx-injected: 1", "Hello"), _chat("gpt-\\r\\nx-injected: 1", "Hello")]
    for body in bodies:
        answer = shop.route.ask(raw=body)
        assert "x-injected" not in answer.headers, answer
    assert "x-injected" not in shop.last["headers"]


def chunked_bodies_are_read(shop: Shop) -> None:
    body = _chat("model/small", "Hello")
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:20], body[20:])) + b"0\r\n\r\n"
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer {ALICE}\r\n"
    head += "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    assert _raw(shop, head.encode() + chunks).startswith(b"HTTP/1.1 200")


def a_client_that_dawdles_is_cut_off(shop: Shop) -> None:
    began = time.monotonic()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer {ALICE}\r\n"
    answer = _raw(shop, head.encode() + b'Content-Length: 99\r\n\r\n{"model":')
    assert answer.startswith(b"HTTP/1.1 408"), answer
    assert b'"error"' in answer
    assert 9 < time.monotonic() - began < 19


def _chat(model: str, text: str) -> bytes:
    """Text that goes into JSON as it is."""
    return f'{{"model":"{model}","max_tokens":2,"messages":[{{"role":"user","content":"{text}"}}]}}'.encode()


def _raw(shop: Shop, request: bytes) -> bytes:
    """The beginning of the answer."""
    host, _, port = shop.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(request)
        return connection.recv(65536)


CHECKS = (
    nobody_without_a_key,
    a_key_never_goes_on,
    a_client_cannot_pose_as_the_gateway,
    over_the_limit_is_429_with_a_time,
    secrets_never_reach_the_cloud,
    what_is_too_long_to_be_read_stays_inside,
    the_service_of_the_document,
    wrong_requests_are_told_in_openais_form,
    a_header_cannot_be_injected,
    chunked_bodies_are_read,
    a_client_that_dawdles_is_cut_off,
)
