"""OpenAI's API over HTTP, asked by OpenAI's own client: plain, streamed, approvals, errors, and clients that leave."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import openai
import pytest
import uvicorn

from agentfleet.runtime.config import Limits
from agentfleet.runtime.frame import MAX_BODY
from agentfleet.runtime.health import Health
from agentfleet.runtime.metrics import Metrics
from agentfleet.runtime.server import Parts, application
from agentfleet.runtime.types import (
    Caller,
    Delta,
    Done,
    Event,
    Failure,
    RunError,
    Runner,
    Task,
    Turn,
    Usage,
)
from e2e.support.answers import Reply
from e2e.support.scripted import serving
from tests.runtime.parts import CALLER, Bench, Function, Script, config, runner, until
from tests.runtime.served import address, free_socket

ANSWER = (Delta("Hello "), Delta("you"), Done("stop", Usage(7, 3, 1)))
BODY = {"model": "desk", "messages": [{"role": "user", "content": "hi"}]}


class Named:
    """Everybody is alice, but for who has no word for it."""

    async def caller(self, headers: Mapping[str, str], request: str) -> Caller:
        if headers.get("authorization") == "Bearer wrong":
            raise RunError(401, "invalid_token", "The token is not valid.")
        return CALLER

    async def close(self) -> None:
        pass


@asynccontextmanager
async def agent(one: Runner | Bench) -> AsyncIterator[tuple[str, Bench]]:
    """An agent on the loopback; its URL."""
    bench = one if isinstance(one, Bench) else Bench(one)
    metrics = Metrics()
    health = Health({"agent": bench.runs._runner.ready}, time.monotonic)
    parts = Parts(bench.config, bench.runs.run, Named(), health, metrics)
    with free_socket() as bound:
        settings = uvicorn.Config(
            application(parts), lifespan="off", log_level="warning", timeout_graceful_shutdown=1, access_log=False
        )
        server = uvicorn.Server(settings)
        running = asyncio.create_task(server.serve(sockets=[bound]))
        await until(lambda: server.started)
        try:
            yield address(bound), bench
        finally:
            server.should_exit = True
            await running


@asynccontextmanager
async def client(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as one:
        yield one


async def test_openais_client_works_unchanged() -> None:
    with serving() as model:
        model.replies.extend([Reply("It is three.", tokens=(7, 3)), Reply("It is three.", tokens=(7, 3))])
        async with (
            runner(config(model.address)) as one,
            agent(one) as (url, _),
            openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as asked,
        ):
            plain = await asked.chat.completions.create(
                model="desk", messages=[{"role": "user", "content": "1+2?"}], user="u1"
            )
            chunks = [
                chunk
                async for chunk in await asked.chat.completions.create(
                    model="desk",
                    messages=[{"role": "user", "content": "1+2?"}],
                    stream=True,
                    stream_options={"include_usage": True},
                )
            ]
            models = [model.id async for model in asked.models.list()]
    assert plain.choices[0].message.content == "It is three."
    assert (plain.choices[0].finish_reason, plain.model) == ("stop", "desk")
    assert plain.usage is not None
    assert (plain.usage.prompt_tokens, plain.usage.completion_tokens, plain.usage.total_tokens) == (7, 3, 10)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "It is three."
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 10
    assert len({chunk.id for chunk in chunks}) == 1
    assert models == ["desk"]


async def test_a_stream_ends_with_done_and_has_usage_only_if_asked() -> None:
    async with agent(Script(*ANSWER)) as (url, _), client(url) as http:
        answer = await http.post("/v1/chat/completions", json={**BODY, "stream": True})
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    assert not any("usage" in json.loads(line) for line in lines[:-1])
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-request-id"]


async def test_what_a_task_is_made_of() -> None:
    script = Script(*ANSWER)
    parts = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
    ]
    body = {
        "model": "anything",
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": parts},
        ],
        "temperature": 0.3,
        "max_completion_tokens": 20,
        "stop": "END",
        "service_tier": "priority",
        "tool_choice": {"type": "function", "function": {"name": "add"}},
        "user": "u1",
        "unknown": {"is": "ignored"},
    }
    headers = {"x-request-id": "r-1", "traceparent": "00-aa-bb-01", "x-agentfleet-hops": "shop/front", "x-other": "no"}
    async with agent(script) as (url, _), client(url) as http:
        await http.post("/v1/chat/completions", json=body, headers=headers)
        await http.post("/v1/chat/completions", json=body, headers=headers | {"x-session-id": "s-1"})
    whole, turn = script.tasks
    picture = Turn("user", "What is it?", ("data:image/png;base64,aGk=",))
    assert whole.turns == (Turn("system", "Be kind."), Turn("user", "a"), Turn("assistant", "b"), picture)
    assert turn.turns == (Turn("system", "Be kind."), picture)
    assert (whole.session, turn.session) == (None, "s-1")
    assert (whole.id, whole.caller, whole.priority, whole.user) == ("r-1", CALLER, "high", "u1")
    assert {**whole.headers} == {name: value for name, value in headers.items() if name != "x-other"}
    sampling = whole.sampling
    assert (sampling.temperature, sampling.max_tokens, sampling.stop, sampling.tool_choice) == (
        0.3,
        20,
        ("END",),
        "add",
    )


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        (b"{", None, "not valid JSON"),
        (b"[]", None, "object"),
        (b"{}", "messages", "required"),
        ({"messages": []}, "messages", "at least 1"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "string"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role", "'system'"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages", "role user"),
        ({**BODY, "temperature": "hot"}, "temperature", "number"),
        ({**BODY, "temperature": 3}, "temperature", "less than or equal to 2"),
        ({**BODY, "max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
        ({**BODY, "stream": "yes"}, "stream", "boolean"),
        ({**BODY, "n": 2}, "n", "one answer"),
        ({**BODY, "tools": [{"type": "function"}]}, "tools", "tools of its own"),
        ({**BODY, "response_format": {"type": "xml"}}, "response_format.type", "'text'"),
        ({**BODY, "response_format": {"type": "json_schema"}}, "response_format.json_schema", "schema"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc"}}]}]},
            "messages[0].content[0].image_url.url",
            "pattern",
        ),
        (
            {"messages": [{"role": "tool", "tool_call_id": "x", "content": "yes"}]},
            "messages[0].content",
            '{"approved": true}',
        ),
    ],
)
async def test_what_is_wrong_is_named(body: Any, param: str | None, says: str) -> None:
    script = Script(*ANSWER)
    async with agent(script) as (url, _), client(url) as http:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = await http.post("/v1/chat/completions", content=content)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert says in error["message"]
    assert not script.tasks


async def test_bodies_are_bounded_also_where_their_length_is_not_told() -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY // 2**20 + 2):
            yield b" " * 2**20

    async with agent(Script(*ANSWER)) as (url, _), client(url) as http:
        for content in (b" " * (MAX_BODY + 1), endless()):
            told = await http.post("/v1/chat/completions", content=content)
            assert (told.status_code, told.json()["error"]["code"]) == (413, "request_too_large")


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (RunError(429, "queue_full", "Full.", retry_after=7), 429, "rate_limit_error"),
        (RunError(408, "run_timeout", "Late."), 408, "server_error"),
        (RunError(409, "unknown_approval", "What?"), 409, "conflict_error"),
        (RunError(503, "queue_timeout", "Late."), 503, "server_error"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_have_openais_form(error: RunError, status: int, kind: str, stream: bool) -> None:
    async with agent(Script(error)) as (url, _), client(url) as http:
        answer = await http.post("/v1/chat/completions", json={**BODY, "stream": stream})
    assert answer.status_code == status
    assert answer.json()["error"] == {
        "message": error.message, "type": kind, "param": None, "code": error.code,
    }  # fmt: skip
    assert answer.headers.get("retry-after") == (str(error.retry_after) if error.retry_after else None)


async def test_who_is_not_let_in_is_told_so() -> None:
    async with agent(Script(*ANSWER)) as (url, _), client(url) as http:
        for path in ("/v1/chat/completions", "/chat"):
            answer = await http.post(path, json=BODY, headers={"authorization": "Bearer wrong"})
            assert (answer.status_code, answer.json()["error"]["type"]) == (401, "authentication_error")
            assert answer.headers["www-authenticate"] == "Bearer"
        assert (await http.get("/v1/models", headers={"authorization": "Bearer wrong"})).status_code == 401
        assert (await http.get("/healthz", headers={"authorization": "Bearer wrong"})).status_code == 200
        assert (await http.get("/nothing")).json()["error"]["code"] == "not_found"
        answer = await http.get("/chat")
        assert (answer.status_code, answer.json()["error"]["type"]) == (405, "invalid_request_error")


async def test_the_fallback_reply_is_an_answer() -> None:
    async with agent(Script(Failure(502, "model_unavailable", "away"))) as (url, bench), client(url) as http:
        plain = await http.post("/v1/chat/completions", json=BODY)
        stream = await http.post("/v1/chat/completions", json={**BODY, "stream": True})
    assert plain.status_code == 200
    assert plain.json()["choices"][0] == {
        "index": 0,
        "message": {"role": "assistant", "content": bench.config.fallback_reply},
        "logprobs": None,
        "finish_reason": "stop",
    }
    assert plain.headers["x-agentfleet-finish"] == plain.json()["agentfleet"]["finish"] == "fallback"
    assert '"agentfleet":{"finish":"fallback"}' in stream.text


async def test_an_error_in_the_middle_of_a_stream_is_an_event() -> None:
    failing = Script(Delta("Half"), Failure(502, "model_unavailable", "The model cannot be reached."))
    async with (
        agent(failing) as (url, _),
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as asked,
    ):
        stream = await asked.chat.completions.create(
            model="desk", messages=[{"role": "user", "content": "hi"}], stream=True
        )
        said = []
        with pytest.raises(openai.APIError, match="cannot be reached"):
            async for chunk in stream:
                said.append(chunk.choices[0].delta.content)
    assert said == ["", "Half"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("session", [{}, {"x-session-id": "s"}])
async def test_an_approval_over_openais_client(stream: bool, session: dict[str, str]) -> None:
    with serving() as model:
        model.replies.extend([Reply("I will.", calls=(("rm", '{"a": 1}'),)), Reply("It is gone.")])
        tool = Function("rm", "gone", approval=True)
        async with (
            runner(config(model.address), [tool]) as one,
            agent(one) as (url, _),
            openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as asked,
        ):
            messages: list[Any] = [{"role": "user", "content": "Remove it."}]

            async def ask() -> tuple[str, list[Any], str]:
                if not stream:
                    whole = await asked.chat.completions.create(model="desk", messages=messages, extra_headers=session)
                    choice = whole.choices[0]
                    return choice.message.content or "", choice.message.tool_calls or [], choice.finish_reason
                text, calls, finish = "", [], ""
                async for chunk in await asked.chat.completions.create(
                    model="desk", messages=messages, stream=True, extra_headers=session
                ):
                    delta = chunk.choices[0].delta
                    text += delta.content or ""
                    calls += delta.tool_calls or []
                    finish = chunk.choices[0].finish_reason or finish
                return text, calls, finish

            text, calls, finish = await ask()
            assert (text, finish, not tool.calls) == ("I will.", "tool_calls", True)
            assert (calls[0].function.name, json.loads(calls[0].function.arguments)) == ("rm", {"a": 1})
            call = {"id": calls[0].id, "type": "function", "function": {"name": "rm", "arguments": '{"a": 1}'}}
            messages += [
                {"role": "assistant", "content": text, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": calls[0].id, "content": '{"approved": true}'},
            ]
            assert (await ask())[::2] == ("It is gone.", "stop")
            assert len(tool.calls) == 1
            with pytest.raises(openai.ConflictError):
                await ask()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_ends_the_run(stream: bool) -> None:
    async def forever(_: Task) -> None:
        await asyncio.Event().wait()

    script = Script(before=forever)
    async with agent(script) as (url, bench), client(url) as http:
        asking = asyncio.create_task(http.post("/v1/chat/completions", json={**BODY, "stream": stream}))
        await until(lambda: script.under_way == 1)
        asking.cancel()
        await until(lambda: script.under_way == 0)
        await until(lambda: bool(bench.audit.records))
    assert (script.cancelled, bench.gate.running, bench.record.outcome) == (1, 0, "cancelled")


async def test_a_client_that_leaves_a_stream_ends_the_call_of_the_model() -> None:
    with serving(script="gap=0.02,chunks=5000") as model:
        async with (
            runner(config(model.address, limits=Limits(timeout=60))) as one,
            agent(Bench(one, config(model.address))) as (url, bench),
            client(url) as http,
        ):
            async with http.stream("POST", "/v1/chat/completions", json={**BODY, "stream": True}) as answer:
                await anext(answer.aiter_bytes())
                assert model.in_flight == 1
            await until(lambda: model.in_flight == 0)
            await until(lambda: bench.gate.running == 0)


async def test_the_plain_chat() -> None:
    script = Script(*ANSWER)
    async with agent(script) as (url, _), client(url) as http:
        answer = await http.post("/chat", json={"message": "hi", "priority": "high", "timeout": 5})
        wrong = await http.post("/chat", json={"message": "hi", "priority": "urgent"})
        nothing = await http.post("/chat", json={})
    body = answer.json()
    assert (body["response"], body["agent_used"]) == ("Hello you", "desk")
    assert body["processing_time"] >= 0
    assert (script.tasks[0].priority, script.tasks[0].timeout) == ("high", 5)
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "priority")
    assert (nothing.status_code, nothing.json()["error"]["param"]) == (400, "message")


async def test_readiness_names_what_is_missing() -> None:
    class Away(Script):
        async def ready(self) -> None:
            raise RunError(503, "model_not_ready", "The model does not answer.")

    async with agent(Away()) as (url, _), client(url) as http:
        answer = await http.get("/readyz")
        assert (answer.status_code, answer.json()["problems"]) == (503, {"agent": "The model does not answer."})
        assert (await http.get("/healthz")).status_code == 200
    async with agent(Script()) as (url, _), client(url) as http:
        assert (await http.get("/readyz")).json() == {
            "ready": True,
            "problems": {},
            "notes": [],
            "alerts": [],
            "tools": [],
            "changed": [],
        }
        assert "agentfleet_agent_runs" in (await http.get("/metrics")).text


async def test_a_bug_is_told_without_its_cause(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(Script(*ANSWER))

    def run(_: Task) -> AsyncIterator[Event]:
        raise RuntimeError("secret")

    bench.runs.run = run  # type: ignore[method-assign, assignment]
    async with agent(bench) as (url, _), client(url) as http:
        answer = await http.post("/v1/chat/completions", json=BODY, headers={"x-request-id": "r-5"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] == "r-5"
    assert caplog.records[-1].key == "r-5"  # type: ignore[attr-defined]
