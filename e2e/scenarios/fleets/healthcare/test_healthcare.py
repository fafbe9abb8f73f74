"""Patients of a practice: what they say stays there, and what matters is allowed by a person and written down."""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import openai
import pytest

from e2e.cluster import CommandError
from e2e.cluster.shell import run
from e2e.scenarios import agents
from e2e.scenarios.fleets.fleet import Caller, Fleet, called
from e2e.scenarios.kube import Manifest
from e2e.support.answers import Reply

AGENT, ACCOUNT = "patient-support", "reception"
_TUESDAY = {"department": "cardiology", "date": "2026-11-24"}
_BOOKING = {**_TUESDAY, "patient_id": "P-1007", "time": "09:30"}
_OWN, _GUESS = "violet-otter-52", "a-guess"
"""Tokens."""
_CASE = "case-7"
_WORDS = ("cardiolog", "09:30", _OWN, _GUESS, "AB negative", "blood group", "536-22-8726", "ann@example.com")
"""Of what was said, in and out."""
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+")
"""When a line was written, which is at 09:30 now and then."""


def test_free_appointments_are_told(fleet: Fleet) -> None:
    fleet.says(called("check_appointment_availability", **_TUESDAY), Reply("On Tuesday there are 09:30 and 14:00."))
    with fleet.caller(AGENT, ACCOUNT) as patient:
        said = patient.ask("When can I see the cardiologist?")
    assert said.text == "On Tuesday there are 09:30 and 14:00."
    (result,) = fleet.results()
    assert '"09:30"' in result
    assert '"14:00"' in result


@pytest.mark.parametrize(
    ("token", "answer"), [(_OWN, "AB negative"), (_GUESS, "this is not the token of that patient")]
)
def test_the_portal_opens_for_the_patients_token_alone(fleet: Fleet, token: str, answer: str) -> None:
    fleet.says(called("access_patient_portal", patient_id="P-1007", token=token), Reply("I have looked."))
    with fleet.caller(AGENT, ACCOUNT) as patient:
        assert patient.ask("What is my blood group?").text == "I have looked."
    (result,) = fleet.results()
    assert answer in result
    assert ("AB negative" in result) == (token == _OWN)


def test_an_appointment_waits_for_a_person(fleet: Fleet) -> None:
    fleet.says(called("book_appointment", **_BOOKING), Reply("It is booked."))
    with fleet.caller(AGENT, ACCOUNT) as patient:
        waiting = patient.ask("Book 09:30, please.", session="allowed")
        assert waiting.finish == "tool_calls"
        assert list(waiting.calls.values()) == ["book_appointment"]
        assert _decided(patient, list(waiting.calls), session="allowed", approved=True) == "It is booked."
    (result,) = fleet.results()
    assert "cardiology-2026-11-24-09:30" in result


def test_what_a_person_refuses_is_not_done(fleet: Fleet) -> None:
    fleet.says(called("book_appointment", **_BOOKING), Reply("The reception has refused it."))
    with fleet.caller(AGENT, ACCOUNT) as patient:
        waiting = patient.ask("Book 09:30, please.", session="refused")
        assert list(waiting.calls.values()) == ["book_appointment"]
        said = _decided(patient, list(waiting.calls), session="refused", approved=False)
    assert said == "The reception has refused it."
    (result,) = fleet.results()
    assert "cardiology-2026-11-24-09:30" not in result


def test_personal_data_is_masked_on_its_way_in_and_out(fleet: Fleet) -> None:
    fleet.says(Reply("We write to ann@example.com or call 212-555-0173."))
    with fleet.caller(AGENT, ACCOUNT) as patient:
        said = patient.ask("My number is 536-22-8726, my mail ann@example.com.")
    assert said.text == "We write to [EMAIL] or call [PHONE]."
    assert fleet.heard()["messages"][-1]["content"] == "My number is [SSN], my mail [EMAIL]."


def test_nobody_else_is_let_in(fleet: Fleet) -> None:
    with fleet.caller(AGENT, "default") as somebody, pytest.raises(openai.PermissionDeniedError):
        somebody.ask("Hello")
    assert fleet.audited(AGENT, "refusal", status=403)


def test_a_model_in_a_cloud_is_refused(fleet: Fleet) -> None:
    with pytest.raises(CommandError) as refused:
        fleet.scenario.kubectl("apply", f"--filename={fleet.folder / 'in_a_cloud.yaml'}")
    assert "Private and Offline (and compliance) take no model in a cloud" in str(refused.value)


def test_each_step_is_in_the_audit_and_no_word_of_it(fleet: Fleet, tmp_path: Path) -> None:
    """Who did what is written down, in lines of which none can be taken away; what was said is in no log."""
    guess = called("access_patient_portal", patient_id="P-1007", token=_GUESS)
    fleet.says(guess, called("book_appointment", **_BOOKING), Reply("It is booked at 09:30."))
    with fleet.caller(AGENT, ACCOUNT) as patient:
        waiting = patient.ask("Book the cardiologist, I am ann@example.com.", session="audited", user=_CASE)
        _decided(patient, list(waiting.calls), session="audited", approved=True, user=_CASE)
    fleet.audited(AGENT, "run", least=2, user=_CASE)
    trail = agents.audit(fleet.scenario, AGENT)
    ours = [line for line in trail if line.get("user") == _CASE]
    assert [(line["kind"], line.get("tool"), line["decision"]) for line in ours] == [
        ("guardrail", None, "masked"),
        ("tool", "access_patient_portal", "error"),
        ("approval", "book_appointment", "wanted"),
        ("run", None, "approval"),
        ("approval", "book_appointment", "approved"),
        ("tool", "book_appointment", "ok"),
        ("run", None, "ok"),
    ]
    account = f"system:serviceaccount:{fleet.scenario.namespace}:{ACCOUNT}"
    assert {(line["caller"], line["mode"]) for line in ours} == {(account, "Private")}
    log = _STAMP.sub("", agents.log(fleet.scenario, AGENT))
    assert [word for word in _WORDS if word in log] == []
    key = _key(fleet, tmp_path)
    assert "whole" in _verified(trail, key)
    with pytest.raises(CommandError) as found:
        _verified([line for line in trail if line is not ours[4]], key)
    assert found.value.returncode == 3


def _key(fleet: Fleet, folder: Path) -> Path:
    """What the lines are chained with."""
    secret = fleet.scenario.kube.get("Secret", "agentfleet-identity", fleet.scenario.namespace)
    assert secret is not None
    (folder / "key").write_bytes(base64.b64decode(secret["data"]["key"]))
    return folder / "key"


def _decided(patient: Caller, calls: Sequence[str], *, session: str, approved: bool, user: str = "") -> str:
    """What the agent says once a person has decided about all calls."""
    verdict = json.dumps({"approved": approved})
    verdicts = [{"role": "tool", "tool_call_id": call, "content": verdict} for call in calls]
    return patient.send(verdicts, session=session, user=user).text


def _verified(trail: Sequence[Manifest], key: Path) -> str:
    """What `kubectl agentfleet audit verify` says; CommandError where they are not whole."""
    argv = [sys.executable, "-m", "agentfleet.cli", "audit", "verify", "-", f"--key={key}"]
    return run(argv, stdin="\n".join(map(json.dumps, trail)))
