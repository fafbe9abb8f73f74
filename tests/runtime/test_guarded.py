"""An agent's process with its guards: guardrails on streams, sessions over two replicas, what audit and log keep."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from agentfleet.runtime import identity
from agentfleet.runtime.audit_chain import heads, verify
from agentfleet.runtime.config import (
    Access,
    AgentConfig,
    Grant,
    Guardrail,
    Guardrails,
    Monitoring,
    Privacy,
    SessionStore,
)
from agentfleet.runtime.types import Caller, Mode
from e2e.support.answers import Reply
from e2e.support.scripted import Server, serving
from tests.runtime.parts import config
from tests.runtime.process import Agent, started
from tests.runtime.test_main import collecting

KEY = b"the namespace's key"
CARD = "4539 1488 0343 6467"
RULES = Guardrails(
    input=(Guardrail("PII", "Mask", builtins=("CreditCard",)), Guardrail("Regex", "Reject", pattern="forbidden")),
    output=(Guardrail("PII", "Mask"),),
)


@pytest.fixture
def guarded(tmp_path: Path) -> dict[str, Any]:
    key = tmp_path / "key"
    key.write_bytes(KEY)
    return {
        "access": Access(allow=(Grant(groups=("staff",)),), identity_key_file=str(key), token_review=False),
        "guardrails": RULES,
        "session": SessionStore("PersistentVolume", folder=str(tmp_path / "sessions")),
    }


def _headers(mode: Mode = "Standard", subject: str = "erin", group: str = "staff", **more: str) -> dict[str, str]:
    signed = identity.sign(KEY, Caller(subject, frozenset({group}), mode), time.time())
    return {identity.HEADER: signed, **more}


def _settings(model: Server, tmp_path: Path, **changes: Any) -> AgentConfig:
    return config(model.address, data_folder=str(tmp_path / "data"), **changes)


def _body(text: str, *, stream: bool = False) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "stream": stream}


async def _streamed(agent: Agent, text: str, headers: dict[str, str]) -> str:
    said = ""
    async with agent.http.stream(
        "POST", "/v1/chat/completions", json=_body(text, stream=True), headers=headers
    ) as lines:
        async for line in lines.aiter_lines():
            if line.startswith("data: {"):
                for choice in json.loads(line[6:])["choices"]:
                    said += choice["delta"].get("content") or ""
    return said


def _says(model: Server, text: str) -> list[str]:
    """What the model is asked from now on, as JSON; it answers with `text`."""
    asked: list[str] = []

    def reply(body: dict[str, Any]) -> Reply:
        asked.append(json.dumps(body["messages"]))
        return Reply(text)

    model.reply_to = reply
    return asked


async def test_what_goes_in_and_out_is_masked_in_streams_and_audit(tmp_path: Path, guarded: dict[str, Any]) -> None:
    told: dict[str, Any] = {"role": "customer-service", "privacy": Privacy(audit_content=True)}
    with serving() as model:
        asked = _says(model, f"Paid with {CARD} by ann@example.com today.")
        async with started(tmp_path, _settings(model, tmp_path, **told, **guarded)) as agent:
            await agent.answers("/readyz", 200)
            assert await _streamed(agent, f"pay with {CARD}", _headers()) == "Paid with [CREDIT_CARD] by [EMAIL] today."
            assert ["pay with [CREDIT_CARD]" in each for each in asked] == [True]
            refused = await agent.http.post("/v1/chat/completions", json=_body("forbidden xyzzy"), headers=_headers())
            assert (refused.status_code, refused.json()["error"]["code"]) == (400, "content_filter")
            assert len(asked) == 1
            card = (await agent.http.get("/.well-known/agent-card.json")).json()
            page = (await agent.http.get("/metrics")).text
        assert json.loads(asked[0])[0] == {"role": "system", "content": "Your role: customer-service.\n\nYou help."}
        assert card["skills"][0]["name"] == "customer-service"
    lines = (tmp_path / "data" / "audit.jsonl").read_text().splitlines()
    answered, refusal = (json.loads(line) for line in lines[-2:])
    assert answered["content"]["input"] == "pay with [CREDIT_CARD]"
    assert (refusal["decision"], refusal["content"]["input"]) == ("filtered", "")
    written = agent.log.read_text()
    assert CARD not in written
    assert "xyzzy" not in written
    assert verify(lines, [KEY], heads(page)).whole
    assert not verify(lines[:-1], [KEY], heads(page)).whole


async def test_a_warning_is_in_the_audit_by_request_and_caller(tmp_path: Path, guarded: dict[str, Any]) -> None:
    warns = Guardrails(
        input=(Guardrail("Regex", "Warn", pattern="xyzzy"), Guardrail("PII", "Mask", builtins=("CreditCard",))),
        output=(Guardrail("MaxLength", "Warn", max_length=3),),
    )
    with serving() as model:
        _says(model, "plugh")
        async with started(tmp_path, _settings(model, tmp_path, **{**guarded, "guardrails": warns})) as agent:
            await agent.answers("/readyz", 200)
            headers = _headers(**{"x-request-id": "r-1"})
            for stream in (False, True):
                body = _body(f"xyzzy {CARD}", stream=stream)
                await agent.http.post("/v1/chat/completions", json=body, headers=headers)
    trail = [json.loads(line) for line in (tmp_path / "data" / "audit.jsonl").read_text().splitlines()]
    told = [line for line in trail if line["kind"] == "guardrail"]
    assert [(line["side"], line["guardrail"], line["type"], line["decision"]) for line in told] == 2 * [
        ("input", 1, "Regex", "warned"),
        ("input", 2, "PII", "masked"),
        ("output", 1, "MaxLength", "warned"),
    ]
    assert {(line["request"], line["caller"]) for line in told} == {("r-1", "erin")}
    assert not any(word in json.dumps(trail) for word in ("xyzzy", "plugh", CARD))


async def test_a_session_goes_on_in_another_replica_and_belongs_to_its_caller(
    tmp_path: Path, guarded: dict[str, Any]
) -> None:
    with serving() as model:
        asked = _says(model, "noted")
        for name in ("one", "two"):
            folder = tmp_path / name
            folder.mkdir()
            async with started(folder, _settings(model, folder, **guarded)) as agent:
                await agent.answers("/readyz", 200)
                for subject in ("erin", f"mallory-{name}"):
                    headers = _headers(subject=subject, **{"x-session-id": "s"})
                    await agent.http.post("/v1/chat/completions", json=_body(f"word {subject} {name}"), headers=headers)
        assert ["word erin one" in each for each in asked] == [True, False, True, False]


@pytest.mark.parametrize("own", ["Standard", "Private"])
async def test_texts_are_in_traces_where_asked_for_and_never_of_a_private_caller(
    tmp_path: Path, guarded: dict[str, Any], own: Mode
) -> None:
    with serving() as model, collecting() as (collector, bodies):
        told = {
            "monitoring": Monitoring(otlp_endpoint=collector, capture_content=True),
            "privacy": Privacy(mode=own),
        }
        async with started(tmp_path, _settings(model, tmp_path, **told, **guarded)) as agent:
            await agent.answers("/readyz", 200)
            for mode, word in (("Standard", "xyzzy"), ("Private", "plugh")):
                model.replies.append(Reply(f"it is {word}"))
                headers = _headers(mode, traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")  # type: ignore[arg-type]
                await agent.http.post("/v1/chat/completions", json=_body(f"my word is {word}"), headers=headers)
            agent.process.terminate()
            assert await agent.ended() == 0
    traces = b"".join(body for path, body in bodies if path == "/v1/traces")
    assert (b"my word is xyzzy" in traces) == (b"it is xyzzy" in traces) == (own == "Standard")
    assert b"plugh" not in traces
    assert "xyzzy" not in agent.log.read_text()


@pytest.mark.parametrize("mode", ["Standard", "Private"])
async def test_audit_and_log_keep_what_the_mode_allows(tmp_path: Path, guarded: dict[str, Any], mode: Mode) -> None:
    privacy = Privacy(mode=mode, audit_content=True)
    with serving() as model:
        async with started(tmp_path, _settings(model, tmp_path, privacy=privacy, **guarded)) as agent:
            await agent.answers("/readyz", 200)
            model.replies.append(Reply("the moon is full"))
            await agent.http.post("/v1/chat/completions", json=_body("my word is xyzzy"), headers=_headers())
            model.replies.append(Reply("the moon is new"))
            private = _headers("Private")
            await agent.http.post("/v1/chat/completions", json=_body("my word is plugh"), headers=private)
            model.play("status=500")
            await agent.http.post("/v1/chat/completions", json=_body("my word is frotz"), headers=_headers("Private"))
            await agent.http.post("/v1/chat/completions", json=_body("hello"), headers=_headers(group="nobody"))
            unknown = await agent.http.post("/v1/chat/completions", json=_body("hello"))
            agent.process.terminate()
            assert await agent.ended() == 0
        lines = (tmp_path / "data" / "audit.jsonl").read_text().splitlines()
        told = [json.loads(line) for line in lines]
        assert verify(lines, [KEY]).whole
        kinds = [(line["kind"], line.get("decision"), line.get("status")) for line in told]
        assert kinds == [
            ("begin", "new", None),
            ("run", "ok", 200),
            ("run", "ok", 200),
            ("run", "fallback", 200),
            ("refusal", "refused", 403),
            ("refusal", "refused", 401),
            ("end", None, None),
        ]
        assert told[5]["request"] == unknown.headers["x-request-id"]
        everything = agent.log.read_text() + "\n".join(lines)
        assert ("xyzzy" in everything) == ("content" in told[1]) == (mode == "Standard")
        assert not any(word in everything for word in ("plugh", "frotz", "the moon is new"))
        assert [line for line in agent.log.read_text().splitlines() if '"kind":' in line] == lines
