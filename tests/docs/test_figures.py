"""Figures, names and messages in the guides are those of the code."""

import re
from pathlib import Path

import pytest

from agentfleet.engines.ollama import CATALOG
from agentfleet.errors import InvalidSpec
from agentfleet.planning.quantization import advice
from agentfleet.planning.scenarios import SCENARIOS, Scenario
from agentfleet.planning.sizing import size
from agentfleet.planning.sizing_types import SizingRequest
from agentfleet.resources.conditions import HINTS
from agentfleet.settings import Settings
from tests.planning.shapes import LLAMA_8B, QWEN2_7B

GUIDES = Path(__file__).parents[2] / "operator/docs"
HARDWARE, MODELS, OPERATIONS = (
    (GUIDES / f"{name}.md").read_text(encoding="utf-8") for name in ("hardware", "models", "operations")
)
GIB = 2**30


@pytest.mark.parametrize(("name", "row"), SCENARIOS.items())
def test_scenarios(name: str, row: Scenario) -> None:
    chunked = "yes" if row.chunked_prefill else "vLLM's own"
    cells = (
        f"`{name}`", f"{row.memory_percent} %", row.context, f"{row.tensor} × {row.pipeline}", row.sequences,
        row.batched_tokens, "yes" if row.prefix_caching else "no", chunked, row.quantization or "",
    )  # fmt: skip
    assert re.sub(" +", " ", f"| {' | '.join(map(str, cells))} |") in re.sub(" +", " ", HARDWARE)


@pytest.mark.parametrize(("category", "models"), CATALOG.items())
def test_catalog(category: str, models: tuple[str, ...]) -> None:
    assert f"| `{category}` | {', '.join(f'`{model}`' for model in models)} |" in MODELS


@pytest.mark.parametrize(
    ("memory", "words"),
    [(0, "below 1 GB"), (10**9, "below 2 GB"), (2 * 10**9, "below 6 GB"), (6 * 10**9, "6 GB and more")],
)
def test_advice(memory: int, words: str) -> None:
    found = advice(memory)
    assert f"| {words} | {found.device.lower()} | {found.models} | `{found.quantization}` |" in HARDWARE


def test_an_explanation_is_the_planners_own() -> None:
    found = size(SizingRequest(LLAMA_8B, gpu_memory_bytes=24 * GIB, gpus_per_node=4, tensor="Auto"))
    assert "```\n" + "\n".join(found.explanation) + "\n```" in HARDWARE


def test_a_refusal_is_the_planners_own() -> None:
    with pytest.raises(InvalidSpec) as caught:
        size(SizingRequest(QWEN2_7B, tensor=8))
    assert f"| `{caught.value.reason}` | {caught.value.message} |" in HARDWARE
    with pytest.raises(InvalidSpec) as caught:
        size(SizingRequest(LLAMA_8B, gpu_memory_bytes=24 * GIB, max_model_len=131072))
    said = re.sub(r"\(legal: [^)]*\)", "(…)", caught.value.message)
    assert f"| `{caught.value.reason}` | {said} |" in HARDWARE


@pytest.mark.parametrize("page", [HARDWARE, MODELS, OPERATIONS], ids=["hardware", "models", "operations"])
def test_reasons_are_those_of_conditions(page: str) -> None:
    tables = re.findall(r"^\| reason \|.*\n(?:\|.*\n)+", page, re.MULTILINE)
    assert tables
    named = {word for table in tables for row in table.splitlines()[2:] for word in _names(row.split("|")[1])}
    assert named <= HINTS.keys()


def _names(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


def test_defaults() -> None:
    settings = Settings()
    assert f"`cluster.dnsDelay` ({settings.dns_delay:g} s)" in OPERATIONS
    assert f"`operator.profileDwell` ({settings.profile_dwell / 60:g} min)" in " ".join(HARDWARE.split())
