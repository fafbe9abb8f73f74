"""What clients ask by: names, kinds of requests, and what the route makes of their text."""

from __future__ import annotations

import json

from e2e.scenarios.route.shop import ALICE, BOB, Shop
from e2e.scenarios.routes import condition, status

_HARD = "Analyse the architecture of our whole system step by step and prove that the design is safe, then compare it."
_COMPLETION = {"prompt": "Hi", "max_tokens": 3, "ignore_eos": True}
_STREAM = {"stream": True, "stream_options": {"include_usage": True}}


def models_lists_every_name(shop: Shop) -> None:
    listed = {model["id"] for model in shop.route.get("/v1/models").json()["data"]}
    named = {f"model/{name}" for name in ("small", "large", "vectors")}
    targets = {f"target/{name}" for name in ("small", "large", "vectors", "cloud")}
    assert listed >= {"auto", "shop-assistant", "route/shop"} | named | targets, listed
    assert not any(name.startswith("agent/") for name in listed), listed


def an_agent_that_is_missing_is_said_and_the_rest_serves(shop: Shop) -> None:
    resolved = condition(shop.scenario, "shop", "ResolvedRefs")
    assert (resolved["status"], resolved["reason"]) == ("False", "TargetNotFound"), resolved
    reasons = {target["name"]: target["reason"] for target in status(shop.scenario, "shop")["targets"]}
    serving = dict.fromkeys(("small", "large", "vectors"), "Serving")
    assert reasons == serving | {"helper": "NotFound", "cloud": "External"}


def each_name_leads_to_its_target(shop: Shop) -> None:
    expected = {"model/small": "small", "model/large": "large", "target/large": "large", "target/cloud": "cloud"}
    for name, target in expected.items():
        answer = shop.route.ask(name)
        assert (answer.status, answer.target, answer.decision["reason"]) == (200, target, "Named"), answer
    for alias in ("auto", "shop-assistant", "route/shop"):
        assert shop.route.ask(alias, "Hello").status == 200


def each_target_gets_its_own_model_id(shop: Shop) -> None:
    assert shop.route.ask("model/large").json["model"] == "acme/large"
    assert shop.route.ask("target/cloud").json["scripted"]["model"] == "big-1"


def an_unknown_name_is_told(shop: Shop) -> None:
    answer = shop.route.ask("gemini-9")
    assert (answer.status, answer.code) == (404, "model_not_found"), answer
    assert "gemini-9" in answer.json["error"]["message"]


def completions_embeddings_and_responses_pass(shop: Shop) -> None:
    completion = shop.route.ask("model/small", path="/v1/completions", body=_COMPLETION)
    assert completion.json["usage"]["completion_tokens"] == 3, completion
    embedding = shop.route.ask("text-embedding-3-small", path="/v1/embeddings", body={"input": ["a", "b"]})
    assert (embedding.status, embedding.target) == (200, "vectors"), embedding
    assert [len(each["embedding"]) > 0 for each in embedding.json["data"]] == [True, True]
    response = shop.route.ask("gpt-5", path="/v1/responses", body={"input": "Hi", "max_output_tokens": 3})
    assert (response.status, response.target, response.json["object"]) == (200, "cloud", "response"), response


def streams_come_whole(shop: Shop) -> None:
    answer = shop.route.ask("model/small", body=_STREAM | {"max_tokens": 20})
    events = [line.removeprefix("data: ") for line in answer.content.decode().splitlines() if line]
    assert events[-1] == "[DONE]"
    assert len(events) > 5  # a letter may take several tokens
    assert json.loads(events[-2])["usage"]["completion_tokens"] == 20
    assert answer.headers["content-type"].startswith("text/event-stream")


def intents_choose_and_stay_with_a_conversation(shop: Shop) -> None:
    first = shop.route.ask("auto", "Where is my parcel?", headers={"x-session-id": "s-1"})
    assert (first.target, first.decision["rule"], first.decision["intent"]) == ("small", "orders", "order"), first
    later = shop.route.ask("auto", "And what of it?", headers={"x-session-id": "s-1"})
    assert later.decision["intent"] == "order", later
    code = shop.route.ask("auto", "Why does this python traceback say KeyError?")
    assert (code.target, code.decision["rule"]) == ("cloud", "code"), code


def complexity_is_judged(shop: Shop) -> None:
    judged = {text: shop.route.ask("auto", text).decision["complexity"] for text in ("Hi there", _HARD)}
    assert judged == {"Hi there": "Simple", _HARD: "Complex"}


def a_dry_run_tells_and_sends_nothing(shop: Shop) -> None:
    before = shop.received
    answer = shop.route.ask("gpt-5", "Hello", headers={"x-agentroute-dry-run": "true"})
    assert (answer.status, answer.json["plan"][0], answer.json["rule"]) == (200, "cloud", "gpt"), answer
    assert shop.received == before


def groups_have_rules_of_their_own(shop: Shop) -> None:
    rules = {key: shop.route_for(key).ask("staff", "Hello").decision["rule"] for key in (ALICE, BOB)}
    assert rules == {ALICE: "", BOB: "staff"}


CHECKS = (
    models_lists_every_name,
    an_agent_that_is_missing_is_said_and_the_rest_serves,
    each_name_leads_to_its_target,
    each_target_gets_its_own_model_id,
    an_unknown_name_is_told,
    completions_embeddings_and_responses_pass,
    streams_come_whole,
    intents_choose_and_stay_with_a_conversation,
    complexity_is_judged,
    a_dry_run_tells_and_sends_nothing,
    groups_have_rules_of_their_own,
)
