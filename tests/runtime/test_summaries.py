"""A long conversation of an agent's process: the model itself sums up what goes, over HTTP, for whoever is asking."""

import json
from pathlib import Path
from typing import Any

from agentfleet.runtime.compaction import RECALL
from agentfleet.runtime.config import SessionStore
from e2e.support.answers import Reply
from e2e.support.scripted import Server, serving
from tests.runtime.process import Agent, settings, started

SUMMARY = "The guest is Ann and wants room 7."


async def test_the_model_sums_up_what_a_session_forgets(tmp_path: Path) -> None:
    store = SessionStore("Memory", compaction="Summarize", compaction_tokens=100)
    with serving() as model:
        summed, asked = _answering(model)
        async with started(tmp_path, settings(model, tmp_path, session=store)) as agent:
            await agent.answers("/readyz", 200)
            for number, text in enumerate(("I am Ann, room 7.", "x" * 400, "Who am I?")):
                assert await _said(agent, text, f"turn-{number}") == "noted"
            headers = [each.headers for each in model.requests]
    assert "user: I am Ann, room 7." in summed[0]
    assert "assistant: noted" in summed[0]
    told = [message["content"] for message in asked[-1]]
    assert told == ["You help.", RECALL, SUMMARY, "x" * 400, "noted", "Who am I?"]
    ids = [each["x-request-id"] for each in headers if "x-request-id" in each]
    assert ids[:3] == ["turn-0", "turn-1", "turn-1"], "the summary is part of the run that it is made for"


async def test_a_summary_that_the_model_refuses_costs_the_turns_alone(tmp_path: Path) -> None:
    store = SessionStore("Memory", compaction="Summarize", compaction_tokens=100)
    with serving() as model:
        _, asked = _answering(model, summary=None)
        async with started(tmp_path, settings(model, tmp_path, session=store)) as agent:
            await agent.answers("/readyz", 200)
            for number, text in enumerate(("I am Ann, room 7.", "x" * 400, "Who am I?")):
                assert await _said(agent, text, f"turn-{number}") == "noted"
    assert [message["content"] for message in asked[-1]] == ["You help.", "x" * 400, "noted", "Who am I?"]
    assert "room 7" not in agent.log.read_text()


def _answering(model: Server, summary: str | None = SUMMARY) -> tuple[list[str], list[list[dict[str, Any]]]]:
    """What the model is asked to sum up from now on, and the conversations that it is asked to go on with."""
    summed: list[str] = []
    asked: list[list[dict[str, Any]]] = []

    def reply(body: dict[str, Any]) -> Reply:
        messages = body["messages"]
        if not messages[0]["content"].startswith("Summarize the conversation"):
            asked.append(messages)
            return Reply("noted")
        summed.append(messages[1]["content"])
        if summary is None:
            raise ValueError("no summary")
        return Reply(summary)

    model.reply_to = reply
    return summed, asked


async def _said(agent: Agent, text: str, request: str) -> str:
    headers = {"x-session-id": "s", "x-request-id": request}
    body = {"messages": [{"role": "user", "content": text}]}
    answer = await agent.http.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    said: str = json.loads(answer.text)["choices"][0]["message"]["content"]
    return said
