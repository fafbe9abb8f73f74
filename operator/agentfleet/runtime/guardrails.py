"""Guardrails: what is checked of the texts that go into the agent and of its answers. Pure.

runs.py asks `Guards.input` before a run, and feeds an answer through `Guards.output`. Each rule sees the text as the
rules before it left it. They fail closed: a rule that itself fails rejects.

Streams: Mask holds back only what a match could still be part of, so a stream ends up as the whole text would. Where a
rule rejects, nothing goes out before the end: a text that was sent cannot be taken back.

Not looked at: images, results of tools (the tools contain these), and numbers that are spread over several messages.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Literal

from agentfleet.runtime import config, pii
from agentfleet.runtime.guardrail_rules import MAX_TEXT, Flow, Found, JsonRule, LengthRule, PatternRule, Rule
from agentfleet.runtime.hooks import GuardrailRecord, OutputFilter, Rejected
from agentfleet.runtime.types import RunError, Task, Turn

log = logging.getLogger(__name__)

Report = Callable[[Task, GuardrailRecord], None]


def check(rule: config.Guardrail) -> None:
    """Raises ValueError that says what is wrong with the rule. A process asks it before it serves; the
    operator, which has no reader of JSON Schema, judges the patterns of Regex alone."""
    _rule(rule)


def _rule(rule: config.Guardrail) -> Rule:
    match rule.type:
        case "Regex":
            return PatternRule.of_expression(rule.pattern or "", rule.action)
        case "PII":
            return PatternRule.of_personal_data(rule.builtins or tuple(pii.DETECTORS), rule.action)
        case "MaxLength":
            return LengthRule(rule.max_length or 0, rule.action)
        case "JSONSchema":
            return JsonRule(rule.json_schema, rule.action)


class Guards:
    """The guardrails of one agent."""

    def __init__(self, rules: config.Guardrails, report: Report) -> None:
        """`report` is told what Warn and Mask did, without content, in the thread that judges."""
        self._report = report
        self._input = [_rule(rule) for rule in rules.input]
        self._output = [_rule(rule) for rule in rules.output]

    def input(self, task: Task) -> Task:
        """JSON is asked of the last message of the user alone; the other rules look at each message and each reason."""
        if not self._input:
            return task
        side = _Side("input", self._input)
        last = max((index for index, turn in enumerate(task.turns) if turn.role == "user"), default=-1)
        try:
            turns = [_judged(turn, side, asked=index == last) for index, turn in enumerate(task.turns)]
            verdicts = [replace(each, reason=side.judged(each.reason, asked=False)) for each in task.verdicts]
        except Rejected as rejected:
            raise RunError(400, "content_filter", str(rejected)) from rejected
        finally:
            side.report(partial(self._report, task))
        return replace(task, turns=tuple(turns), verdicts=tuple(verdicts))

    def output(self, task: Task) -> OutputFilter:
        """The agent's output guardrails; all answers are judged alike."""
        side, report = _Side("output", self._output), partial(self._report, task)
        return _Whole(side, report) if any(rule.holds for rule in side.rules) else _Stream(side, report)


def _judged(turn: Turn, side: "_Side", *, asked: bool) -> Turn:
    return replace(turn, text=side.judged(turn.text, asked=asked))


class _Side:
    """The rules of one side for one run, and what they found."""

    def __init__(self, name: Literal["input", "output"], rules: Sequence[Rule]) -> None:
        self._name: Literal["input", "output"] = name
        self.rules = rules
        self._found: dict[int, list[str]] = {}

    def judged(self, text: str, *, asked: bool = True) -> str:
        """The whole text, masked."""
        if len(text) > MAX_TEXT:
            raise Rejected(f"The {self._name} is longer than the {MAX_TEXT} characters that guardrails look at.")
        for index, rule in enumerate(self.rules):
            if asked or not isinstance(rule, JsonRule):
                with self._closed(index):
                    text, found = rule.judge(text)
                self._say(index, found)
        return text

    def flows(self) -> list[Flow]:
        """The rules for one stream."""
        return [rule.flow() for rule in self.rules]

    def fed(self, flows: Sequence[Flow], text: str) -> str:
        """Through one rule after the other."""
        for index, flow in enumerate(flows):
            with self._closed(index):
                text = flow.feed(text)
        return text

    def ended(self, flows: Sequence[Flow]) -> str:
        """What each rule held back goes through those after it."""
        text = ""
        for index, flow in enumerate(flows):
            with self._closed(index):
                text, found = flow.end(text)
            self._say(index, found)
        return text

    @contextmanager
    def _closed(self, index: int) -> Iterator[None]:
        """A text that could not be judged does not pass."""
        try:
            yield
        except Exception as error:
            kind = self.rules[index].kind
            log.exception("%s guardrail %d (%s) has failed", self._name, index + 1, kind)
            raise Rejected(f"Guardrail {index + 1} ({kind}) of the {self._name} could not be checked.") from error

    def _say(self, index: int, found: Found | None) -> None:
        rule = self.rules[index]
        if found and rule.action == "Reject":
            raise Rejected(f"Guardrail {index + 1} ({rule.kind}) refuses the {self._name}: {found.what}.")
        if found:
            self._found.setdefault(index, []).append(found.what)

    def report(self, report: Callable[[GuardrailRecord], None]) -> None:
        """One record for each rule that let something pass, once all of the side is judged."""
        for index, found in sorted(self._found.items()):
            rule = self.rules[index]
            if rule.action != "Reject":
                what = "; ".join(dict.fromkeys(found))
                report(GuardrailRecord(self._name, index + 1, rule.kind, rule.action, what, len(found)))
        self._found.clear()


class _Whole:
    """Holds an answer until its end."""

    def __init__(self, side: _Side, report: Callable[[GuardrailRecord], None]) -> None:
        self._side = side
        self._report = report
        self.cut = False
        self._pieces: list[str] = []
        self._length = 0

    def feed(self, text: str) -> str:
        self._pieces.append(text)
        self._length += len(text)
        if self._length > MAX_TEXT:
            self._side.judged("".join(self._pieces))  # rejects
        return ""

    def end(self) -> str:
        text = "".join(self._pieces)
        try:
            judged = self._side.judged(text)
        finally:
            self._side.report(self._report)
        self.cut = any(isinstance(rule, LengthRule) and rule.cuts(text) for rule in self._side.rules)
        return judged

    def close(self) -> None:
        """Before the end nothing has gone out."""


class _Stream:
    """Lets an answer through as far as it is judged."""

    def __init__(self, side: _Side, report: Callable[[GuardrailRecord], None]) -> None:
        self._side = side
        self._report = report
        self._flows = side.flows()
        self._open = False
        self.cut = False

    def feed(self, text: str) -> str:
        self._open = True
        out = self._side.fed(self._flows, text)
        self.cut = any(flow.cut for flow in self._flows)
        return out

    def end(self) -> str:
        self._open = False
        try:
            out = self._side.ended(self._flows)
        finally:
            self._side.report(self._report)
        self.cut = any(flow.cut for flow in self._flows)
        return out

    def close(self) -> None:
        if self._open:
            with suppress(Rejected):
                self.end()
