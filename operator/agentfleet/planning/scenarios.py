"""spec.scenario → settings of vLLM, where the spec itself says nothing. Pure.

The table is the whole of it; what cannot be done as the table says is done otherwise and said (notes).
"""

from dataclasses import dataclass
from typing import Any

from agentfleet.planning.parallel import legal_tensor_sizes
from agentfleet.resources.engine_options import Speculative, StructuredOutputs, VLLMOptions
from agentfleet.resources.facts import ModelFacts
from agentfleet.resources.gpu import Parallelism
from agentfleet.resources.modelserver import ModelServer


@dataclass(frozen=True)
class Scenario:
    """One row of the table. `preferred` fields of vLLM bow to the checkpoint: see `apply`."""

    memory_percent: int
    context: int
    tensor: int
    pipeline: int
    prefix_caching: bool
    sequences: int
    batched_tokens: int
    quantization: str | None = None
    chunked_prefill: bool | None = None
    speculation: bool = False
    structured_outputs: str | None = None


SCENARIOS: dict[str, Scenario] = {
    "Development": Scenario(60, 2048, 1, 1, False, 32, 2048),
    "Staging": Scenario(80, 4096, 1, 1, True, 64, 4096, "awq"),
    "ProductionLow": Scenario(85, 4096, 1, 1, True, 128, 8192, "awq", True),
    "ProductionHigh": Scenario(90, 8192, 2, 1, True, 256, 16384, "awq", True, True),
    "Enterprise": Scenario(95, 16384, 4, 2, True, 512, 32768, "awq", True, True, "outlines"),
}


def with_scenario(server: ModelServer, facts: ModelFacts | None) -> tuple[ModelServer, tuple[str, ...]]:
    """The server with its scenario's settings filled in where its spec has none, and what is not as the table says."""
    name = server.spec.scenario
    if name is None:
        return server, ()
    scenario, given = SCENARIOS[name], server.spec.vllm or VLLMOptions()
    on_cpu = bool(server.spec.gpu and server.spec.gpu.count == 0)
    notes = list(_explicit(name, scenario, server, given))
    wanted = {
        "gpu_memory_utilization_percent": scenario.memory_percent,
        "max_model_len": _context(scenario, given, facts, notes),
        "max_num_seqs": scenario.sequences,
        "max_num_batched_tokens": scenario.batched_tokens,
        "quantization": _quantization(scenario, given, facts, notes),
        "prefix_caching": scenario.prefix_caching,
        "chunked_prefill": scenario.chunked_prefill,
        "speculative": _speculation(scenario, given, notes, on_cpu=on_cpu),
        "structured_outputs": scenario.structured_outputs and StructuredOutputs(backend=scenario.structured_outputs),
    }
    options = given.model_copy(
        update={field: value for field, value in wanted.items() if value is not None and getattr(given, field) is None}
    )
    spec = server.spec.model_copy(
        update={"vllm": options, "parallelism": _parallelism(name, scenario, server, facts, notes)}
    )
    return server.model_copy(update={"spec": spec}), tuple(notes)


def _explicit(name: str, scenario: Scenario, server: ModelServer, given: VLLMOptions) -> list[str]:
    """Settings of the table that the spec overrides."""
    table: dict[str, tuple[Any, Any]] = {
        "gpuMemoryUtilizationPercent": (scenario.memory_percent, given.gpu_memory_utilization_percent),
        "maxModelLen": (scenario.context, given.max_model_len),
        "maxNumSeqs": (scenario.sequences, given.max_num_seqs),
        "maxNumBatchedTokens": (scenario.batched_tokens, given.max_num_batched_tokens),
        "prefixCaching": (scenario.prefix_caching, given.prefix_caching),
        "chunkedPrefill": (scenario.chunked_prefill, given.chunked_prefill),
        "quantization": (scenario.quantization, given.quantization),
    }
    sizes = server.spec.parallelism or Parallelism()
    table = {f"vllm.{field}": pair for field, pair in table.items()} | {
        "parallelism.tensor": (scenario.tensor, sizes.tensor),
        "parallelism.pipeline": (scenario.pipeline, sizes.pipeline),
        "vllm.structuredOutputs.backend": (
            scenario.structured_outputs,
            given.structured_outputs.backend if given.structured_outputs else None,
        ),
    }
    return [
        f"{field} is {value} as it is set, not {wanted} as scenario {name} would have it."
        for field, (wanted, value) in table.items()
        if value is not None and wanted is not None and value != wanted
    ]


def _context(scenario: Scenario, given: VLLMOptions, facts: ModelFacts | None, notes: list[str]) -> int:
    longest = facts.context_length if facts else None
    if given.max_model_len is None and longest is not None and longest < scenario.context:
        notes.append(f"vllm.maxModelLen is {longest}, the model's longest context, not {scenario.context}.")
        return longest
    return scenario.context


def _quantization(scenario: Scenario, given: VLLMOptions, facts: ModelFacts | None, notes: list[str]) -> str | None:
    """vLLM ends at start when it is told a quantization that the checkpoint does not have."""
    if scenario.quantization is None or given.quantization is not None:
        return None
    if facts is not None and facts.quantization == scenario.quantization:
        return scenario.quantization
    is_a = f"is {facts.quantization}" if facts and facts.quantization else "is not known to be quantized"
    notes.append(f"Quantization {scenario.quantization} is left out: the checkpoint {is_a}, and vLLM reads its own.")
    return None


def _speculation(scenario: Scenario, given: VLLMOptions, notes: list[str], *, on_cpu: bool) -> Speculative | None:
    if not scenario.speculation or given.speculative is not None:
        return None
    if on_cpu:
        notes.append("Speculative decoding is left out: it gains nothing on a CPU.")
        return None
    notes.append("Speculative decoding proposes n-grams of the prompt: vllm.speculative.model names no draft model.")
    return Speculative()


def _parallelism(
    name: str, scenario: Scenario, server: ModelServer, facts: ModelFacts | None, notes: list[str]
) -> Parallelism:
    """The table's sizes where the spec gives none, as far as the spec's GPUs and the model's heads go."""
    given = server.spec.parallelism or Parallelism()
    limit = server.spec.gpu.count if server.spec.gpu else None
    tensor, pipeline = given.tensor or scenario.tensor, given.pipeline or scenario.pipeline
    if limit is not None and tensor != "Auto" and pipeline != "Auto" and tensor * pipeline > max(limit, 1):
        notes.append(f"Scenario {name}'s {tensor} × {pipeline} GPUs are not taken: gpu.count is {limit}.")
        return given
    legal = legal_tensor_sizes(facts) if facts else None
    if given.tensor is None and legal and tensor not in legal:
        tensor = max(size for size in legal if size <= scenario.tensor)
        notes.append(f"parallelism.tensor is {tensor}, not {scenario.tensor}: it must divide the model's heads.")
    return given.model_copy(update={"tensor": tensor, "pipeline": pipeline})
