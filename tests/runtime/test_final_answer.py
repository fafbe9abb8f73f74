"""A model that talks before it calls tools, where the answer is to be JSON: only what it says last is the answer."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from agentfleet.runtime.config import Guardrail, Guardrails
from agentfleet.runtime.guardrails import Guards
from agentfleet.runtime.types import Done, Sampling, Usage
from e2e.support.answers import Reply
from e2e.support.scripted import Server, serving
from tests.runtime.parts import Bench, Function, config, read, runner, task

SCHEMA = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
SHAPED = Guardrails(output=(Guardrail("JSONSchema", "Reject", json_schema=SCHEMA),))
FORM = {"type": "json_schema", "json_schema": {"name": "sum", "schema": SCHEMA}}
CALL = (("add", '{"a": 1}'),)
CHAT = (Reply("Let me see.", calls=CALL, tokens=(10, 2)), Reply("Once more.", calls=CALL, tokens=(10, 2)))

both_ways = pytest.mark.parametrize("stream", [True, False])


@pytest.fixture
def model() -> Iterator[Server]:
    with serving() as server:
        yield server


@both_ways
@pytest.mark.parametrize(
    ("guardrails", "form", "said"),
    [
        (SHAPED, None, '{"sum": 3}'),
        (Guardrails(), FORM, '{"sum": 3}'),
        (Guardrails(), {"type": "json_object"}, '{"sum": 3}'),
        (Guardrails(), {"type": "text"}, 'Let me see.Once more.{"sum": 3}'),
        (
            Guardrails(output=(Guardrail("MaxLength", "Reject", max_length=99),)),
            None,
            'Let me see.Once more.{"sum": 3}',
        ),
    ],
    ids=["guardrail", "json_schema", "json_object", "text", "another guardrail"],
)
async def test_who_wants_json_gets_what_is_said_last(
    model: Server, stream: bool, guardrails: Guardrails, form: dict[str, Any] | None, said: str
) -> None:
    model.replies.extend([*CHAT, Reply('{"sum": 3}', tokens=(10, 2))])
    settings = config(model.address, guardrails=guardrails)
    async with runner(settings, [Function()]) as one:
        bench = Bench(one, settings)
        bench.guards.output = Guards(guardrails, lambda *_: None).output  # type: ignore[method-assign]
        answer = await bench.ask(task(stream=stream, session="s", sampling=Sampling(response_format=form)))
    assert answer.text == said
    assert answer.done == Done("stop", Usage(30, 6, 3))
    assert "Let me see." in json.dumps(bench.sessions.kept), "the model knows what it has said"


@both_ways
async def test_what_is_said_last_is_judged(model: Server, stream: bool) -> None:
    model.replies.extend([Reply('{"sum": 3}', calls=CALL), Reply("It is 3.")])
    settings = config(model.address, guardrails=SHAPED)
    async with runner(settings, [Function()]) as one:
        bench = Bench(one, settings)
        bench.guards.output = Guards(SHAPED, lambda *_: None).output  # type: ignore[method-assign]
        answer = await bench.ask(task(stream=stream))
    assert (answer.text, answer.done.finish) == ("", "content_filter")


@both_ways
async def test_who_asks_for_an_approval_has_given_no_json_yet(model: Server, stream: bool) -> None:
    model.replies.append(Reply("May I?", calls=CALL))
    settings = config(model.address, guardrails=SHAPED)
    tool = Function(approval=True)
    async with runner(settings, [tool]) as one:
        bench = Bench(one, settings)
        bench.guards.output = Guards(SHAPED, lambda *_: None).output  # type: ignore[method-assign]
        paused = await bench.ask(task(stream=stream, session="s"))
    assert (paused.text, paused.done.finish) == ("", "approval")


async def test_without_tools_json_streams(model: Server) -> None:
    """There is no call that could follow, so nothing is held."""
    model.replies.append(Reply('{"sum": 3}'))
    async with runner(config(model.address)) as one:
        answer = await read(one.run(task(sampling=replace(Sampling(), response_format=FORM)), {}))
    assert answer.text == '{"sum": 3}'
    assert len(answer.texts) > 1
