"""The five scenarios: one row of the document each, down to the command line; and what bows to spec, model or CPU."""

from typing import Any

import pytest

from agentfleet.engines import ENGINES
from agentfleet.engines.vllm_flags import FLAGS
from agentfleet.manifests.loader import model_path
from agentfleet.planning.resolve import Situation, resolve
from agentfleet.planning.scenarios import SCENARIOS
from agentfleet.resources.facts import ModelFacts
from agentfleet.resources.flag_rules import flag_name
from agentfleet.resources.modelserver import ModelServerSpec
from agentfleet.resources.modelserver_status import SourceFacts
from agentfleet.settings import Settings
from tests.builders import MODELS, server
from tests.planning.times import NOW

AWQ = ModelFacts(
    quantization="awq", attention_heads=32, kv_heads=8, layers=32, context_length=131072, intermediate_size=14336
)
NGRAM = '--speculative-config={"method": "ngram", "num_speculative_tokens": 5, "prompt_lookup_max": 4}'
ROWS = {
    "Development": [
        "--gpu-memory-utilization=0.6", "--max-model-len=2048", "--max-num-seqs=32", "--max-num-batched-tokens=2048",
        "--no-enable-prefix-caching",
    ],
    "Staging": [
        "--gpu-memory-utilization=0.8", "--max-model-len=4096", "--max-num-seqs=64", "--max-num-batched-tokens=4096",
        "--quantization=awq", "--enable-prefix-caching",
    ],
    "ProductionLow": [
        "--gpu-memory-utilization=0.85", "--max-model-len=4096", "--max-num-seqs=128", "--max-num-batched-tokens=8192",
        "--quantization=awq", "--enable-prefix-caching", "--enable-chunked-prefill",
    ],
    "ProductionHigh": [
        "--tensor-parallel-size=2", "--gpu-memory-utilization=0.9", "--max-model-len=8192", "--max-num-seqs=256",
        "--max-num-batched-tokens=16384", "--quantization=awq", "--enable-prefix-caching", "--enable-chunked-prefill",
        NGRAM,
    ],
    "Enterprise": [
        "--tensor-parallel-size=4", "--pipeline-parallel-size=2", "--gpu-memory-utilization=0.95",
        "--max-model-len=16384", "--max-num-seqs=512", "--max-num-batched-tokens=32768", "--quantization=awq",
        "--enable-prefix-caching", "--enable-chunked-prefill", NGRAM,
        '--structured-outputs-config={"backend": "outlines"}',
    ],
}  # fmt: skip


def flags_and_notes(facts: ModelFacts | None, **spec: Any) -> tuple[list[str], str]:
    """What the scenario adds to vLLM's command line, and what status says of it."""
    sources = {} if facts is None else {MODELS["VLLM"]: SourceFacts(uri=MODELS["VLLM"], facts=facts)}
    found = resolve(server("VLLM", **spec), Situation(now=NOW, sources=sources), Settings())
    launch = ENGINES["VLLM"].launch(found.server, model_path(found.server), Settings())
    plain = server("VLLM")
    least = ENGINES["VLLM"].launch(plain, model_path(plain), Settings()).args
    return [arg for arg in launch.args if arg not in least], " ".join(found.plan.explanation)


@pytest.mark.parametrize("scenario", ROWS)
def test_each_row_becomes_its_flags(scenario: str) -> None:
    assert flags_and_notes(AWQ, scenario=scenario)[0] == ROWS[scenario]


@pytest.mark.parametrize("scenario", ROWS)
@pytest.mark.parametrize("version", FLAGS)
def test_each_flag_is_one_of_every_known_version(scenario: str, version: str) -> None:
    names = {flag_name(flag).replace("--no-", "--", 1) for flag in ROWS[scenario]}
    assert names <= FLAGS[version]


@pytest.mark.parametrize("scenario", ["Staging", "ProductionLow", "ProductionHigh", "Enterprise"])
def test_awq_is_left_to_a_checkpoint_that_is_not_awq(scenario: str) -> None:
    flags, notes = flags_and_notes(AWQ.model_copy(update={"quantization": "gptq"}), scenario=scenario)
    assert not [flag for flag in flags if "quantization" in flag]
    assert "Quantization awq is left out: the checkpoint is gptq" in notes


def test_awq_is_left_out_where_the_checkpoint_is_not_known() -> None:
    flags, notes = flags_and_notes(None, scenario="Staging")
    assert not [flag for flag in flags if "quantization" in flag]
    assert "is not known to be quantized" in notes


@pytest.mark.parametrize(
    ("spec", "flag", "note"),
    [
        ({"vllm": {"maxModelLen": 1024}}, "--max-model-len=1024", "maxModelLen is 1024 as it is set, not 8192"),
        ({"vllm": {"maxNumSeqs": 8}}, "--max-num-seqs=8", "maxNumSeqs is 8"),
        ({"vllm": {"prefixCaching": False}}, "--no-enable-prefix-caching", "prefixCaching is False"),
        ({"vllm": {"gpuMemoryUtilizationPercent": 50}}, "--gpu-memory-utilization=0.5", "Percent is 50"),
        ({"parallelism": {"tensor": 4}}, "--tensor-parallel-size=4", "parallelism.tensor is 4 as it is set, not 2"),
    ],
)
def test_explicit_fields_win_and_it_is_said(spec: dict[str, Any], flag: str, note: str) -> None:
    flags, notes = flags_and_notes(AWQ, scenario="ProductionHigh", **spec)
    assert any(flag in each for each in flags)
    assert note in notes


def test_a_draft_model_is_what_the_scenario_wants() -> None:
    speculative = {"model": "/models/draft", "tokens": 3}
    flags, notes = flags_and_notes(AWQ, scenario="ProductionHigh", vllm={"speculative": speculative})
    assert '--speculative-config={"model": "/models/draft", "num_speculative_tokens": 3}' in flags
    assert "peculative" not in notes


@pytest.mark.parametrize("name", SCENARIOS)
def test_kubectl_explain_has_the_table(name: str) -> None:
    """The field's docstring is written by hand, and must say what the table does."""
    row = SCENARIOS[name]
    figures = (
        f"{row.memory_percent} %, {row.context}, {row.tensor} × {row.pipeline}, {row.sequences}, {row.batched_tokens}"
    )
    explained = " ".join((ModelServerSpec.model_fields["scenario"].description or "").split())
    assert f"{name} {figures}," in explained


def test_speculation_without_a_draft_model_says_what_it_does() -> None:
    assert "n-grams of the prompt" in flags_and_notes(AWQ, scenario="ProductionHigh")[1]


def test_on_a_cpu_neither_gpus_nor_speculation() -> None:
    flags, notes = flags_and_notes(AWQ, scenario="Enterprise", gpu={"count": 0})
    assert not [flag for flag in flags if "parallel" in flag or "speculative" in flag]
    assert "Speculative decoding is left out" in notes
    assert "4 × 2 GPUs are not taken" in notes


def test_fewer_gpus_than_the_row_wants() -> None:
    flags, notes = flags_and_notes(AWQ, scenario="ProductionHigh", gpu={"count": 1})
    assert not [flag for flag in flags if "parallel" in flag]
    assert "2 × 1 GPUs are not taken: gpu.count is 1" in notes


def test_a_tensor_size_that_the_model_does_not_allow() -> None:
    facts = AWQ.model_copy(update={"attention_heads": 14, "kv_heads": 2, "intermediate_size": 4864})
    flags, notes = flags_and_notes(facts, scenario="Enterprise")
    assert "--tensor-parallel-size=2" in flags
    assert "parallelism.tensor is 2, not 4" in notes


def test_a_context_that_the_model_does_not_have() -> None:
    flags, notes = flags_and_notes(AWQ.model_copy(update={"context_length": 2048}), scenario="Staging")
    assert "--max-model-len=2048" in flags
    assert "the model's longest context, not 4096" in notes


def test_a_scenario_wants_the_files_read_first() -> None:
    found = resolve(server("VLLM", scenario="Staging"), Situation(now=NOW), Settings())
    assert found.inspect is not None
    known = server("VLLM", scenario="Staging", model={"uri": MODELS["VLLM"], "facts": {"quantization": "awq"}})
    assert resolve(known, Situation(now=NOW), Settings()).inspect is None
