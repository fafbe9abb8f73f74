"""Customer service: its functions run with what the model says, conversations last, failures are told kindly."""

from __future__ import annotations

from e2e.scenarios.fleets.fleet import Fleet, called
from e2e.support.answers import Reply

AGENT = "customer-service"
_SORRY = "I am sorry, I cannot look that up right now. Please call us, or try again in a minute."


def test_a_function_runs_with_what_the_model_says_and_its_result_is_answered(fleet: Fleet) -> None:
    fleet.says(called("lookup_customer", customer_id="C-1001"), Reply(text="Here you are: {result}"))
    with fleet.caller(AGENT) as website:
        answer = website.ask("Who is C-1001?")
    assert "Ann Shaw" in answer.text
    assert "gold" in answer.text
    assert answer.finish == "stop"
    (result,) = fleet.results()
    assert "Ann Shaw" in result


def test_docstrings_and_types_are_what_the_model_reads(fleet: Fleet) -> None:
    fleet.says(Reply(text="Hello!"))
    with fleet.caller(AGENT) as website:
        assert website.ask("Hello").text == "Hello!"
    tools = fleet.tools()
    assert set(tools) == {
        "lookup_customer",
        "lookup_order_status",
        "create_ticket",
        "schedule_callback",
        "escalate_to_human",
    }
    priority = tools["create_ticket"]["properties"]["priority"]
    assert (priority["enum"], priority["default"]) == (["low", "medium", "high"], "medium")
    assert priority["description"] == "How soon it must be looked at."
    assert tools["create_ticket"]["required"] == ["customer_id", "issue"]


def test_several_calls_of_one_run(fleet: Fleet) -> None:
    fleet.says(
        called("lookup_order_status", order_id="O-78"),
        called("create_ticket", customer_id="C-1002", issue="O-78 was paid on Monday"),
        called("schedule_callback", customer_id="C-1002", when="2026-05-04T15:30"),
        Reply(text="Done: {result}"),
    )
    with fleet.caller(AGENT) as website:
        answer = website.ask("I have paid O-78! Call me back on Monday, half past three.")
    assert "C-1002 is called back on Monday, 04 May at 15:30" in answer.text
    status, ticket, _ = fleet.results()
    assert "waits for payment" in status
    assert "O-78 was paid on Monday" in ticket
    assert "medium" in ticket  # nobody said how soon


def test_what_a_model_gets_wrong_is_told_to_it_and_not_done(fleet: Fleet) -> None:
    fleet.says(
        called("create_ticket", customer_id="C-1001", issue="Broken", priority="yesterday"),
        called("lookup_customer", customer_id="C-9"),
        called("refund_everything"),
        Reply(text="I could not do that."),
    )
    with fleet.caller(AGENT) as website:
        assert website.ask("It is broken!").text == "I could not do that."
    wrong, unknown, _ = fleet.results()
    assert "yesterday" in wrong
    assert "there is no customer C-9" in unknown


def test_a_conversation_lasts_and_belongs_to_its_caller(fleet: Fleet) -> None:
    fleet.scenario.kubectl("create", "serviceaccount", "another-website")
    fleet.says(Reply(text="Hello Ann."), Reply(text="You are Ann."), Reply(text="I do not know you."))
    with fleet.caller(AGENT) as website:
        website.ask("I am Ann, C-1001.", session="visit-1")
        assert website.ask("Who am I?", session="visit-1").text == "You are Ann."
        said = [each["content"] for each in fleet.heard()["messages"] if each["role"] != "system"]
    assert said == ["I am Ann, C-1001.", "Hello Ann.", "Who am I?"]
    with fleet.caller(AGENT, "another-website") as stranger:
        stranger.ask("Who am I?", session="visit-1")
        said = [each["content"] for each in fleet.heard()["messages"] if each["role"] != "system"]
    assert said == ["Who am I?"]


def test_a_model_that_fails_is_told_kindly_and_the_cause_is_in_the_audit(fleet: Fleet) -> None:
    with fleet.playing("status=503"), fleet.caller(AGENT) as website:
        answer = website.ask("Where is O-77?")
    assert (answer.text, answer.finish, answer.fallback) == (_SORRY, "stop", True)
    assert fleet.audited(AGENT, "run", decision="fallback")
    fleet.says(called("lookup_order_status", order_id="O-77"), Reply(text="{result}"))
    with fleet.caller(AGENT) as website:
        assert "arrives on Tuesday" in website.ask("And now?").text
