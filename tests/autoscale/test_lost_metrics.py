"""A number that nobody says is not zero: nothing is learnt from it, and it takes no replica away."""

import math

import pytest

from agentfleet.autoscale.intervals import DECISIVE
from tests.autoscale.fluid import Fluid

VLLM = [name for name in DECISIVE if name not in ("prompt_seconds", "output_seconds")]
RATE = 18.0


def lost(fluid: Fluid, field: str, value: float | None) -> dict[str, dict[str, object]]:
    missing = (field,) if value is None else ()
    return {name: {field: value, "missing": missing} for name in fluid.pods}


@pytest.mark.parametrize("value", [None, math.nan], ids=["renamed", "NaN"])
@pytest.mark.parametrize("field", VLLM)
def test_no_metric_that_is_lost_takes_a_replica_away_or_changes_the_capacity(field: str, value: float | None) -> None:
    fluid = Fluid(replicas=5)
    fluid.run(900, RATE)
    before = fluid.controller.learnt
    assert before is not None
    for _ in range(720):
        assert fluid.tick(RATE / 3, changed=lost(fluid, field, value)).action != "scale_in"
    after = fluid.controller.learnt
    assert after is not None
    assert after.carried == pytest.approx(before.carried, rel=0.02)


@pytest.mark.parametrize("field", [name for name in VLLM if name != "kv_tokens"])  # some versions never had that
def test_nor_one_that_was_never_there(field: str) -> None:
    fluid = Fluid(replicas=5)
    for _ in range(360):
        assert fluid.tick(3.0, changed=lost(fluid, field, None)).action != "scale_in"


def test_one_replica_that_lacks_it_is_enough() -> None:
    fluid = Fluid(replicas=5)
    for _ in range(360):
        decision = fluid.tick(3.0, changed={"pod-2": {"prompt_tokens": None, "missing": ("vllm:prompt_tokens_total",)}})
        assert decision.action != "scale_in"
    assert decision.binding == "MissingData"
    assert "vllm:prompt_tokens_total" in decision.reason


def test_what_decides_nothing_may_be_missing() -> None:
    fluid = Fluid(replicas=5, obey=True)
    changed = {name: {"preemptions": None, "missing": ("vllm:num_preemptions_total",)} for name in fluid.pods}
    for _ in range(240):
        fluid.tick(3.0, changed={name: fields for name, fields in changed.items() if name in fluid.pods})
    assert fluid.wanted == 1


def test_replicas_go_again_once_it_is_back() -> None:
    fluid = Fluid(replicas=5, obey=True)
    fluid.run(600, RATE)
    before = fluid.wanted
    fluid.run(600, 3.0, changed=lost(fluid, "output_tokens", None))
    assert fluid.wanted == before > 1
    fluid.run(900, 3.0)
    assert fluid.wanted == 1
