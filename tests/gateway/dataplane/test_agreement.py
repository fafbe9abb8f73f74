"""What is rendered decides as policy.py does, from the bytes of a request on: HAProxy finds sensitivity, complexity,
groups and conversation out by itself, Python reads and classifies the same request."""

import json
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from typing import Any

import pytest

from agentfleet.gateway import complexity, sensitivity
from agentfleet.gateway.policy import decide
from agentfleet.gateway.request import Refusal, read, text
from agentfleet.gateway.types import Endpoint, Load, Policy, Rule
from tests.gateway import routes
from tests.gateway.dataplane import dns, gateway
from tests.gateway.labels import requests
from tests.gateway.lua import cases

POLICIES = 10
REQUESTS = 200
PATTERNS = tuple(sensitivity.ordered(sensitivity.builtin(sensitivity.BUILTINS)))
ENDPOINTS: dict[Endpoint, str] = {
    "chat/completions": "messages", "completions": "prompt", "embeddings": "input", "responses": "input",
}  # fmt: skip
TEXTS = tuple(each.text for each in (*requests("train"), *requests("test")))
EDGES = (
    "my ssn is 123-45-6789", "mail a.b@example.com", "4111 1111 1111 1111", "漢字 @ 例え", "top secret", "10.0.0.1",
    "AKIAABCDEFGHIJKLMNOP", "é" * 50, "x" * 4100, "x" * 72, "x" * 73, "a\nb", "tab\there", "nul\x00here", 'a"b\\c',
    "half \ud83d", "😀" * 30, "password: hunter2!!", "#comment", "", " ", "Hi",
)  # fmt: skip


def _policy(rng: random.Random) -> Policy:
    """One without chance: its rules draw no lots."""
    made = cases.policy(rng)
    rules = tuple(replace(each, strategy=_certain(each)) for each in made.rules)
    targets = tuple(replace(each, names=(f"target/u{number}",)) for number, each in enumerate(made.targets))
    return replace(made, rules=rules, targets=targets)


def _certain(rule: Rule) -> Any:
    return "Sticky" if rule.strategy in ("Weighted", "RoundRobin") else rule.strategy


@contextmanager
def _running(policy: Policy, rng: random.Random) -> Iterator[tuple[gateway.Gateway, dict[str, Load]]]:
    """A gateway, some of whose targets have a pod."""
    port = gateway.free_port("127.0.0.2")
    backends = tuple(routes.backend(target, port=port) for target in policy.targets)
    layout = routes.layout(policy, backends=backends, sensitive=PATTERNS, api_keys=True)
    with ExitStack() as stack:
        zone = stack.enter_context(dns.serving())
        ready = {target.id: int(rng.random() < 0.7) for target in policy.targets}
        for number, target in enumerate(policy.targets):
            if ready[target.id]:
                stack.enter_context(gateway.pods(zone, target.name, 1, port, first=40 + number))
        keys, groups = {"k": "kim"}, {"kim": "red"}
        running = stack.enter_context(gateway.running(policy, layout, zone, keys=keys, groups=groups))
        counted = {target.id: running.servers(f"ready_{target.id}") for target in policy.targets}
        names = {each: f"{'pool' if counted[each] < 0 else 'ready'}_{each}" for each in ready}
        running.wait_for(**{names[each]: pods for each, pods in ready.items()})
        yield running, {each: Load(ready=pods) for each, pods in ready.items()}


def _body(rng: random.Random, endpoint: Endpoint, policy: Policy) -> bytes:
    key = ENDPOINTS[endpoint]
    value: Any = [_message(rng) for _ in range(rng.randint(1, 4))]
    if key != "messages" and rng.random() < 0.7:
        value = rng.choice([_text(rng), [_text(rng), _text(rng)]])
    own = [name for target in policy.targets for name in target.names]
    body: dict[str, Any] = {key: value, "model": rng.choice([*["auto"] * 6, *cases.MODELS, *own])}
    for name, chance, values in (
        ("tools", 0.2, [[{"type": "function", "function": {"name": "f"}}], []]),
        ("user", 0.3, ["u1", "u2", "é", "", 5, None, "a|b", "x" * 300]),
        ("prompt_cache_key", 0.2, ["c1", "", "nul\x00c", [1]]),
        ("Model", 0.02, ["x"]),
        ("picture", 0.05, [f"data:image/png;base64,{'A' * 40_000}", "A" * 33_000, "A" * 200_000]),
    ):
        if rng.random() < chance:
            body[name] = rng.choice(values)
    written = json.dumps(body, ensure_ascii=rng.random() < 0.7)
    return written.encode("utf-8", "surrogatepass")


def _message(rng: random.Random) -> dict[str, Any]:
    content: Any = _text(rng)
    if rng.random() < 0.2:
        content = [{"type": "text", "text": content}, {"type": rng.choice(["text", "image_url"]), "text": _text(rng)}]
    return {"role": rng.choice(["user", "user", "system", "assistant"]), "content": content}


def _text(rng: random.Random) -> str:
    return rng.choice(EDGES if rng.random() < 0.3 else TEXTS)


def _expected(policy: Policy, endpoint: Endpoint, headers: dict[str, str], body: bytes, loads: Any) -> dict[str, Any]:
    request = read(endpoint, headers, body, caller="kim")
    if isinstance(request, Refusal):
        return {"problem": request.problem}
    request = replace(
        request,
        groups=("red",),
        complexity=complexity.classify(request.last, request.prompt_tokens),
        sensitivity=sensitivity.classify(text(body), PATTERNS),
    )
    decision = decide(policy, request, loads)
    named = {**asdict(decision), "plan": [policy.target(each).name for each in decision.plan]}
    return dict(json.loads(json.dumps(named)))


@pytest.mark.parametrize("number", range(POLICIES))
def test_what_is_rendered_decides_as_the_policy_does(number: int) -> None:
    rng = random.Random(number)  # noqa: S311 - a test's choices
    policy = _policy(rng)
    seen: Counter[str] = Counter()
    with _running(policy, rng) as (running, loads):
        for _ in range(REQUESTS):
            endpoint = rng.choice([*["chat/completions"] * 5, *ENDPOINTS])
            body, headers = _body(rng, endpoint, policy), cases.headers(rng)
            sent = {**headers, "authorization": "Bearer k", "x-agentroute-dry-run": "true"}
            answer = running.client.post(f"/v1/{endpoint}", content=body, headers=sent)
            found = answer.json() if answer.status_code == 200 else {"problem": answer.json()["error"]["code"]}
            assert found == _expected(policy, endpoint, headers, body, loads), (number, headers, body[:500])
            seen[found.get("reason", "refused")] += 1
    assert len(seen) > 1


def test_every_sensitivity_header_counts() -> None:
    """A proxy in front may add its own after the client's: neither takes anything back."""
    target = routes.target(0, "small")
    policy = routes.policy(target)
    layout = routes.layout(policy, backends=(routes.backend(target, port=gateway.free_port("127.0.0.2")),))
    name, body = "x-agentroute-sensitivity", b'{"model":"auto","messages":[]}'
    with dns.serving() as zone, gateway.running(policy, layout, zone) as running:
        for values, expected in (
            (("Restricted", "Public"), "Restricted"),
            (("Public", "Internal,Confidential", "public"), "Confidential"),
            (("Public", "Secret"), "Restricted"),
            (("Public", ""), "Public"),
        ):
            headers = [("x-agentroute-dry-run", "true"), *((name, value) for value in values)]
            answer = running.client.post(gateway.CHAT, content=body, headers=headers)
            assert answer.json()["sensitivity"] == expected, values
