"""No gate holds back a text in which a pattern would find something."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentfleet.gateway.haproxy import render
from agentfleet.gateway.haproxy_maps import sensitivity
from agentfleet.gateway.layout import CONFIG_FOLDER
from agentfleet.gateway.pattern_needs import GATES, need
from agentfleet.gateway.patterns import compiled
from agentfleet.gateway.sensitivity import BUILTINS, builtin, classify, ordered
from agentfleet.gateway.types import SENSITIVITIES
from tests.gateway import labels, matching, routes
from tests.gateway.test_sensitivity import WRITTEN

EVERYTHING = ordered(builtin(BUILTINS))
GATED = [(regex, compiled(GATES[gate])) for regex, _ in EVERYTHING if (gate := need(regex))]


@pytest.mark.parametrize(
    ("pattern", "gate"),
    [
        (r"\d{5}", "digits"),
        (r"\d{4}", None),
        (r"[0-3]\d[-/]\d\d{2,9}", "digits"),
        (r"\d\d.{0,6}\d{3}", "digits"),
        (r"\d\d.{0,7}\d{3}", None),
        (r"\d\d.*\d{3}", None),
        (r"\d\d(?:ab|\s){0,3}\d{3}", "digits"),
        (r"\d\d(?:ab|\s){0,4}\d{3}", None),
        (r"(?:\d-?){5}", "digits"),
        (r"(?:\d-?){0,5}x", None),
        (r"[\dA]{9}", None),
        (r"\d{6}|id\s\d{5}", "digits"),
        (r"\d{6}|id", None),
        (r"(?:a|\d{6})\b", None),
        (r"(?:\d{7}|x\d{5})?\d{4}", None),
        (r"\w+\s(?:no|nr)\d{5}", "digits"),
        (r"(?i)é", "bytes"),
        (r"(?:é|ü)a?", "bytes"),
        (r"(?:é|e)", None),
        (r"[\x80-\xff]?a", None),
        (r"[^a]", None),
        (r"(?<=\xc3)a", None),
    ],
)
def test_what_a_pattern_needs(pattern: str, gate: str | None) -> None:
    assert need(pattern) == gate


def test_numbers_and_other_scripts_are_looked_for_where_there_are_some() -> None:
    by_gate = {gate: sum(need(regex) == gate for regex, _ in EVERYTHING) for gate in (*GATES, None)}
    assert by_gate["digits"] >= 15
    assert by_gate["bytes"] >= 9


@pytest.mark.parametrize(("regex", "gate"), GATED, ids=[regex[:40] for regex, _ in GATED])
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_all_that_a_pattern_matches_passes_its_gate(regex: str, gate: object, data: st.DataObject) -> None:
    text = data.draw(st.from_regex(compiled(regex)))
    assert GATES[need(regex) or "digits"] == getattr(gate, "pattern", b"").decode()
    assert compiled(GATES[need(regex) or "digits"]).search(text)


def _texts() -> Iterator[bytes]:
    yield from (each.body for split in ("train", "test") for each in labels.requests(split))
    yield from (form.encode() for forms in WRITTEN.values() for form in forms)


def test_no_text_of_the_tests_is_held_back() -> None:
    held = [(text[:60], regex) for text in _texts() for regex, gate in GATED if _is_held(text, regex, gate.search)]
    assert not held


def _is_held(text: bytes, regex: str, passes: Callable[[bytes], object]) -> bool:
    return compiled(regex).search(text) is not None and not passes(text)


@pytest.fixture
def found(tmp_path: Path) -> Iterator[matching.Matches]:
    """The classes that the rules of haproxy.cfg find, those of each map."""
    policy = routes.policy(routes.target(0, "small"))
    layout = routes.layout(policy, sensitive=tuple(EVERYTHING))
    lines = render(policy, layout)["haproxy.cfg"].split("\n")
    rules = [
        line.replace(CONFIG_FOLDER, str(tmp_path)) for line in lines if "txn.sens" in line or "acl escaped" in line
    ]
    for name, patterns in sensitivity(layout).items():
        matching.write(tmp_path / name, patterns)
    said = ",".join(f"%[var(txn.{name})]" for name in ("sens", "sens_digits", "sens_bytes"))
    with matching.answering(tmp_path, [*rules, f'  http-request set-var-fmt(txn.found) "{said}"']) as matches:
        yield matches


def test_haproxy_finds_behind_its_gates_what_python_finds(found: matching.Matches) -> None:
    def highest(text: bytes) -> str:
        return max(["Public", *filter(None, found(text).split(","))], key=SENSITIVITIES.index)

    differing = [text[:80] for text in _texts() if highest(text) != classify(text, EVERYTHING)]
    assert not differing
