"""One run through gate, guardrails, session and Runner: order, failures, time limits, and what is written down."""

import asyncio
import threading
from contextlib import aclosing
from dataclasses import replace

import pytest

from agentfleet.runtime.config import Concurrency, Limits
from agentfleet.runtime.hooks import Rejected
from agentfleet.runtime.judging import LARGE
from agentfleet.runtime.types import (
    Caller,
    Delta,
    Done,
    Failure,
    Mode,
    RunError,
    Task,
    Turn,
    Usage,
)
from e2e.support.scripted import serving
from tests.runtime.parts import CALLER, Bench, Script, config, runner, task, until

ANSWER = (Delta("Hello "), Delta("you"), Done("stop", Usage(7, 3, 1)))


async def forever(_: Task) -> None:
    await asyncio.Event().wait()


async def test_an_answer_and_what_is_written_down() -> None:
    bench = Bench(Script(*ANSWER))
    answer = await bench.ask()
    assert (answer.text, answer.done) == ("Hello you", Done("stop", Usage(7, 3, 1)))
    record = bench.record
    assert (record.outcome, record.status, record.usage) == ("ok", 200, Usage(7, 3, 1))
    assert (record.input_characters, record.output_characters, record.answer) == (2, 9, "Hello you")
    assert bench.gate.running == 0


async def test_guardrails_see_what_goes_in_and_out() -> None:
    script = Script(*ANSWER)
    bench = Bench(script)
    bench.guards.change = lambda asked: replace(asked, turns=(Turn("user", "masked"),))
    bench.guards.feed = str.upper
    assert (await bench.ask()).text == "HELLO YOU"
    assert script.tasks[0].turns == (Turn("user", "masked"),)


async def test_an_answer_that_is_rejected_ends_and_is_not_remembered() -> None:
    def feed(text: str) -> str:
        if text == "you":
            raise Rejected("Regex 1")
        return text

    bench = Bench(Script(*ANSWER))
    bench.guards.feed = feed
    answer = await bench.ask(task(session="s"))
    assert (answer.text, answer.done.finish) == ("Hello ", "content_filter")
    assert (bench.record.outcome, bench.record.reason) == ("filtered", "Regex 1")
    assert not bench.sessions.kept


async def test_a_request_that_is_rejected_never_reaches_the_runner() -> None:
    def refuse(_: Task) -> Task:
        raise RunError(400, "content_filter", "PII")

    script = Script(*ANSWER)
    bench = Bench(script)
    bench.guards.change = refuse
    with pytest.raises(RunError, match="PII"):
        await bench.ask()
    assert not script.tasks
    assert bench.record.outcome == "filtered"


async def test_sessions_are_kept_for_those_who_name_one() -> None:
    bench = Bench(Script(*ANSWER))
    await bench.ask(task(session="s"))
    await bench.ask(task(session="s"))
    await bench.ask()
    assert bench.sessions.kept == {"alice/s": {"turns": 2}}
    assert [record.session for record in bench.audit.records] == ["alice/s", "alice/s", None]


@pytest.mark.parametrize("failure", [Failure(502, "model_unavailable", "away"), ValueError("a bug")])
async def test_a_failure_is_answered_kindly_and_logged(failure: Exception, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(Script(failure))
    answer = await bench.ask(task(session="s"))
    assert (answer.text, answer.done.finish) == (bench.config.fallback_reply, "fallback")
    assert (bench.record.outcome, bench.record.status) == ("fallback", 200)
    assert bench.record.reason in ("model_unavailable", "internal_error")
    assert caplog.records[-1].key == "req-1"  # type: ignore[attr-defined]
    assert not bench.sessions.kept


@pytest.mark.parametrize("mode", ["Standard", "Private"])
async def test_what_a_provider_says_is_not_logged(mode: Mode, caplog: pytest.LogCaptureFixture) -> None:
    """It may quote the prompt: types and statuses are."""
    with serving(script="status=500") as model:
        async with runner(config(model.address)) as one:
            await Bench(one).ask(task(caller=replace(CALLER, mode=mode)))
    [said] = [record.getMessage() for record in caplog.records if record.name == "agentfleet.runtime.runs"]
    assert said.endswith("from InternalServerError 500)")
    assert "scripted" not in caplog.text


async def test_a_bug_is_logged_without_texts_for_a_private_caller(caplog: pytest.LogCaptureFixture) -> None:
    for mode, told in (("Private", False), ("Standard", True)):
        caplog.clear()
        await Bench(Script(ValueError("they said xyzzy"))).ask(task(caller=replace(CALLER, mode=mode)))  # type: ignore[arg-type]
        assert ("xyzzy" in caplog.text) == told
        assert "ValueError" in caplog.text


async def test_what_is_written_down_is_what_the_guardrails_let_pass() -> None:
    bench = Bench(Script(*ANSWER))
    bench.guards.change = lambda asked: replace(asked, turns=(Turn("user", "my card is ***"),))
    await bench.ask(task("my card is 4539"))
    assert bench.audit.tasks[-1].turns == (Turn("user", "my card is ***"),)
    assert bench.record.input_characters == len("my card is 4539")


async def test_nothing_is_written_down_of_what_was_not_let_pass() -> None:
    def refuse(_: Task) -> Task:
        raise RunError(400, "content_filter", "Guardrail 1 (PII) refuses the input.")

    bench = Bench(Script(*ANSWER))
    bench.guards.change = refuse
    with pytest.raises(RunError):
        await bench.ask(task("my card is 4539"))
    assert (bench.audit.tasks[-1].turns, bench.record.input_characters) == ((), 15)


async def test_a_large_text_is_judged_aside() -> None:
    """Others go on meanwhile: the guardrail ends only once another run has."""
    bench, others = Bench(Script(*ANSWER)), threading.Event()

    def judged(asked: Task) -> Task:
        assert len(asked.turns[0].text) < LARGE or others.wait(30)
        return asked

    bench.guards.change = judged
    large = asyncio.create_task(bench.ask(task("x" * (LARGE + 1))))
    await until(lambda: bench.gate.running == 1)
    assert (await bench.ask()).text == "Hello you"
    assert not large.done()
    others.set()
    assert (await large).text == "Hello you"


async def test_a_large_answer_is_judged_aside() -> None:
    bench, others = Bench(Script(Delta("x" * (LARGE + 1)), Done())), threading.Event()
    bench.guards.feed = lambda text: text if others.wait(30) else ""
    large = asyncio.create_task(bench.ask())
    await until(lambda: bench.gate.running == 1)
    await asyncio.sleep(0)
    others.set()
    assert len((await large).text) == LARGE + 1


async def test_a_failure_in_the_middle_of_an_answer_is_an_error() -> None:
    bench = Bench(Script(Delta("Half"), Failure(502, "model_unavailable", "away")))
    with pytest.raises(RunError, match="away"):
        await bench.ask()
    assert (bench.record.outcome, bench.record.answer) == ("error", "Half")


async def test_without_a_fallback_reply_a_failure_is_an_error() -> None:
    bench = Bench(Script(Failure(502, "model_unavailable", "away")), config(fallback_reply=""))
    with pytest.raises(RunError) as failed:
        await bench.ask()
    assert failed.value.status == 502


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (RunError(429, "rate_limit_exceeded", "later", retry_after=3), "overload"),
        (RunError(400, "context_length_exceeded", "long"), "refused"),
        (RunError(409, "unknown_approval", "?"), "refused"),
        (RunError(503, "store_away", "?"), "error"),
    ],
)
async def test_what_the_caller_must_know_stays_an_error(error: RunError, outcome: str) -> None:
    bench = Bench(Script(error))
    with pytest.raises(RunError) as told:
        await bench.ask()
    assert told.value is error
    assert bench.record.outcome == outcome


async def test_the_time_limit_cancels_for_real() -> None:
    script = Script(before=forever)
    bench = Bench(script, config(limits=Limits(timeout=0.05)))
    with pytest.raises(RunError) as late:
        await bench.ask()
    assert (late.value.status, late.value.code) == (408, "run_timeout")
    assert (script.cancelled, script.under_way, bench.gate.running) == (1, 0, 0)
    assert bench.record.outcome == "timeout"


async def test_a_client_may_give_less_time_but_not_more() -> None:
    bench = Bench(Script(before=forever), config(limits=Limits(timeout=0.1)))
    with pytest.raises(RunError, match=r"within 0\.05 s"):
        await bench.ask(task(timeout=0.05))
    with pytest.raises(RunError, match=r"within 0\.1 s"):
        await bench.ask(task(timeout=60))


async def test_a_reader_that_stops_cancels_for_real() -> None:
    script = Script(Delta("a"), *(Delta("x") for _ in range(500)), Done())
    bench = Bench(script)
    async with aclosing(bench.runs.run(task())) as events:
        await anext(events)
        assert bench.gate.running == 1
    await until(lambda: bench.gate.running == 0)
    assert script.under_way == 0
    assert bench.record.outcome == "cancelled"


async def test_a_reader_that_never_reads_holds_its_place_no_longer_than_the_time_limit() -> None:
    script = Script(*(Delta("x") for _ in range(500)), Done())
    bench = Bench(script, config(limits=Limits(timeout=0.5)))
    async with aclosing(bench.runs.run(task())) as events:
        await anext(events)
        await until(lambda: bench.gate.running == 0)
    assert bench.record.outcome == "timeout"


async def test_never_more_at_once_than_there_are_places() -> None:
    async def moment(_: Task) -> None:
        await asyncio.sleep(0.001)

    script = Script(*ANSWER, before=moment)
    bench = Bench(script, config(concurrency=Concurrency(max=10, queue=90, queue_timeout=60)))
    answers = await asyncio.gather(*(bench.ask() for _ in range(200)), return_exceptions=True)
    refused = [each for each in answers if isinstance(each, RunError)]
    assert script.peak == 10
    assert len(refused) == 100
    assert {error.status for error in refused} == {429}
    assert [record.outcome for record in bench.audit.records].count("overload") == 100
    assert (bench.gate.running, bench.gate.waiting) == (0, 0)


async def test_turns_of_one_session_leave_places_to_others() -> None:
    script = Script(before=forever)
    bench = Bench(script, config(concurrency=Concurrency(max=3, queue=5, queue_timeout=60)))
    turns = [asyncio.create_task(bench.ask(task(session="s"))) for _ in range(2)]
    await until(lambda: bench.gate.running == 1)
    with pytest.raises(RunError) as third:
        await bench.ask(task(session="s"))
    assert (third.value.status, third.value.code) == (409, "session_busy")
    others = [task(session="s", caller=Caller("bob")), task(session="other"), task()]
    turns += [asyncio.create_task(bench.ask(each)) for each in others]
    await until(lambda: (bench.gate.running, bench.gate.waiting) == (3, 1))
    turns[0].cancel()
    await until(lambda: (bench.gate.running, bench.gate.waiting) == (3, 1) and len(script.tasks) == 4)
    for turn in turns:
        turn.cancel()
    await asyncio.gather(*turns, return_exceptions=True)
    assert (bench.gate.running, bench.gate.waiting) == (0, 0)


async def test_who_waits_and_leaves_gives_up_the_place_in_the_queue() -> None:
    script = Script(before=forever)
    bench = Bench(script, config(concurrency=Concurrency(max=1, queue=5, queue_timeout=60)))
    asks = [asyncio.create_task(bench.ask()) for _ in range(3)]
    await until(lambda: (bench.gate.running, bench.gate.waiting) == (1, 2))
    for ask in asks:
        ask.cancel()
    await asyncio.gather(*asks, return_exceptions=True)
    assert (bench.gate.running, bench.gate.waiting) == (0, 0)
