"""One entry for customer service and technical support: who is meant answers, and knows who asked, through a route."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest

from e2e.scenarios import routes
from e2e.scenarios.fleets.fleet import Fleet, called
from e2e.support.answers import Reply

ROUTE = "helpdesk"
WEBSITE, BACK_OFFICE, PARTNER = "sk-website", "sk-back-office", "sk-partner"
_REQUEST = "I need to schedule a callback for a technical issue"
_DESK, _ENGINEER = "You are a customer service agent.", "You are a technical support agent."


def _choice(name: str) -> Reply:
    """The model's answer to which agent a request is meant for."""
    return Reply(text=json.dumps({"choice": name}))


def _asked(fleet: Fleet) -> str:
    """Whose instructions the model had in its last request."""
    system = fleet.heard()["messages"][0]["content"]
    return next((words for words in (_DESK, _ENGINEER) if words in system), system)


def test_the_agent_that_is_meant_answers_with_its_own_tools(fleet: Fleet) -> None:
    fleet.says(
        _choice("customer-service"),
        called("schedule_callback", customer_id="C-1001", when="2026-05-04T15:30"),
        Reply(text="{result}"),
    )
    with fleet.through(ROUTE, WEBSITE) as website:
        answer = website.ask(_REQUEST)
    assert "C-1001 is called back on Monday, 04 May at 15:30" in answer.text
    assert _asked(fleet) == _DESK


def test_members_know_who_asked(fleet: Fleet) -> None:
    fleet.says(_choice("technical-support"), Reply(text="Which device?"))
    with fleet.through(ROUTE, WEBSITE) as website:
        assert website.ask(_REQUEST).text == "Which device?"
    assert fleet.audited("technical-support", "run", caller="website", groups=["customers"], decision="ok")


@pytest.mark.parametrize(
    ("text", "instructions"),
    [
        ("Run diagnostics on my devices, there are problems", _ENGINEER),
        ("I want refunds for my orders", _DESK),
        ("Hello there", _ENGINEER),  # technical support when nothing tells
    ],
)
def test_words_decide_where_the_model_is_unsure(fleet: Fleet, text: str, instructions: str) -> None:
    fleet.says(_choice("unsure"), Reply(text="How can I help?"))
    with fleet.through(ROUTE, WEBSITE) as website:
        assert website.ask(text).text == "How can I help?"
    assert _asked(fleet) == instructions


def test_a_conversation_stays_with_who_answered(fleet: Fleet) -> None:
    fleet.says(_choice("customer-service"), Reply(text="Shall I?"), _choice("unsure"), Reply(text="Done."))
    with fleet.through(ROUTE, WEBSITE) as website:
        website.ask("Please cancel O-78", session="visit-7")
        assert website.ask("Yes, please", session="visit-7").text == "Done."
    said = [each["content"] for each in fleet.heard()["messages"] if each["role"] != "system"]
    assert said == ["Please cancel O-78", "Shall I?", "Yes, please"]
    assert _asked(fleet) == _DESK


def test_answers_stream_through_route_and_agents(fleet: Fleet) -> None:
    fleet.says(_choice("customer-service"), Reply(text="one two three four"))
    with fleet.through(ROUTE, WEBSITE) as website:
        message: Any = {"role": "user", "content": "Count my orders"}
        stream = website.client.chat.completions.create(model="auto", messages=[message], stream=True)
        pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert "".join(pieces) == "one two three four"
    assert len([piece for piece in pieces if piece]) > 1


def test_who_knows_the_agent_names_it(fleet: Fleet) -> None:
    with fleet.through(ROUTE, BACK_OFFICE) as staff:
        listed = {model.id for model in staff.client.models.list()}
        assert listed >= {"auto", "agent/helpdesk", "agent/customer-service", "agent/technical-support"}
        fleet.says(Reply(text="At your service."))
        assert staff.ask("Hello", model="agent/customer-service").text == "At your service."
    assert _asked(fleet) == _DESK


@pytest.mark.parametrize(
    ("agent_type", "used"),
    [("customer_service", "customer-service"), ("technical", "technical-support"), ("general", "helpdesk")],
)
def test_chat_of_the_route_by_agent_type(fleet: Fleet, agent_type: str, used: str) -> None:
    fleet.says(*([_choice("customer-service")] if used == "helpdesk" else []), Reply(text="Hello!"))
    with routes.route(fleet.scenario, ROUTE) as route:
        response = httpx.post(
            f"http://{route.address}/chat",
            json={"message": "Hello", "agent_type": agent_type},
            headers={"Authorization": f"Bearer {BACK_OFFICE}"},
            trust_env=False,
            timeout=60,
        )
    told = response.json()
    assert (response.status_code, told["response"], told["agent_used"]) == (200, "Hello!", used), told
    assert told["processing_time"] > 0


def test_access_is_the_agents_own(fleet: Fleet) -> None:
    before = fleet.requests
    with fleet.through(ROUTE, PARTNER) as partner, pytest.raises(openai.PermissionDeniedError):
        partner.ask("Hello")
    with fleet.through(ROUTE, "sk-guessed") as stranger, pytest.raises(openai.AuthenticationError):
        stranger.ask("Hello")
    with fleet.caller("helpdesk") as pod, pytest.raises(openai.PermissionDeniedError):
        pod.ask("Hello")  # a token proves who it is, and that is nobody who may ask
    assert fleet.requests == before


def test_a_model_that_fails_while_choosing_stops_nobody(fleet: Fleet) -> None:
    fleet.says(Reply(text="Which order?"))
    with fleet.playing("status=503,times=2"), fleet.through(ROUTE, WEBSITE) as website:
        assert website.ask("I want refunds for my orders").text == "Which order?"
    assert _asked(fleet) == _DESK


def test_a_member_that_fails_says_so_in_its_own_kind_words(fleet: Fleet) -> None:
    with fleet.playing("status=503"), fleet.through(ROUTE, WEBSITE) as website:
        answer = website.ask("I want refunds for my orders")
    assert answer.text.startswith("I am sorry, I cannot look that up right now.")
    assert answer.fallback
