"""Intents by keyword, by example, by embedding, and by the word of a model."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentfleet.gateway import judge
from agentfleet.gateway.decider_config import IntentText
from agentfleet.gateway.intents import Intents, Verdict, by_embedding, centroid, cosine, stem
from agentfleet.gateway.words import PRESETS, preset


def verdict(text: str, *intents: IntentText) -> Verdict:
    return Intents(intents).classify(text)


BILLING = IntentText("billing", keywords=("invoice", "money back", "退款", "C++", "kündigen"))
SUPPORT = IntentText("support", keywords=("invoice printer", "error code", "crash"))


@pytest.mark.parametrize(
    ("text", "intent", "matched"),
    [
        ("Where is my INVOICE?", "billing", "invoice"),
        ("two invoices, please", "billing", "invoice"),
        ("it was invoiced twice", "billing", "invoice"),
        ("I want my money  back", "billing", "money back"),
        ("I want my money, then go back", None, ""),
        ("voiced concerns", None, ""),
        ("我想退款", "billing", "退款"),
        ("learning C++ now", "billing", "C++"),
        ("Ich will KÜNDIGEN", "billing", "kündigen"),
        ("it keeps crashing", "support", "crash"),
        ("my invoice printer is dead", "support", "invoice printer"),  # the longer phrase counts, not the word in it
        ("the invoice printer sent an invoice", "billing", "invoice"),
        ("a crash, and my invoice", "billing", "invoice"),  # the first intent of the list, not of the text
        ("nothing of all that", None, ""),
        ("", None, ""),
    ],
)
def test_keywords(text: str, intent: str | None, matched: str) -> None:
    found = verdict(text, BILLING, SUPPORT)
    assert (found.intent, found.matched) == (intent, matched)
    assert found.by == ("keyword" if intent else "none")


@pytest.mark.parametrize(
    ("word", "base"),
    [
        *[("refunds", "refund"), ("refunded", "refund"), ("refunding", "refund"), ("boxes", "box")],
        *[("queries", "query"), ("code", "cod"), ("coding", "cod"), ("programming", "program"), ("bus", "bus")],
        *[("program", "program"), ("customer's", "customer"), ("class", "clas"), ("classes", "clas")],
        *[("status", "status"), ("über", "über"), ("king", "king")],
    ],
)  # fmt: skip
def test_stems(word: str, base: str) -> None:
    assert stem(word) == base


REFUND = IntentText("refund", examples=("I want my money back for the broken kettle", "please refund the last order"))
REPAIR = IntentText(
    "repair", examples=("the washing machine does not start any more", "my kettle leaks, can you fix it")
)


def test_examples_need_a_clear_winner() -> None:
    found = verdict("I would like my money back for this broken kettle", REFUND, REPAIR)
    assert (found.intent, found.by, found.matched) == ("refund", "example", REFUND.examples[0])
    assert verdict("what a lovely day at the sea", REFUND, REPAIR).intent is None
    assert verdict(REFUND.examples[0], REFUND, IntentText("other", examples=REFUND.examples)).intent is None
    assert verdict(REPAIR.examples[0], REFUND, REPAIR).score == pytest.approx(1)


def test_keywords_come_before_examples() -> None:
    assert verdict(REFUND.examples[0], REFUND, BILLING).intent == "billing"


def test_an_intent_with_a_known_name_and_no_keywords_gets_ready_made_words() -> None:
    for word in ("code", "programming", "debug"):
        assert verdict(f"please {word} it", IntentText("coding")).intent == "coding"
    assert verdict("debug it", IntentText("code", keywords=("rust",))).intent is None
    assert verdict("debug it", IntentText("code", examples=("rust",))).by == "keyword"
    assert verdict("debug it", IntentText("gardening")).intent is None
    assert preset("Customer_Service") == PRESETS["customer-service"]


@given(st.text(max_size=300))
def test_any_text_has_a_verdict(text: str) -> None:
    found = verdict(text, BILLING, REFUND, IntentText("code"), IntentText("odd", keywords=("!!", " ", "\u2019")))
    assert found.intent in {None, "billing", "refund", "code", "odd"}
    assert 0 <= found.score <= 1 + 1e-9


def test_hints_are_counted_where_nothing_else_tells() -> None:
    intents = (IntentText("scheduling"), IntentText("technical-support"))
    found = verdict("no sound from the TV since Monday", *intents)
    assert (found.intent, found.by) == ("technical-support", "hints")
    assert verdict("the sound on Monday", *intents).intent is None  # one of each
    assert verdict("call me back, the sound of the TV and the camera is gone", *intents).intent == "scheduling"
    assert verdict("no sound from the TV", IntentText("technical-support", keywords=("router",))).intent is None


def test_phrases_that_hold_a_word_and_do_not_mean_it() -> None:
    assert verdict("in which order are the planets", IntentText("customer-service")).intent is None
    assert verdict("in which order", IntentText("planets", keywords=("order",))).intent == "planets"


def test_embeddings() -> None:
    prototypes = {"a": [[1.0, 0.0, 0.0], [0.8, 0.6, 0.0]], "b": [[0.0, 0.0, 1.0]], "empty": []}
    assert by_embedding([0.7, 0.7, 0.0], prototypes).intent == "a"
    assert by_embedding([0.1, 0.0, 2.0], prototypes) == Verdict("b", pytest.approx(0.99875, abs=1e-4), "embedding")
    assert by_embedding([0.5, 0.0, 0.5], prototypes).intent is None  # as near to both
    assert by_embedding([0.0, -1.0, 0.0], prototypes).intent is None
    assert by_embedding([0.0, 0.0, 0.0], prototypes).intent is None
    assert by_embedding([1.0], {}).intent is None
    with pytest.raises(ValueError, match="one embedding model"):
        by_embedding([1.0], prototypes)


def test_the_middle_of_examples() -> None:
    assert centroid([[3.0, 0.0], [0.0, 0.5]]) == pytest.approx([0.5, 0.5])
    assert centroid([[0.0, 0.0], [2.0, 0.0]]) == pytest.approx([0.5, 0.0])
    with pytest.raises(ValueError, match="longer"):
        centroid([[1.0], [1.0, 2.0]])


def test_cosine() -> None:
    numbers = random.Random(1)  # noqa: S311 reproducible, not secret
    one, other = ([numbers.uniform(-1, 1) for _ in range(384)] for _ in range(2))
    assert cosine(one, one) == pytest.approx(1)
    assert cosine(one, other) == pytest.approx(cosine(other, [7 * each for each in one]))
    assert math.isfinite(cosine([0.0], [0.0]))


CHOICES = {"technical-support": "something is broken", "customer-service": "", "support": "anything else"}


@pytest.mark.parametrize(
    ("reply", "choice"),
    [
        ("technical-support", "technical-support"),
        ("  Technical Support.\n", "technical-support"),
        ("**customer_service**", "customer-service"),
        ('{"intent": "customer-service"}', "customer-service"),
        ('"support"', "support"),
        ("Kind: technical-support", "technical-support"),
        ("<think>customer-service? no.</think>technical-support", "technical-support"),
        ("<think>customer-service, I am cut o", None),
        ("The request is about technical-support, as it broke.", "technical-support"),
        ("technical-support or customer-service", None),
        ("technical-support\nThe user says it is broken, not customer-service.", "technical-support"),
        ("none", None),
        ("supporters", None),
        ("", None),
        ('{"intent": 7}', None),
        ("[]", None),
    ],
)
def test_answers_of_a_model(reply: str, choice: str | None) -> None:
    assert judge.answer(reply, CHOICES) == choice


@given(st.text(max_size=200))
def test_a_model_can_only_name_a_choice(reply: str) -> None:
    assert judge.answer(reply, CHOICES) in {None, *CHOICES}


def test_the_question_names_all_choices_and_bounds_the_text() -> None:
    asked = judge.question(CHOICES, "begin " + "x" * 10_000 + " end")
    assert "- technical-support: something is broken\n- customer-service\n- support: anything else\n- none" in asked
    assert "begin" in asked
    assert " end\n=" in asked
    assert len(asked) < judge.MAX_TEXT + 1000
    assert all(level in judge.question(dict(judge.LEVELS), "hi") for level in ("Simple", "Moderate", "Complex"))
