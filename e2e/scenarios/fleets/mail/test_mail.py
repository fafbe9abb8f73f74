"""Mails get labels and drafts of replies, and the model reads none of the personal data in them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from e2e.scenarios import agents
from e2e.scenarios.fleets.fleet import Fleet, called, told
from e2e.support.answers import Reply

AGENT, ACCOUNT = "mail-triage", "mailbox"
MAIL = "From: ann@example.com\nI was charged twice, on card 4539 1488 0343 6467. Please call 212-555-0173."
_DRAFT = called("draft_reply", subject="Charged twice", body="We look into it.")


@pytest.mark.parametrize(("label", "urgent"), [("billing", True), ("spam", False)])
def test_a_mail_gets_its_label(fleet: Fleet, label: str, urgent: bool) -> None:
    fleet.says(Reply(json.dumps({"label": label, "urgent": urgent})))
    with fleet.caller(AGENT, ACCOUNT) as mailbox:
        said = mailbox.ask(MAIL)
    assert json.loads(said.text) == {"label": label, "urgent": urgent}


def test_the_model_reads_no_personal_data(fleet: Fleet) -> None:
    fleet.says(Reply('{"label": "billing", "urgent": true}'))
    with fleet.caller(AGENT, ACCOUNT) as mailbox:
        mailbox.ask(MAIL)
    read = fleet.heard()["messages"][-1]["content"]
    assert read == "From: [EMAIL]\nI was charged twice, on card [CREDIT_CARD]. Please call [PHONE]."


@pytest.mark.parametrize(
    "answer", ['{"label": "angry", "urgent": true}', '{"label": "billing"}', "This one is about billing."]
)
def test_another_label_does_not_get_out(fleet: Fleet, answer: str) -> None:
    """Programs read the labels, so there is no other one, and no prose."""
    fleet.says(Reply(answer))
    with fleet.caller(AGENT, ACCOUNT) as mailbox:
        said = mailbox.ask(MAIL)
    assert (said.finish, said.text) == ("content_filter", "")


def test_a_reply_is_drafted_when_a_person_allows_it(fleet: Fleet) -> None:
    """Without a session: the conversation is the client's, and the call that waits names where the run rests."""
    labelled = '{"label": "billing", "urgent": true, "draft": "draft-1"}'
    fleet.says(_DRAFT, Reply(labelled))
    assert _decided(fleet, {"approved": True}, user="ann") == labelled
    (result,) = fleet.results()
    assert '"subject":"Re: Charged twice"' in result
    assert len(fleet.audited(AGENT, "tool", user="ann", tool="draft_reply", decision="ok")) == 1


def test_a_reply_that_a_person_refuses_is_not_drafted(fleet: Fleet) -> None:
    labelled = '{"label": "billing", "urgent": true}'
    fleet.says(_DRAFT, Reply(labelled))
    assert _decided(fleet, {"approved": False, "reason": "I write myself"}, user="bob") == labelled
    (result,) = fleet.results()
    assert "Re: Charged twice" not in result
    fleet.audited(AGENT, "run", user="bob", decision="ok")
    assert told(agents.audit(fleet.scenario, AGENT), "approval", user="bob", decision="rejected")
    assert not told(agents.audit(fleet.scenario, AGENT), "tool", user="bob", decision="ok")


def _decided(fleet: Fleet, verdict: dict[str, Any], *, user: str) -> str:
    """What the agent says of the mail once a person has decided about its draft."""
    mail = {"role": "user", "content": MAIL}
    with fleet.caller(AGENT, ACCOUNT) as mailbox:
        waiting = mailbox.send([mail], user=user)
        assert (waiting.finish, list(waiting.calls.values())) == ("tool_calls", ["draft_reply"])
        verdicts = [{"role": "tool", "tool_call_id": call, "content": json.dumps(verdict)} for call in waiting.calls]
        return mailbox.send([mail, *verdicts], user=user).text
