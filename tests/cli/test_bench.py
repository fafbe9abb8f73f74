"""cli/bench.py and cli/load.py against a model on loopback that answers as engines do."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from agentfleet.cli.bench import Measured, choose, text
from agentfleet.cli.levels import Goal, Level, Outcome
from agentfleet.cli.server import Server
from agentfleet.objects import Manifest
from tests.cli.servers import FakeApi, model_server, refused


@dataclass
class Model:
    """Streams answers; requests beyond `slots` wait."""

    slots: int = 100
    token_seconds: float = 0.002
    status: int = 200
    tail: bytes = b"data: [DONE]\n\n"
    bodies: list[Manifest] = field(default_factory=list)
    authorization: list[str | None] = field(default_factory=list)
    url: str = ""

    def __post_init__(self) -> None:
        self._free = asyncio.Semaphore(self.slots)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        self.authorization.append(request.headers.get("Authorization"))
        if self.status != 200:
            return web.Response(status=self.status, text="no")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        async with self._free:
            await response.write(_event({"choices": [{"delta": {"role": "assistant"}}]}))
            for _ in range(body["max_tokens"]):
                await asyncio.sleep(self.token_seconds)
                piece = {"delta": {"content": "x"}} if "messages" in body else {"text": "x"}
                await response.write(_event({"choices": [piece]}))
        text = body["messages"][0]["content"] if "messages" in body else body["prompt"]
        usage = {"prompt_tokens": 2 * len(text.split()), "completion_tokens": body["max_tokens"]}
        await response.write(_event({"choices": [], "usage": usage}) + self.tail)
        return response


def _event(data: Manifest) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


@pytest.fixture
async def model() -> AsyncIterator[Model]:
    served = Model()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", served.answer)
    app.router.add_post("/v1/completions", served.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        served.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        yield served
    finally:
        await runner.cleanup()


SHORT = ("--prompt-tokens", "40", "--output-tokens", "5", "--level-time", "200ms", "--max-concurrency", "4")


async def test_levels_rise_until_the_end(api: FakeApi, capsys: pytest.CaptureFixture[str], model: Model) -> None:
    api.serve(model_server(spec={"model": {"uri": "hf://a/b", "name": "phi"}}))
    assert await api.run("bench", "chat", "--url", model.url, *SHORT, "-o", "json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert [level["concurrency"] for level in answer["levels"]] == [1, 2, 4]
    assert all(level["failed"] == 0 and level["withinGoalPercent"] == 100 for level in answer["levels"])
    assert answer["endedBy"] == "--max-concurrency"
    assert answer["promptTokens"] == 40
    assert answer["capacity"]["requestsPerSecond"] > 0
    assert {body["model"] for body in model.bodies} == {"phi"}
    assert all(body["stream"] and body["ignore_eos"] for body in model.bodies)
    prompts = [body["messages"][0]["content"] for body in model.bodies]
    assert len(set(prompts)) == len(prompts)  # none can come from a prefix cache


async def test_the_goal_ends_it(api: FakeApi, capsys: pytest.CaptureFixture[str], model: Model) -> None:
    api.serve(model_server(capacity={"requestsPerSecond": "4", "samples": 9}))
    argv = ("bench", "chat", "--url", model.url, *SHORT, "--tpot", "1ms")
    assert await api.run(*argv) == 0
    output = capsys.readouterr()
    assert "Even one request at a time misses the goal" in output.out
    assert "1 at once:" in output.err


async def test_completions_and_a_key(
    api: FakeApi, capsys: pytest.CaptureFixture[str], model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = {"model": {"uri": "hf://a/b", "task": "Completion"}, "expose": {"apiKeySecretName": "keys"}}
    api.serve(model_server(spec=spec))
    argv = ("bench", "chat", "--url", model.url, *SHORT, "--max-concurrency", "1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert "put the one of Secret keys into the environment" in await refused(api, capsys, *argv)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    assert await api.run(*argv) == 0
    assert "prompt" in model.bodies[0]
    assert set(model.authorization) == {"Bearer sk-1"}


@pytest.mark.parametrize(
    ("status", "tail", "message"),
    [
        (401, b"", "HTTP 401: no; is OPENAI_API_KEY right?"),
        (503, b"", "HTTP 503: no"),
        (200, b"", "the stream ended before [DONE]"),
        (200, b'data: {"error": "out of memory"}\n\n', "out of memory"),
    ],
)
async def test_a_first_request_that_fails(
    api: FakeApi, capsys: pytest.CaptureFixture[str], model: Model, status: int, tail: bytes, message: str
) -> None:
    api.serve(model_server())
    model.status, model.tail = status, tail
    assert await api.run("bench", "chat", "--url", model.url, *SHORT) == 1
    assert f"error: a first request failed: {message}" in capsys.readouterr().err


REFUSED: dict[str, tuple[Manifest, tuple[str, ...], str]] = {
    "apply": ({"scaling": {"mode": "Apply"}}, (), "in mode Apply: it will add replicas"),
    "task": ({"model": {"uri": "hf://a/b", "task": "Embedding"}}, (), "bench knows Chat, Vision, Completion"),
    "outside": ({"engine": "External", "external": {"url": "https://a"}}, (), "name its address with --url"),
}


@pytest.mark.parametrize(("spec", "argv", "message"), REFUSED.values(), ids=REFUSED)
async def test_refused(
    api: FakeApi, capsys: pytest.CaptureFixture[str], spec: Manifest, argv: tuple[str, ...], message: str
) -> None:
    api.serve(model_server(spec=spec))
    assert message in await refused(api, capsys, "bench", "chat", *argv)


def seen(concurrency: int, *, tpot: float = 0.01, cpu: float = 0.1, error: str | None = None) -> Level:
    """Ten answers of 11 tokens in one second, to so many requests at once."""
    first = 0.5 if error is None else None
    one = Outcome(0.0, 0.5 + 10 * tpot, first, 100, 11, error)
    return Level(concurrency, 0.0, 1.0, (one,) * 10, cpu)


LEARNT = {"requestsPerSecond": "20", "samples": 50, "promptTokens": "90", "outputTokens": "12"}
VERDICTS: dict[str, tuple[list[Level], str, str]] = {
    "the goal broke": ([seen(1), seen(2, tpot=1)], "the goal", "10 requests/s, 1 at once, at least 95% of them within"),
    "not broken": ([seen(1)], "--max-concurrency", "--max-concurrency ended the test before the goal broke"),
    "not closely": ([seen(1), seen(8, tpot=1)], "--max-time", "ended the test before it was known more closely"),
    "never kept": ([seen(1, tpot=1)], "the goal", "Even one request at a time misses the goal"),
    "failed": ([seen(1, error="HTTP 500")], "the goal", "10 requests failed, the first with: HTTP 500"),
    "a busy client": ([seen(1, cpu=0.97)], "the goal", "a CPU of this machine busy for 97% of the time"),
    "learnt": ([seen(1)], "the goal", "20 requests/s from 50 samples of 90 prompt and 12 output tokens: 50% of it was"),
}


@pytest.mark.parametrize(("levels", "ended_by", "expected"), VERDICTS.values(), ids=VERDICTS)
def test_what_it_means(levels: list[Level], ended_by: str, expected: str) -> None:
    measured = Measured("replica chat-0", Goal(1.0, 0.1), 100.0, tuple(levels), ended_by)
    assert expected in text(measured, Server(model_server(capacity=LEARNT)))


def test_nothing_learnt_yet() -> None:
    measured = Measured("replica chat-0", Goal(1.0, 0.1), 100.0, (seen(1),), "the goal")
    assert text(measured, Server(model_server())).endswith("The operator has not learnt its capacity yet.")


def pod(name: str, *, ready: bool = True, **metadata: str) -> Manifest:
    return {
        "metadata": {"name": name, **metadata},
        "spec": {"containers": [{"ports": [{"name": "http", "containerPort": 8000}]}]},
        "status": {"conditions": [{"type": "Ready", "status": str(ready)}]},
    }


def test_which_replica() -> None:
    server = Server(model_server())
    pods = [pod("c"), pod("b"), pod("a", ready=False), pod("d", deletionTimestamp="2026-05-04T10:00:00Z")]
    assert choose(pods, None, server) == ("b", 8000)
    assert choose(pods, "c", server) == ("c", 8000)
    with pytest.raises(Exception, match="a is no replica that is ready; these are: b, c"):
        choose(pods, "a", server)
    with pytest.raises(Exception, match="no replica of prod/chat is ready"):
        choose([], None, server)
