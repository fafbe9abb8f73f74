"""Calls that wait for a person: who may decide, how often an approval counts, and what is written down of it."""

import io
import json
from typing import Any

import pytest

from agentfleet.runtime.audit import AuditLog
from agentfleet.runtime.gate import Gate
from agentfleet.runtime.hooks import Rejected
from agentfleet.runtime.runs import Runs
from agentfleet.runtime.strain import Strain
from agentfleet.runtime.types import Approval, Caller, Done, RunError, Verdict, Wanted
from e2e.support.answers import Reply
from e2e.support.scripted import serving
from tests.runtime.parts import Bench, DictSessions, Function, PlainGuards, Script, config, read, runner, task


async def test_the_trail_tells_only_of_decisions_that_count() -> None:
    """Of whoever tries to decide another caller's call, or one that was decided, it tells that this was refused."""
    out = io.BytesIO()
    with serving() as model:
        model.replies.extend([Reply(calls=(("rm", "{}"),)), Reply("Done.")])
        settings = config(model.address)
        audit = AuditLog(settings, folder=None, key=None, out=out, clock=lambda: 1_800_000_000.0)
        async with runner(settings, [Function("rm", "gone", approval=True)]) as one:
            gate = Gate(settings.concurrency, Strain(), lambda: 0.0)
            runs = Runs(settings, one, gate, PlainGuards(), DictSessions(), audit, (), lambda: 0.0)
            waiting = await read(runs.run(task("remove it", session="s")))
            assert waiting.wanted is not None
            verdict = Verdict(waiting.wanted.approvals[0].id, True)
            said = task("", session="s", verdicts=(verdict,))
            for asked in (task("", session="s", verdicts=(verdict,), caller=Caller("bob")), said, said):
                try:
                    await read(runs.run(asked))
                except RunError as error:
                    assert error.status == 409
    lines = [json.loads(line) for line in out.getvalue().splitlines()][1:]
    assert [(line["kind"], line["caller"], line["decision"], line.get("tool")) for line in lines] == [
        ("approval", "alice", "wanted", "rm"),
        ("run", "alice", "approval", None),
        ("run", "bob", "refused", None),
        ("approval", "alice", "approved", "rm"),
        ("run", "alice", "ok", None),
        ("run", "alice", "refused", None),
    ]


async def test_an_approval_of_a_client_without_a_session_rests_in_one_of_its_own() -> None:
    wanted = Wanted((Approval("a1", "rm", "{}"),))
    bench = Bench(Script(wanted, Done("approval")))
    answer = await bench.ask()
    assert answer.wanted is not None
    assert answer.wanted.session is not None
    assert answer.wanted.session.startswith("run-")
    assert bench.sessions.kept == {f"alice/{answer.wanted.session}": {"turns": 1}}
    assert bench.audit.asked == [wanted.approvals]
    assert bench.record.outcome == "approval"


async def test_who_asks_for_an_approval_has_not_answered_yet() -> None:
    """Guardrails that look at whole answers judge the one that follows: answers in JSON, and tools that wait, go
    together."""

    def end() -> str:
        raise Rejected("JSONSchema 1")

    wanted = Wanted((Approval("a1", "rm", "{}"),))
    waits, answers = Bench(Script(wanted, Done("approval"))), Bench(Script(Done("stop")))
    for bench in (waits, answers):
        bench.guards.end = end
    assert (await waits.ask(task(session="s"))).wanted == wanted
    assert (await answers.ask(task(session="s"))).done.finish == "content_filter"


async def test_an_approval_is_good_for_one_try() -> None:
    """The tool has run, the model then fails: the same approval must not run the tool again."""
    with serving() as model:
        model.replies.append(Reply(calls=(("rm", "{}"),)))
        tool = Function("rm", "gone", approval=True)
        async with runner(config(model.address), [tool]) as one:
            bench = Bench(one)
            answer = await bench.ask(task(session="s"))
            assert answer.wanted is not None
            verdict = Verdict(answer.wanted.approvals[0].id, True)
            model.play("status=500")
            assert (await bench.ask(task("", session="s", verdicts=(verdict,)))).done.finish == "fallback"
            assert len(tool.calls) == 1
            model.play("")
            with pytest.raises(RunError) as again:
                await bench.ask(task("", session="s", verdicts=(verdict,)))
            assert again.value.status == 409
            model.replies.append(Reply("Let us go on."))
            assert (await bench.ask(task("hello?", session="s"))).text == "Let us go on."
    assert len(tool.calls) == 1
    assert bench.audit.said == [((answer.wanted.approvals[0], verdict),)]


async def test_a_wrong_id_leaves_the_approval_open() -> None:
    with serving() as model:
        model.replies.extend([Reply(calls=(("rm", "{}"),)), Reply("Done.")])
        tool = Function("rm", "gone", approval=True)
        async with runner(config(model.address), [tool]) as one:
            bench = Bench(one)
            answer = await bench.ask(task(session="s"))
            assert answer.wanted is not None
            with pytest.raises(RunError):
                await bench.ask(task("", session="s", verdicts=(Verdict("other", True),)))
            assert not bench.audit.said, "nobody has approved anything"
            verdicts = (Verdict(answer.wanted.approvals[0].id, True),)
            assert (await bench.ask(task("", session="s", verdicts=verdicts))).text == "Done."
        state: dict[str, Any] = json.loads(json.dumps(bench.sessions.kept["alice/s"]))
    assert len(tool.calls) == 1
    assert set(state) == {"session"}
