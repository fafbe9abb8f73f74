"""Floors under how well requests are classified, and the page that tells it."""

from collections import Counter

import pytest

from agentfleet.gateway.types import SENSITIVITIES
from tests.gateway.labels import requests
from tests.gateway.quality import HEURISTIC, JUDGES, PAGE, PATTERNS, WORDS, accuracy, late, outcomes, page, wrong


@pytest.mark.parametrize(
    ("name", "least", "least_late"), [(WORDS, 0.80, 0.62), (HEURISTIC, 0.82, 0.70), (PATTERNS, 0.99, 0.99)]
)
def test_accuracy_on_what_was_not_tuned_on(name: str, least: float, least_late: float) -> None:
    assert accuracy(outcomes(JUDGES[name], "test")) >= least
    assert accuracy(late(JUDGES[name])) >= least_late


def test_an_intent_is_rather_left_open_than_wrong() -> None:
    assert wrong(outcomes(JUDGES[WORDS], "test")) <= 0.10
    assert wrong(late(JUDGES[WORDS])) <= 0.10


def test_a_simple_tier_never_gets_what_is_complex() -> None:
    assert outcomes(JUDGES[HEURISTIC], "test")["Complex", "Simple"] == 0


def test_nothing_sensitive_is_missed() -> None:
    for split in ("train", "test"):
        for truth, found in outcomes(JUDGES[PATTERNS], split):
            assert SENSITIVITIES.index(found) >= SENSITIVITIES.index(truth)


def test_the_set_is_as_large_and_mixed_as_the_page_says() -> None:
    everything = [*requests("train"), *requests("test")]
    assert len(everything) == len({each.text for each in everything}) == len({each.id for each in everything})
    languages = Counter(each.language for each in everything)
    assert 0.45 < languages["en"] / len(everything) < 0.6
    assert len(languages) == 13
    assert len(requests("test")) > len(everything) * 0.3
    text = PAGE.read_text(encoding="utf-8")
    assert f"{len(everything)} requests" in text
    assert f"{sum(each.late for each in everything)} of the test requests" in text


def test_the_page_tells_the_figures_of_now() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tests.gateway.quality"
