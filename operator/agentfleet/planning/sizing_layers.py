"""Memory of llama.cpp and Ollama, which split a model by layers: RAM, GPU memory, or some of each. Pure."""

from agentfleet.errors import InvalidSpec
from agentfleet.planning.memory import kv_bytes_per_token, kv_tokens, weights_bytes
from agentfleet.planning.sizing_types import Sizing, SizingRequest, gib

OVERHEAD_BYTES = 512 * 2**20
"""Compute buffers and the program itself."""

PROMPT_CACHE_BYTES = 8 * 2**30
"""RAM that llama-server may fill with cached prompts (--cache-ram), whatever the model; it counts in memory limits."""


def memory_needed(request: SizingRequest) -> int | None:
    """Bytes for weights, KV cache of the wanted context × slots, and overhead; None without the weights' size.

    A context that nobody gave, or a KV size that cannot be told, is left out: engines shrink what is not given.
    """
    weights = weights_bytes(request.facts)
    return None if weights is None else weights + _kv_bytes(request) + OVERHEAD_BYTES


def size_by_layers(request: SizingRequest) -> Sizing:
    """The sizing of a replica of LlamaCpp or Ollama; InvalidSpec where llama.cpp could not load the model."""
    weights, needed = weights_bytes(request.facts), memory_needed(request)
    said = list(_needs(request, weights, needed))
    tokens = None
    gpus = request.max_gpus or 0
    if gpus and request.gpu_memory_bytes is not None and weights is not None:
        memory = gpus * request.gpu_memory_bytes
        on_gpu = _share(request, weights + _kv_bytes(request))
        if request.engine == "LlamaCpp" and on_gpu > memory:
            raise InvalidSpec("ImpossibleFit", _impossible(request, weights, memory))
        said.append(_placed(request, on_gpu, memory))
        if request.gpu_layers is None:
            tokens = kv_tokens(memory - weights - OVERHEAD_BYTES, request.facts, bits=request.kv_bits)
    elif gpus:
        said.append("GPU memory or the size of the weights is not known: whether they fit cannot be told.")
    return Sizing(1, 1, 1, weights, tokens, request.max_model_len, needed, tuple(said))


def _kv_bytes(request: SizingRequest) -> int:
    each = kv_bytes_per_token(request.facts, bits=request.kv_bits)
    return 0 if each is None else each * (request.max_model_len or 0) * (request.max_num_seqs or 1)


def _share(request: SizingRequest, amount: int) -> int:
    """Part of `amount` that lies on the GPUs: llama.cpp keeps the weights and KV cache of a layer together."""
    layers = request.facts.layers
    if request.gpu_layers is None or layers is None:
        return amount if request.gpu_layers is None else 0
    return amount * min(request.gpu_layers, layers) // layers


def _needs(request: SizingRequest, weights: int | None, needed: int | None) -> list[str]:
    if weights is None or needed is None:
        return ["The size of the weights is not known: give model.facts.weightsBytes, or parameters and quantization."]
    length, slots = request.max_model_len, request.max_num_seqs or 1
    where = "GPU memory" if request.max_gpus else "RAM"
    said = [f"Weights {gib(weights)}; with KV cache and buffers about {gib(needed)} of {where}."]
    if length is None:
        said.append("No context is given: the engine takes what fits.")
    elif kv_bytes_per_token(request.facts) is None:
        said.append("The KV cache is not counted: layers, KV heads or head size are not known.")
    else:
        said.append(f"KV cache of {slots} × {length} tokens: {gib(_kv_bytes(request))} at {request.kv_bits:g} bits.")
    if request.engine == "LlamaCpp":
        said.append(f"llama-server may cache prompts in up to {gib(PROMPT_CACHE_BYTES)} of RAM besides (--cache-ram).")
    return said


def _placed(request: SizingRequest, on_gpu: int, memory: int) -> str:
    gpus = f"{request.max_gpus} GPU{'s' if request.max_gpus != 1 else ''} with {gib(memory)}"
    if on_gpu + OVERHEAD_BYTES <= memory:
        return f"It fits {gpus}."
    if request.engine == "Ollama":
        return f"It does not fit {gpus} whole: Ollama keeps the rest of the layers in RAM, which is slower."
    return f"It fills {gpus} to the brim: there may be too little left for buffers."


def _impossible(request: SizingRequest, weights: int, memory: int) -> str:
    layers, length = request.facts.layers, request.max_model_len
    what = f"weights of {gib(weights)}"
    if _kv_bytes(request):
        what += f" and {gib(_kv_bytes(request))} of KV cache (context {length} × slots {request.max_num_seqs or 1})"
    ways = ["a smaller quantization", f"gpu.memory × gpu.count of {gib(weights + _kv_bytes(request))}"]
    if weights < memory and _kv_bytes(request):
        fitting = (memory - weights) // (_kv_bytes(request) // (length or 1))
        ways.insert(0, f"llamaCpp.contextSize up to {fitting}")
    if layers is not None:
        fits = memory * layers // (weights + _kv_bytes(request))
        ways.insert(0, f"llamaCpp.gpuLayers up to {fits} of {layers} (the rest stays in RAM)")
    asked = "all" if request.gpu_layers is None else str(request.gpu_layers)
    return (
        f"llamaCpp.gpuLayers is {asked}: {what} do not fit gpu.count {request.max_gpus} GPUs with {gib(memory)};"
        f" what would: {', or '.join(ways)}."
    )
