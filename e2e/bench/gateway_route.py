"""The route of ``bench gateway``: an AgentRoute with everything on, and its parts that can be switched off.

It goes the way of any other AgentRoute: validated, compiled, rendered. Only what a machine has once (ports, folders,
abstract sockets) is put elsewhere, and pods are addresses of loopback instead of names.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from agentfleet.gateway import layout as places
from agentfleet.gateway.compile import compile_policy
from agentfleet.gateway.compile_decider import decider_config
from agentfleet.gateway.compile_layout import layout
from agentfleet.gateway.haproxy import render
from agentfleet.gateway.resolved import Credentials, Endpoint, Resolution, Resolved
from agentfleet.resources.agentroute import AgentRoute
from agentfleet.settings import Settings

KEY = "sk-bench-0123456789abcdef"
CALLER = "bench"

_REQUESTS, _TOKENS = 100_000_000, 10_000_000_000
"""Limits that count and never refuse."""
_INTENTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("order", ("order", "refund", "parcel")),
    ("code", ("python", "traceback", "compile")),
    ("travel", ("flight", "hotel", "itinerary")),
)
_BODY_BYTES = 1024
_PODS, _PLACES = 4, 50
"""Of each target: no request waits for a place."""
_CONVERSATIONS = 64
"""So many that intents of all are soon known, and not all requests are the same."""

Spec = dict[str, Any]


def spec() -> Spec:
    """The whole policy: keys, two limits, intents, complexity, every built-in pattern, three rules with fallback."""
    rules: list[Spec] = [
        {"name": "orders", "match": {"intents": ["order"]}, "targets": ["small"]},
        {"name": "hard", "match": {"complexity": ["Complex"]}, "targets": ["large"]},
        {"name": "rest", "targets": ["small", "large"]},
    ]
    return {
        "targets": [
            {"name": "small", "modelServerRef": {"name": "small"}, "tier": "Lightweight", "maxConcurrent": _PLACES},
            {"name": "large", "modelServerRef": {"name": "large"}, "tier": "Capable", "maxConcurrent": _PLACES},
            {"name": "cloud", "external": {"url": "http://127.0.0.1/v1", "model": "big-1"}, "tier": "Capable"},
        ],
        "classify": {"intents": [{"name": name, "keywords": list(words)} for name, words in _INTENTS]},
        "rules": [{**rule, "fallback": {"targets": ["cloud"]}} for rule in rules],
        "privacy": {"denyCloudFor": ["Confidential"]},
        "auth": {"apiKeys": {"secretName": "keys"}},
        "limits": [
            {"scope": "Key", "requests": _REQUESTS, "per": "Minute"},
            {"scope": "Key", "tokens": _TOKENS, "per": "Minute"},
        ],
    }


def _without_auth(whole: Spec) -> Spec:
    # Without callers there is nothing to count for, but the route itself.
    return {**_without("auth")(whole), "limits": [{**limit, "scope": "Route"} for limit in whole["limits"]]}


def _without(field: str) -> Callable[[Spec], Spec]:
    return lambda whole: {name: value for name, value in whole.items() if name != field}


def _without_fallback(whole: Spec) -> Spec:
    # `when` on what shows before a request is sent needs no second place to send it to.
    return {**whole, "rules": [{**rule, "fallback": {"when": ["NoEndpoint"]}} for rule in whole["rules"]]}


def _same(whole: Spec) -> Spec:
    return whole


PARTS: Mapping[str, Callable[[Spec], Spec]] = {
    "auth": _without_auth,
    "limits": _without("limits"),
    "sensitivity": _without("privacy"),
    "complexity": _same,
    "intents": _without("classify"),
    "rules": _without("rules"),
    "fallback": _without_fallback,
    "log": _same,
    "answers": _same,
}
"""Part → the route without it; `complexity`, `log` and `answers` are no fields of a route: see `_cut`."""

_LINES: Mapping[str, str] = {
    "complexity": r"  http-request set-var\(txn\.cplx\) var\(txn\.last\),map_reg.*\n",
    "log": r"  log(?:-format|\s+(?:stdout|ring)).*\n",
    "answers": r"  http-response (?:wait-for-body|set-var\(txn\.told_).*\n|  filter lua\.usage\n",
}
"""Part → lines of haproxy.cfg that make it."""


def rendered(port: int, part: str | None = None) -> dict[str, str]:
    """All files of the gateway's ConfigMap, with pods at `port` of loopback; without `part`, where one is named."""
    manifest = {
        "apiVersion": "agentfleet.dev/v1alpha1",
        "kind": "AgentRoute",
        "metadata": {"name": "bench", "namespace": "bench", "uid": "0", "generation": 1},
        "spec": PARTS[part](spec()) if part else spec(),
    }
    route = AgentRoute.from_manifest(manifest)
    found = _resolution(port)
    files = render(compile_policy(route, found), layout(route, found, Settings()))
    if part is not None and part in _LINES:
        files["haproxy.cfg"] = _cut(_LINES[part], files["haproxy.cfg"])
    return {**files, "decider.json": decider_config(route, found, ()).to_json()}


def _cut(pattern: str, text: str) -> str:
    found, count = re.subn(pattern, "", text)
    if not count:
        raise ValueError(f"haproxy.cfg has no line {pattern!r} any more: bring gateway_route.py up to date")
    return found


def _resolution(port: int) -> Resolution:
    def pods(name: str) -> Resolved:
        endpoint = Endpoint(f"{name}-id", "127.0.0.1", port, "127.0.0.1", slots=_PODS)
        return Resolved(name, "ModelServer", "Serving", object=name, namespace="bench", endpoint=endpoint)

    outside = Endpoint("big-1", "127.0.0.1", port, health=None, credentials=Credentials())
    cloud = Resolved("cloud", "External", "External", location="Cloud", endpoint=outside)
    return Resolution({"small": pods("small"), "large": pods("large"), "cloud": cloud})


def place(files: Mapping[str, str], folder: Path, ports: Mapping[int, int]) -> Path:
    """Write the files so that they fit this machine; the path of haproxy.cfg."""
    unique = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
    for name, content in files.items():
        text = content.replace(places.CONFIG_FOLDER, str(folder)).replace(places.RUN_FOLDER, str(folder / "run"))
        text = text.replace("abns@", f"abns@{unique}-")
        if name == "haproxy.cfg":
            text = re.sub(r"bind :(\d+)", lambda found: f"bind 127.0.0.1:{ports[int(found[1])]}", text)
            decider = f"127.0.0.1:{places.DECIDER_PORT}"
            text = text.replace(decider, f"127.0.0.1:{ports[places.DECIDER_PORT]}")
        (folder / name).write_text(text, encoding="utf-8")
    for name, content in (("keys/" + CALLER, KEY), ("identity", secrets.token_hex(32))):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8")
    (folder / "run").mkdir()
    return folder / "haproxy.cfg"


def requests(stream: bool) -> bytes:
    """Chats of 1 KB in so many conversations, as the traffic program reads them."""
    return b"".join(_request(number, stream) for number in range(_CONVERSATIONS))


def _request(number: int, stream: bool) -> bytes:
    _, keywords = _INTENTS[number % len(_INTENTS)]
    last = {"role": "user", "content": f"My question about the {keywords[0]} is QQQQQQQQ. "}
    messages = [
        {"role": "system", "content": "You are the assistant of a shop. Answer in the language of the customer."},
        {"role": "user", "content": f"Dear assistant, this is conversation {number}: I have a question."},
        {"role": "assistant", "content": "Of course.\nWhat would you like to know?"},
        last,
    ]
    body: Spec = {"model": "auto", "messages": messages, "temperature": 0.7, "stream": stream}
    missing = _BODY_BYTES - len(_json(body))
    last["content"] += ("Tell me what I have to do next, and how long that takes in most cases, please. " * 20)[
        :missing
    ]
    content = _json(body)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {KEY}\r\n"
        f"user-agent: OpenAI/Python\r\naccept: application/json\r\nx-session-id: conversation-{number}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    request = head.encode() + content
    return b"%d\n" % len(request) + request


def _json(body: Spec) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()
