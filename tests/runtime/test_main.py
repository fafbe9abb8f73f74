"""The process, started as in a pod: it serves, drains on SIGTERM, and says what is wrong with its configuration."""

import asyncio
import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from agentfleet.runtime import identity
from agentfleet.runtime.config import (
    Access,
    Concurrency,
    Grant,
    Guardrail,
    Guardrails,
    Limits,
    Monitoring,
    Privacy,
    SessionStore,
)
from agentfleet.runtime.config_tools import ApprovalRule, HttpTool, McpTool, ToolEntry
from agentfleet.runtime.types import Caller
from e2e.support.answers import Reply
from e2e.support.scripted import serving
from tests.runtime.parts import config
from tests.runtime.process import BODY, FOLDER, in_flight, page_has, settings, started


async def test_it_serves_every_protocol_and_drains(tmp_path: Path) -> None:
    with serving() as model:
        asked = settings(model, tmp_path, concurrency=Concurrency(max=1, queue=5, queue_timeout=30))
        async with started(tmp_path, asked) as agent:
            await agent.answers("/readyz", 200)
            assert (await agent.answers("/.well-known/agent-card.json", 200)).json()["name"]
            model.replies.append(Reply("Hello"))
            answer = await agent.http.post("/v1/chat/completions", json=BODY)
            assert answer.json()["choices"][0]["message"]["content"] == "Hello"
            page = (await agent.http.get("/metrics")).text
            assert 'agentfleet_agent_runs_total{outcome="ok"} 1.0' in page

            late = threading.Event()
            model.reply_to = lambda _: Reply("Late but whole") if late.wait(60) else None
            running = asyncio.create_task(agent.http.post("/v1/chat/completions", json=BODY))
            await asyncio.to_thread(in_flight, model)
            waiting = asyncio.create_task(agent.http.post("/v1/chat/completions", json=BODY))
            await page_has(agent, "agentfleet_agent_waiting 1.0")
            agent.process.send_signal(signal.SIGTERM)
            refused = await waiting
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
            await agent.answers("/readyz", 503)
            late.set()
            assert (await running).json()["choices"][0]["message"]["content"] == "Late but whole"
            assert await agent.ended() == 0
        lines = [json.loads(line) for line in agent.log.read_text().splitlines() if line.startswith("{")]
        assert not [line for line in lines if line.get("level") == "ERROR"]
        assert not [line for line in lines if line.get("logger", "").startswith("httpx")]
        assert len(lines) > 1
    assert (tmp_path / "data" / "metrics.jsonl").exists()


async def test_what_does_not_end_in_time_is_cut_off(tmp_path: Path) -> None:
    with serving(script="delay=60") as model:
        asked = settings(model, tmp_path, limits=Limits(timeout=60), drain_timeout=0.3)
        async with started(tmp_path, asked) as agent:
            await agent.answers("/healthz", 200)
            running = asyncio.create_task(agent.http.post("/v1/chat/completions", json=BODY))
            await asyncio.to_thread(in_flight, model)
            agent.process.send_signal(signal.SIGTERM)
            answer = await running
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "shutting_down")
            assert await agent.ended() == 0


async def test_it_is_not_ready_before_model_and_tools_have_answered(tmp_path: Path) -> None:
    with serving() as model:
        tool = ToolEntry("orders", McpTool("http://127.0.0.1:9/mcp"))
        async with started(tmp_path, settings(model, tmp_path, tools=(tool,))) as agent:
            await agent.answers("/healthz", 200)
            await agent.problem("tools", "orders")
            assert "model" not in (await agent.answers("/readyz", 503)).json()["problems"]


async def test_a_model_that_goes_away_later_is_told_and_its_callers_get_the_fallback_reply(tmp_path: Path) -> None:
    with serving() as model:
        async with started(tmp_path, settings(model, tmp_path)) as agent:
            model.models = ("another",)
            await agent.problem("model", "does not serve")
            assert (await agent.http.get("/readyz")).status_code == 503
            model.models = ()
            await agent.answers("/readyz", 200)
            model.models = ("another",)
            model.play("status=503")
            await agent.problem("model", "does not serve")
            assert (await agent.http.get("/readyz")).status_code == 200
            await page_has(agent, 'agentfleet_agent_answers{of="model"} 0.0')
            answer = await agent.http.post("/v1/chat/completions", json=BODY)
            assert (answer.status_code, answer.headers["x-agentfleet-finish"]) == (200, "fallback")


async def test_who_asks_is_proved_and_told_to_the_route(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"k" * 32)
    access = Access(allow=(Grant(groups=("staff",)),), identity_key_file=str(key), token_review=False)
    with serving() as model:
        private = replace(settings(model, tmp_path), access=access, privacy=Privacy("Private"))
        async with started(tmp_path, private) as agent:
            await agent.answers("/readyz", 200)

            async def ask(caller: Caller | None) -> int:
                headers = {identity.HEADER: identity.sign(b"k" * 32, caller, time.time())} if caller else {}
                return (await agent.http.post("/v1/chat/completions", json=BODY, headers=headers)).status_code

            assert await ask(None) == 401
            assert await ask(Caller("bob", frozenset({"guests"}))) == 403
            assert await ask(Caller("alice", frozenset({"staff"}))) == 200
        sent = identity.verify((b"k" * 32,), model.requests[-1].headers[identity.HEADER], time.time())
        assert (sent.subject, sent.groups, sent.mode) == ("alice", frozenset({"staff"}), "Private")
        assert "An answer" not in agent.log.read_text()


async def test_an_approval_is_resumed_by_another_replica(tmp_path: Path) -> None:
    with serving() as model, collecting() as (shop, orders):
        order = HttpTool(
            f"{shop}/orders", "Orders.", "POST", {"type": "object", "properties": {"what": {"type": "string"}}}
        )
        asked = settings(
            model,
            tmp_path,
            tools=(ToolEntry("order", order, ApprovalRule("Always")),),
            session=SessionStore("PersistentVolume", folder=str(tmp_path / "sessions")),
        )
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
        session = {"x-session-id": "s"}
        async with started(tmp_path / "one", asked) as first:
            await first.answers("/readyz", 200)
            model.replies.append(Reply(calls=(("order", '{"what": "tea"}'),)))
            answer = await first.http.post("/v1/chat/completions", json=BODY, headers=session)
            call = answer.json()["choices"][0]["message"]["tool_calls"][0]
            assert not orders
        async with started(tmp_path / "two", asked) as second:
            await second.answers("/readyz", 200)
            model.replies.append(Reply("Tea is ordered."))
            verdict = {"role": "tool", "tool_call_id": call["id"], "content": '{"approved": true}'}
            body = {"messages": [*BODY["messages"], {"role": "assistant", "tool_calls": [call]}, verdict]}
            answer = await second.http.post("/v1/chat/completions", json=body, headers=session)
            assert answer.json()["choices"][0]["message"]["content"] == "Tea is ordered."
        assert [json.loads(content) for _, content in orders] == [{"what": "tea"}]
        lines = [json.loads(line) for line in second.log.read_text().splitlines() if line.startswith("{")]
        assert {"run", "tool", "approval"} <= {line.get("kind") for line in lines}


async def test_traces_are_sent_without_content(tmp_path: Path) -> None:
    with serving() as model, collecting() as (collector, bodies):
        model.replies.append(Reply("An answer of words"))
        monitoring = Monitoring(otlp_endpoint=collector)
        async with started(tmp_path, settings(model, tmp_path, monitoring=monitoring)) as agent:
            await agent.answers("/readyz", 200)
            traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
            await agent.http.post("/v1/chat/completions", json=BODY, headers={"traceparent": traceparent})
            agent.process.send_signal(signal.SIGTERM)
            assert await agent.ended() == 0
    traces = b"".join(body for path, body in bodies if path == "/v1/traces")
    assert b"invoke_agent desk" in traces
    assert bytes.fromhex("0af7651916cd43dd8448eb211c80319c") in traces
    assert b"An answer" not in traces
    assert model.requests[-1].headers["traceparent"] == traceparent


@contextmanager
def collecting() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """A collector of OpenTelemetry that keeps what it is sent."""
    bodies: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            body = self.rfile.read(length)
            bodies.append((self.path, gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", bodies
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


COSTLY = Guardrails(output=(Guardrail("JSONSchema", "Reject", json_schema={"pattern": "(a+)+"}),))


@pytest.mark.parametrize(
    ("text", "why"),
    [('{"name": 5}', "valid string"), (replace(config(), guardrails=COSTLY).to_json(), "pattern '(a+)+'")],
)
def test_a_configuration_that_cannot_be_used_is_named(tmp_path: Path, text: str, why: str) -> None:
    """In one line, which is what the Agent's condition then shows."""
    (tmp_path / "agent.json").write_text(text)
    command = [sys.executable, "-m", "agentfleet", "runtime", "--config", str(tmp_path / "agent.json")]
    environment = {**os.environ, "PYTHONPATH": str(FOLDER / "operator")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "agent.json cannot be used" in done.stderr
    assert why in done.stderr
    assert "Traceback" not in done.stderr
