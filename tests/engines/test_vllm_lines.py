"""What the operator says to `vllm serve` is in the tables of both versions.

The scenario e2e/scenarios/vllm gives the same lines to vLLM's own parser.
"""

import json

import pytest

from agentfleet.engines.vllm_flags import FLAGS
from agentfleet.resources.flag_rules import INSTEAD, flag_name
from tests.engines.vllm_lines import Line, command_lines


@pytest.fixture(scope="module")
def lines() -> list[Line]:
    return command_lines()


def _flags(lines: list[Line]) -> set[str]:
    return {flag_name(word) for line in lines for word in line if word.startswith("-")}


@pytest.mark.parametrize("version", FLAGS)
def test_every_flag_is_known(version: str, lines: list[Line]) -> None:
    # The help lists --no-x of most options, but not of all that its parser pairs so.
    assert {name for name in _flags(lines) if name.replace("--no-", "--", 1) not in FLAGS[version]} == set()


def test_no_value_can_be_taken_for_a_flag(lines: list[Line]) -> None:
    """Values stand behind `=`, but for the model and its names, which therefore must not begin with a dash."""
    for line in lines:
        bare = [word for word in line if not word.startswith("--")]
        names = line[line.index("--served-model-name") + 1 :][: len(bare) - 1]
        assert (line[0], *names) == tuple(bare)
        assert not any(word.startswith("-") for word in bare)


def test_the_lines_have_every_flag_that_a_field_replaces(lines: list[Line]) -> None:
    """Else the tests of these lines would not show what they seem to."""
    owned = {name for name, instead in INSTEAD["VLLM"].items() if instead.startswith("use ")} & FLAGS["0.33"]
    shown = _flags(lines)
    assert {name for name in owned if name.startswith("--")} - shown == _SAID_OTHERWISE & owned
    assert {name for name, instead in INSTEAD["VLLM"].items() if "gone" in instead}.isdisjoint(shown)


_SAID_OTHERWISE = {
    "--model",  # the first word
    "--device-memory-utilization",  # another name of --gpu-memory-utilization
    "--no-trust-remote-code",  # the default
    "--lora-modules",  # the sidecar loads adapters
}


def test_json_is_json(lines: list[Line]) -> None:
    values = {word.partition("=")[2] for line in lines for word in line if "-config=" in word}
    assert len(values) > 1
    for value in values:
        assert isinstance(json.loads(value), dict)
