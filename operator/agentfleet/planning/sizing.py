"""How one replica of a model lies on GPUs: parallel sizes, weights, KV cache, context, and the reasons in words. Pure.

`size` is the planner's front door. It refuses only what cannot work by what is known (vLLM itself preempts rather than
fails when many requests meet little KV cache, so one request of full length is all that must fit); what is not known
is said, never assumed. Explicit values are judged, never changed. vLLM's budget on each GPU is
memory × utilization = weights + activations and CUDA graphs + KV cache.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agentfleet.errors import InvalidSpec
from agentfleet.planning.layouts import Layout, layouts, on_cpu
from agentfleet.planning.memory import kv_bytes_per_token, weights_bytes
from agentfleet.planning.parallel import MAX_SIZE, is_mla, legal_tensor_sizes, tensor_doubt
from agentfleet.planning.sizing_layers import size_by_layers
from agentfleet.planning.sizing_types import Sizing, SizingRequest, gib, listed

RESERVE_BYTES = 2 * 2**30
"""Kept on each GPU for activations and CUDA graphs, whose real size only the engine's own profiling tells. What fits
without it alone is tight: taken where nothing better can be had, with a warning."""

USEFUL_CONTEXT = 8192
"""Auto takes more nodes for at most this many tokens where the spec names no length."""

LEAST_CONTEXT = 256
"""A model that has room for fewer tokens is not worth starting."""

_BLOCK = 16
"""Tokens of a block of vLLM's KV cache; one block is never given to requests."""


def size(request: SizingRequest) -> Sizing:
    """The sizing of one replica; InvalidSpec with reason BadParallelism or ImpossibleFit names what would work."""
    return _size_vllm(request) if request.engine == "VLLM" else size_by_layers(request)


@dataclass(frozen=True)
class _Gpus:
    """The memory of every GPU under one layout, in bytes."""

    memory: int
    budget: int
    """What vLLM may take of it."""
    weights: int
    each_token: int | None
    """KV cache of one token on one GPU."""

    def tokens(self, reserve: int) -> int | None:
        """Tokens that fit beside the weights with `reserve` bytes left."""
        return None if not self.each_token else max(0, self.budget - self.weights - reserve) // self.each_token

    def fit(self, length: int, reserve: int) -> bool:
        """Whether the weights and one request of `length` tokens fit with `reserve` bytes left."""
        return self.weights + length * (self.each_token or 0) + reserve <= self.budget


@dataclass(frozen=True)
class _Choice:
    layout: Layout
    gpus: _Gpus | None
    """None where GPU memory or the weights are not known."""
    reserve: int = RESERVE_BYTES


def _size_vllm(request: SizingRequest) -> Sizing:
    possible = layouts(request)
    choice = _choose(request, possible)
    tokens = choice.gpus.tokens(choice.reserve) if choice.gpus else None
    length = _length(request, tokens)
    return Sizing(
        tensor=choice.layout.tensor,
        pipeline=choice.layout.pipeline,
        nodes=choice.layout.nodes,
        weights_bytes=weights_bytes(request.facts),
        kv_cache_tokens=tokens,
        max_model_len=length,
        memory_bytes=_memory(request, length),
        explanation=tuple(_explain(request, choice, tokens, length)),
    )


def _choose(request: SizingRequest, possible: tuple[Layout, ...]) -> _Choice:
    judged = [(layout, gpus) for layout in possible if (gpus := _gpus(request, layout)) is not None]
    if not judged:
        return _Choice(possible[0], None)
    sure = [(layout, gpus) for layout, gpus in judged if tensor_doubt(request.facts, layout.tensor) is None]
    choice = _roomy(request, sure) or _roomy(request, judged) or _tight(request, sure) or _tight(request, judged)
    if choice is None:
        raise InvalidSpec("ImpossibleFit", _impossible(request, *judged[-1], _least(request)))
    return choice


def _roomy(request: SizingRequest, judged: Sequence[tuple[Layout, _Gpus]]) -> _Choice | None:
    """The first layout with room for the wanted length inside a node, else for enough of it, else over nodes."""
    wanted = _wanted(request) or 1
    enough = wanted if _is_firm(request) else min(wanted, USEFUL_CONTEXT)
    inside = [(layout, gpus) for layout, gpus in judged if layout.nodes == 1]
    across = [(layout, gpus) for layout, gpus in judged if layout.nodes > 1]
    for candidates, length in ((inside, wanted), (inside[::-1], enough), (across, enough)):
        for layout, gpus in candidates:
            if gpus.fit(length, RESERVE_BYTES):
                return _Choice(layout, gpus)
    return None


def _tight(request: SizingRequest, judged: Sequence[tuple[Layout, _Gpus]]) -> _Choice | None:
    """The layout with the most GPUs, inside a node if it can be, where the least that must fit does."""
    for layout, gpus in sorted(judged, key=lambda pair: (pair[0].nodes, -pair[0].gpus)):
        if gpus.fit(_least(request), 0):
            spare = gpus.budget - gpus.weights - _least(request) * (gpus.each_token or 0)
            return _Choice(layout, gpus, reserve=min(RESERVE_BYTES, spare // 2))
    return None


def _least(request: SizingRequest) -> int:
    """Tokens below which the engine would not start, or not be worth starting."""
    wanted = _wanted(request) or 1
    # Models with a sliding window keep fewer tokens than they read, so for them the window is all that must fit.
    return min(wanted if _is_firm(request) else LEAST_CONTEXT, wanted, request.facts.sliding_window or wanted)


def _is_firm(request: SizingRequest) -> bool:
    return request.firm_length and request.max_model_len is not None


def _wanted(request: SizingRequest) -> int | None:
    """Tokens of the longest request: what the spec says, else a scenario up to the model's context, else that."""
    asked, context = request.max_model_len, request.facts.context_length
    if _is_firm(request) or context is None:
        return asked
    return min(asked or context, context)


def _gpus(request: SizingRequest, layout: Layout) -> _Gpus | None:
    weights = _loaded_bytes(request)
    if on_cpu(request) or request.gpu_memory_bytes is None or weights is None:
        return None
    return _Gpus(
        memory=request.gpu_memory_bytes,
        budget=request.gpu_memory_bytes * request.utilization_percent // 100,
        weights=-(-weights // layout.gpus),
        each_token=kv_bytes_per_token(request.facts, layout.tensor, layout.pipeline, request.kv_bits),
    )


def _loaded_bytes(request: SizingRequest) -> int | None:
    """Weights as vLLM keeps them: 32-bit checkpoints are loaded with 16 bits."""
    stored, dtype = weights_bytes(request.facts), request.facts.dtype_bytes
    return stored * 2 // dtype if stored and dtype and dtype > 2 and request.facts.quantization is None else stored


def _length(request: SizingRequest, tokens: int | None) -> int | None:
    wanted = _wanted(request)
    if _is_firm(request) or wanted is None or tokens is None or tokens >= wanted:
        return wanted if request.max_model_len else None
    usable = max(_BLOCK, tokens - _BLOCK)
    return usable // 256 * 256 if usable >= 1024 else usable // _BLOCK * _BLOCK


def _memory(request: SizingRequest, length: int | None) -> int | None:
    """GPU memory (RAM on the CPU) of all GPUs together for weights and one request of full length."""
    weights, each = _loaded_bytes(request), kv_bytes_per_token(request.facts, bits=request.kv_bits)
    return None if weights is None else weights + (each or 0) * (length or _wanted(request) or 0)


def _explain(request: SizingRequest, choice: _Choice, tokens: int | None, length: int | None) -> Iterable[str]:
    facts, layout, gpus = request.facts, choice.layout, choice.gpus
    if "Auto" in (request.tensor, request.pipeline):
        yield _auto(request, choice)
    yield from _unknown(request)
    doubt = tensor_doubt(facts, layout.tensor)
    if doubt:
        yield doubt[0].upper() + doubt[1:]
    context = facts.context_length
    if _is_firm(request) and context is not None and (length or 0) > context:
        yield f"vllm.maxModelLen {length} is above the model's context {context}: vLLM refuses it without rope scaling."
    if on_cpu(request) and weights_bytes(facts) is not None:
        yield f"On the CPU: weights and one request need {gib(_memory(request, length) or 0)} of RAM."
    if gpus is not None:
        yield (
            f"Each GPU: {gib(gpus.memory)} × {request.utilization_percent} % = {gib(gpus.budget)},"
            f" of which weights take {gib(gpus.weights)} (of {gib(_loaded_bytes(request) or 0)})."
        )
        yield _reserved(choice.reserve)
        yield from _context(request, gpus, tokens, length)


def _reserved(reserve: int) -> str:
    if reserve == RESERVE_BYTES:
        return f"{gib(reserve)} are kept for activations and CUDA graphs."
    return (
        f"Tight: {gib(reserve)} are left for activations and CUDA graphs, less than the usual {gib(RESERVE_BYTES)}; the"
        " engine may run out of GPU memory at start."
    )


def _context(request: SizingRequest, gpus: _Gpus, tokens: int | None, length: int | None) -> Iterable[str]:
    facts, wanted = request.facts, _wanted(request)
    if tokens is None:
        return
    yield f"KV cache: {(gpus.each_token or 0) / 1024:g} KiB for each token and GPU, so {tokens} tokens fit."
    if facts.sliding_window:
        yield f"Layers with a sliding window of {facts.sliding_window} tokens need less than that."
    if length is not None and length != (request.max_model_len or wanted):
        yield (
            f"vllm.maxModelLen is {length}, not {request.max_model_len or wanted}: more exceeds the model's context or"
            " the room for its KV cache."
        )
    full = length or wanted
    if full and request.max_num_seqs:
        yield (
            f"That is {tokens // full} × {full} tokens; of up to {request.max_num_seqs} requests at once"
            " (vllm.maxNumSeqs), those that find no room wait."
        )


def _auto(request: SizingRequest, choice: _Choice) -> str:
    limit = min(MAX_SIZE, request.gpus_per_node or MAX_SIZE)
    legal = legal_tensor_sizes(request.facts, limit)
    sizes = f"legal tensor sizes: {listed(legal)}" if legal else "which sizes are legal is not known"
    if choice.gpus is None:
        return f"Auto takes {choice.layout}: nothing says that more is needed ({sizes})."
    return f"Auto takes {choice.layout} ({sizes})."


def _unknown(request: SizingRequest) -> Iterable[str]:
    """What could not be judged, and where it would come from."""
    facts = request.facts
    if not on_cpu(request):
        if request.gpu_memory_bytes is None:
            yield "GPU memory is not known (no node label, no gpu.memory): whether the model fits cannot be told."
        if request.gpus_per_node is None and (request.tensor, request.pipeline) != (1, 1):
            yield "GPUs of a node are not known: one node is taken to have enough."
        if legal_tensor_sizes(facts) is None and request.tensor != 1:
            yield "Attention or KV heads are not known: which tensor sizes are legal cannot be told."
    if weights_bytes(facts) is None:
        yield "The size of the weights is not known: give model.facts.parameters and dtypeBytes or quantization."
    if kv_bytes_per_token(facts) is None:
        latent = "kvLoraRank and qkRopeHeadDim" if is_mla(facts) else "kvHeads and headDim"
        yield f"The size of the KV cache is not known (layers, {latent}): context and concurrency are not judged."
    elif request.max_model_len is None and facts.context_length is None:
        yield "The model's context length is not known: whether one request of it fits is not judged."


def _impossible(request: SizingRequest, layout: Layout, gpus: _Gpus, length: int) -> str:
    each = gpus.each_token or 0
    need = gpus.weights + length * each
    what = f"weights of {gib(gpus.weights)}"
    if each:
        what += f" and one request of {length} tokens ({gib(length * each)} of KV cache)"
    field = f"parallelism.tensor {layout.tensor} × pipeline {layout.pipeline}"
    if "Auto" in (request.tensor, request.pipeline):
        field += " (the largest that Auto may take)"
    if each and gpus.weights < gpus.budget and request.max_model_len:
        field = f"vllm.maxModelLen is {request.max_model_len}: with {field}"
    return (
        f"{field}: {what} need {gib(need)} on each GPU, and {request.utilization_percent} % of"
        f" {gib(gpus.memory)} are {gib(gpus.budget)}; what would fit:"
        f" {', or '.join(_remedies(request, layout, gpus, length))}."
    )


def _remedies(request: SizingRequest, layout: Layout, gpus: _Gpus, length: int) -> Iterable[str]:
    legal = legal_tensor_sizes(request.facts, min(MAX_SIZE, request.gpus_per_node or MAX_SIZE)) or ()
    for tensor in legal:
        wide = _gpus(request, Layout(tensor, layout.pipeline, layout.nodes))
        if tensor > layout.tensor and wide and wide.fit(length, RESERVE_BYTES):
            yield f"tensor {tensor} (legal: {listed(legal)})"
            break
    shorter = gpus.tokens(0) or 0
    if _BLOCK < shorter < length:
        yield f"vllm.maxModelLen up to {shorter - _BLOCK}"
    need = gpus.weights + length * (gpus.each_token or 0)
    yield f"GPUs with {gib(-(-need * 100 // request.utilization_percent))} or more"
    if request.facts.quantization is None:
        yield "a quantized model"
