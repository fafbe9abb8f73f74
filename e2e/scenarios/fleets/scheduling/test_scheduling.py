"""Meetings and callbacks: a calendar asked over HTTP, and a conversation that outlives the pod it began in."""

from __future__ import annotations

from e2e.scenarios import agents
from e2e.scenarios.fleets.fleet import Fleet, called
from e2e.support.answers import Reply

AGENT, ACCOUNT = "scheduling", "front-desk"
_TUESDAY = {"day": "2026-11-24", "minutes": 30}
_MEETING = {**_TUESDAY, "time": "11:00", "title": "Review"}


def test_a_meeting_is_found_and_booked_in_one_conversation(fleet: Fleet) -> None:
    fleet.says(
        called("find_free_times", **_TUESDAY),
        Reply("On Tuesday 09:30, 11:00 and 15:30 are free."),
        called("book_meeting", **_MEETING),
        Reply("It is at 11:00."),
        called("find_free_times", **_TUESDAY),
        Reply("Now 09:30 and 15:30 are left."),
    )
    with fleet.caller(AGENT, ACCOUNT) as ann:
        assert "11:00" in ann.ask("When could we have the review?", session="review").text
        assert '"11:00"' in fleet.results()[-1]
        assert ann.ask("At 11:00, please.", session="review").text == "It is at 11:00."
        assert '"meeting": "M-1"' in fleet.results()[-1]
        ann.ask("What is left?", session="review")
    assert '"09:30", "15:30"' in fleet.results()[-1]


def test_a_time_that_is_taken_is_told_to_the_model(fleet: Fleet) -> None:
    taken = {**_MEETING, "time": "08:00"}
    fleet.says(called("book_meeting", **taken), Reply("That one is not free."))
    with fleet.caller(AGENT, ACCOUNT) as ann:
        assert ann.ask("At 8, please.").text == "That one is not free."
    assert "08:00 is not free" in fleet.results()[-1]


def test_arguments_that_do_not_fit_never_reach_the_calendar(fleet: Fleet) -> None:
    fleet.says(called("find_free_times", day="2026-11-24", minutes="soon"), Reply("How long shall it take?"))
    with fleet.caller(AGENT, ACCOUNT) as ann:
        assert ann.ask("Find a time.").text == "How long shall it take?"
    assert "minutes" in fleet.results()[-1]
    assert '"free"' not in fleet.results()[-1]


def test_a_callback_is_arranged(fleet: Fleet) -> None:
    fleet.says(
        called("get_current_time"),
        called("schedule_callback", phone="+43 1 5550173", when="2026-11-24T15:00", topic="billing"),
        Reply("We call you on Tuesday at three."),
    )
    with fleet.caller(AGENT, ACCOUNT) as ann:
        assert ann.ask("Call me on Tuesday at three.").text == "We call you on Tuesday at three."
    now, callback = fleet.results()
    assert "+00:00" in now
    assert '"when":"2026-11-24T15:00"' in callback
    assert '"topic":"billing"' in callback


def test_a_conversation_goes_on_after_its_pod_was_killed(fleet: Fleet) -> None:
    fleet.says(Reply("What about 09:30?"))
    with fleet.caller(AGENT, ACCOUNT) as ann:
        ann.ask("I am looking for half an hour on Tuesday.", session="kept")
    (killed,) = agents.pods(fleet.scenario, AGENT)
    fleet.scenario.kube.delete("Pod", killed, fleet.scenario.namespace, grace=0)
    fleet.scenario.until(lambda: _serving(fleet) not in (None, killed), "another pod serves", timeout=120)
    fleet.says(Reply("Half an hour, at 09:30 on Tuesday."))
    with fleet.caller(AGENT, ACCOUNT) as ann:
        assert ann.ask("Yes.", session="kept").text == "Half an hour, at 09:30 on Tuesday."
    spoken = [each["content"] for each in fleet.heard()["messages"] if each["role"] in ("user", "assistant")]
    assert spoken == ["I am looking for half an hour on Tuesday.", "What about 09:30?", "Yes."]


def _serving(fleet: Fleet) -> str | None:
    """The pod behind the agent's Service, None where there is none."""
    slices = fleet.scenario.kube.list(
        "EndpointSlice", fleet.scenario.namespace, labels=f"kubernetes.io/service-name={AGENT}-agent"
    )
    ready = [
        each["targetRef"]["name"]
        for found in slices
        for each in found.get("endpoints") or ()
        if each["conditions"].get("ready")
    ]
    return ready[0] if ready else None
