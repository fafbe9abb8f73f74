"""Guardrails: what they find, mask and reject, in whole texts and in streams, however these are cut into pieces."""

import itertools
import logging
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentfleet.gateway.sensitivity import builtin, classify, ordered
from agentfleet.runtime.config import Builtin, Guardrail, Guardrails
from agentfleet.runtime.guardrail_rules import MAX_TEXT, JsonRule
from agentfleet.runtime.guardrails import Guards, check
from agentfleet.runtime.hooks import GuardrailRecord, Rejected
from agentfleet.runtime.pii import DETECTORS, fold, masked
from agentfleet.runtime.scanning import Masker
from agentfleet.runtime.types import Caller, RunError, Task, Turn, Verdict
from tests.gateway.labels import Split, requests

SPLITS: tuple[Split, ...] = ("train", "test")
ALL: tuple[Builtin, ...] = ("Email", "Phone", "CreditCard", "SSN")
PERSONAL = Guardrail("PII", "Mask", builtins=ALL)


def task_of(*texts: str, **more: object) -> Task:
    turns = tuple(Turn("user", text) for text in texts)
    return Task("r1", Caller("key-1"), turns, **more)  # type: ignore[arg-type]


def unheard(_: Task, __: GuardrailRecord) -> None:
    """What Warn and Mask did."""


def _streamed(rules: tuple[Guardrail, ...], pieces: list[str]) -> str:
    out = Guards(Guardrails(output=rules), unheard).output(task_of())
    return "".join(out.feed(piece) for piece in pieces) + out.end()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to bob.smith+x@mail.example.co.uk today", "write to [EMAIL] today"),
        ("to <ann@example.com>, please", "to <[EMAIL]>, please"),
        ("用户邮箱是ann@例え.日本。谢谢", "[EMAIL]。谢谢"),  # no space tells where the address begins
        ("bob [at] example [dot] com", "[EMAIL]"),
        ("joe at foo dot com said", "[EMAIL] said"),
        (
            "my card is 4539 1488 0343 6467 123, ok?",
            "my card is [CREDIT_CARD], ok?",
        ),  # its end may be a telephone number
        ("\uff14\uff15\uff13\uff19-1488-0343-6467", "[CREDIT_CARD]"),
        ("4539\u200b1488\u200b0343\u200b6467", "[CREDIT_CARD]"),
        ("order 4539 1488 0343 6468", "order 4539 1488 0343 6468"),  # its check digit is wrong
        ("ring me at (030) 12 34 56 7", "ring me at [PHONE]"),
        ("+44 20 7946 0958", "[PHONE]"),
        ("call (555) 234-5678 now", "call [PHONE] now"),
        ("phone: 5552345678", "phone: [PHONE]"),
        ("order 5552345678", "order 5552345678"),
        ("on 01.02.2026 12:30 we", "on 01.02.2026 12:30 we"),
        ("SSN 123-45-6789.", "SSN [SSN]."),
        ("social security number: 123456789", "social security number: [SSN]"),
        ("part 666-12-3456", "part 666-12-3456"),  # never given out
        ("pi is 3.14159265358979", "pi is 3.14159265358979"),
        ("1 2 3 4 5 6 7 8 9", "1 2 3 4 5 6 7 8 9"),
    ],
)
def test_personal_data_is_masked_and_nothing_else(text: str, expected: str) -> None:
    assert masked(text) == expected


_SNIPPETS = st.sampled_from(
    [
        "a", " ", ".", "@", "-", "0", "4", "7", "\n", "ann@example.com", "4539 1488 0343 6467", "+44 20 7946 0958",
        "123-45-6789", "ssn ", "phone ", " at ", " dot ", "[at]", "x" * 70, "9" * 30, "\uff14", "\u200b",
        "例", "(", "key-12345", "key-", "[EMAIL]",
    ]
)  # fmt: skip
_TEXTS = st.lists(_SNIPPETS | st.text(max_size=5), max_size=25).map("".join)


def _cut(text: str, places: list[int]) -> list[str]:
    edges = [0, *sorted(min(place, len(text)) for place in places), len(text)]
    return [text[begin:end] for begin, end in itertools.pairwise(edges)]


@settings(max_examples=300, deadline=None)
@given(_TEXTS, st.lists(st.integers(0, 400), max_size=40))
def test_a_masked_stream_is_the_masked_text(text: str, places: list[int]) -> None:
    keys, length = Guardrail("Regex", "Mask", pattern=r"key-\w{2,8}"), Guardrail("MaxLength", "Mask", max_length=300)
    rules = (PERSONAL, keys, length)
    whole = Guards(Guardrails(input=rules), unheard).input(task_of(text)).turns[0].text
    assert _streamed(rules, _cut(text, places)) == whole
    assert _streamed(rules, list(text)) == whole


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([r"a{1,9}b", r"(?:ab|ba){1,4}\b", r"^a", r"a$", r"[^a\s]{2,5}", r"(?<![a])b{1,3}"]),
    st.text("ab c\né", max_size=40),
    st.lists(st.integers(0, 40), max_size=12),
)
def test_an_expression_masks_in_a_stream_what_re_finds_in_the_text(pattern: str, text: str, places: list[int]) -> None:
    expected = re.sub(pattern, "[REDACTED]", text, flags=re.ASCII)
    assert _streamed((Guardrail("Regex", "Mask", pattern=pattern),), _cut(text, places)) == expected


def test_an_end_before_a_newline_is_none_while_more_may_come() -> None:
    rule = Guardrail("Regex", "Mask", pattern="a$")
    assert _streamed((rule,), ["aaaa\n", "a"]) == "aaaa\n[REDACTED]"
    assert _streamed((rule,), ["aaaa\n"]) == "aaa[REDACTED]\n"


@settings(max_examples=10, deadline=None)
@given(st.lists(_SNIPPETS, min_size=20, max_size=60).map("".join), st.integers(1, 60))
def test_a_large_text_is_searched_in_pieces_as_if_at_once(text: str, shift: int) -> None:
    large = "x" * shift + " " + text * (25_000 // len(text) + 1)
    once = Masker([detector for each in DETECTORS.values() for detector in each], fold).whole(large)
    guards = Guards(Guardrails(input=(PERSONAL,)), unheard)
    assert guards.input(task_of(large)).turns[0].text == once


def test_a_stream_of_prose_is_held_back_by_a_word_and_never_by_more_than_a_match() -> None:
    out = Guards(Guardrails(output=(PERSONAL,)), unheard).output(task_of())
    sent = out.feed("The meeting about the new fridge is tomorrow")
    assert sent == "The meeting about the new fridge is "
    longest = max(detector.longest for each in DETECTORS.values() for detector in each)
    out.feed("x" * 5000)
    assert len(out.end()) <= longest


def test_rejected_input_is_a_clear_error_without_content() -> None:
    guards = Guards(Guardrails(input=(Guardrail("PII", "Reject", builtins=("SSN",)),)), unheard)
    with pytest.raises(RunError) as raised:
        guards.input(task_of("hello", "mine is 123-45-6789"))
    assert (raised.value.status, raised.value.code) == (400, "content_filter")
    assert raised.value.message == "Guardrail 1 (PII) refuses the input: it holds personal data (SSN)."


def test_the_reason_of_an_approval_is_input_too() -> None:
    guards = Guards(Guardrails(input=(PERSONAL,)), unheard)
    task = guards.input(task_of("yes", verdicts=(Verdict("a", approved=True, reason="ann@example.com said so"),)))
    assert task.verdicts[0].reason == "[EMAIL] said so"


def test_nothing_of_a_stream_goes_out_before_a_rule_that_rejects_has_seen_all_of_it() -> None:
    rules = Guardrails(output=(PERSONAL, Guardrail("Regex", "Reject", pattern="secret")))
    out = Guards(rules, unheard).output(task_of())
    assert [out.feed(piece) for piece in ("ann@example.com ", "and a sec", "ret")] == ["", "", ""]
    with pytest.raises(Rejected, match="refuses the output: it matches an expression"):
        out.end()
    out = Guards(rules, unheard).output(task_of())
    assert out.feed("ann@example.com is fine") + out.end() == "[EMAIL] is fine"


def test_a_long_answer_is_cut_at_once_and_says_so() -> None:
    out = Guards(Guardrails(output=(Guardrail("MaxLength", "Mask", max_length=5),)), unheard).output(task_of())
    assert (out.feed("abc"), out.cut) == ("abc", False)  # type: ignore[attr-defined]
    assert (out.feed("defg"), out.cut) == ("de", True)  # type: ignore[attr-defined]
    assert out.feed("more") + out.end() == ""


SHAPE = {"type": "object", "properties": {"total": {"type": "number"}}, "required": ["total"]}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('{"total": 3}', None),
        ('{"total": "many"}', "type"),
        ("[1]", "type"),
        ("{}", "required"),
        ("no JSON", "it is not JSON"),
        ('{"total": NaN}', "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        (" " * 200_001, "longer than"),
    ],
)
def test_json_is_judged_by_its_schema(text: str, word: str | None) -> None:
    guards = Guards(Guardrails(input=(Guardrail("JSONSchema", "Reject", json_schema=SHAPE),)), unheard)
    if word is None:
        # of a conversation the last message alone is asked to be JSON
        assert guards.input(task_of("hello", text)).turns[1].text == text
        return
    with pytest.raises(RunError, match=word) as raised:
        guards.input(task_of(text))
    assert "many" not in raised.value.message


def test_a_rule_that_fails_rejects(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fail(self: object, text: str) -> None:
        raise MemoryError

    monkeypatch.setattr(JsonRule, "judge", fail)
    guards = Guards(Guardrails(input=(Guardrail("JSONSchema", "Warn", json_schema={}),)), unheard)
    with caplog.at_level(logging.ERROR), pytest.raises(RunError, match="could not be checked"):
        guards.input(task_of("{}"))
    assert "guardrail 1 (JSONSchema) has failed" in caplog.text


def test_a_schema_that_leads_elsewhere_is_not_fetched_and_rejects() -> None:
    rule = Guardrail("JSONSchema", "Reject", json_schema={"$ref": "http://127.0.0.1:9/schema.json"})
    with pytest.raises(RunError, match="could not be checked"):
        Guards(Guardrails(input=(rule,)), unheard).input(task_of("{}"))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Guardrail("Regex", "Reject", pattern="(a+)+b"), "a group may not be repeated without bound"),
        (Guardrail("Regex", "Reject"), "pattern of 0 characters"),
        (Guardrail("Regex", "Mask", pattern=r"sk-\w+"), "has no longest match, at most 1024 can be masked"),
        (Guardrail("Regex", "Mask", pattern=r"(?:a\w{1,50}){30}b"), "ways"),
        (Guardrail("Regex", "Warn", pattern=r"[\xe9]"), "write the character"),
        (Guardrail("MaxLength", "Mask"), "at least 1"),
        (Guardrail("JSONSchema", "Mask", json_schema={}), "use Reject or Warn"),
        (Guardrail("JSONSchema", "Reject"), "it has no schema"),
        (Guardrail("JSONSchema", "Reject", json_schema={"type": "nothing"}), r"at \$.type"),
        (Guardrail("JSONSchema", "Reject", json_schema={"items": {"pattern": "(a*)*"}}), "repeated without bound"),
    ],
)
def test_a_rule_that_cannot_work_is_refused_when_it_is_read(rule: Guardrail, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(rule)


@pytest.mark.parametrize(
    "text",
    ["a", "a@", "1 ", "1  ", "4", "x" * 64 + "@", "phone 1", "a at ", "a[at]", "4539 1488 0343 6467 ", "0" * 11 + "-"],
)
def test_hostile_texts_take_time_by_their_length_only(text: str) -> None:
    """A fifth as well, so that the bound says linear rather than fast."""
    short, long = (text * (length // len(text)) for length in (40_000, 200_000))
    assert _seconds(long) < 15 * _seconds(short) + 1


def _seconds(text: str) -> float:
    begin = time.process_time()
    masked(text)
    return time.process_time() - begin


def test_personal_data_without_a_word_on_which_is_all_of_it() -> None:
    text = "ann@example.com, +44 20 7946 0958, 4539 1488 0343 6467, 123-45-6789"
    assert _streamed((Guardrail("PII", "Mask"),), [text]) == "[EMAIL], [PHONE], [CREDIT_CARD], [SSN]"


def test_a_text_beyond_the_bound_is_rejected() -> None:
    guards = Guards(Guardrails(input=(PERSONAL,), output=(Guardrail("PII", "Reject", builtins=ALL),)), unheard)
    with pytest.raises(RunError, match="is longer than the 500000 characters"):
        guards.input(task_of("a" * (MAX_TEXT + 1)))
    with pytest.raises(Rejected):
        guards.output(task_of()).feed("a" * (MAX_TEXT + 1))


def test_two_texts_of_one_detector_do_not_share_anything() -> None:
    first, second = Masker(DETECTORS["Email"]), Masker(DETECTORS["Email"])
    first.feed("ann@exam")
    assert second.whole("ple.com") == "ple.com"


def test_of_the_labelled_requests_nothing_public_is_masked() -> None:
    """And as much is found as the gateway finds, but for an account number that it takes for a card."""
    each = [request for split in SPLITS for request in requests(split)]
    assert [
        request.id for request in each if request.sensitivity == "Public" and masked(request.text) != request.text
    ] == []
    missed = [
        (name, request.text)
        for name in ALL
        for request in each
        if classify(request.text.encode(), ordered(builtin([name]))) != "Public"
        and Masker(DETECTORS[name], fold).whole(request.text) == request.text
    ]
    assert missed == [("CreditCard", "Bitte überweisen Sie die Erstattung auf DE89 3704 0044 0532 0130 00.")]
