"""CEL rules over the whole spec of a ModelServer: which fields go together. One field's own bounds are beside it."""

from agentfleet.resources.base import Rule, showing
from agentfleet.resources.model import is_downloaded

_OLLAMA_SOURCE = (
    "engine Ollama takes ollama:// sources and no others; VLLM and LlamaCpp take hf://, s3://, gs://, oci://, https://,"
    " pvc:// or file://, FoundryLocal takes foundry://"
)
_GGUF_NEEDED = "engine LlamaCpp needs one .gguf file, for example hf://owner/repo/file.gguf or pvc://claim/file.gguf"
_GGUF_REFUSED = "engine VLLM takes a repository or folder, not a .gguf file; use engine LlamaCpp for GGUF"
_EXTERNAL = "(self.engine == 'External' || self.engine == 'FoundryLocal')"
_EXTERNAL_WITHOUT = (
    "scenario", "profile", "profiles", "parallelism", "gpu", "adapters", "image", "imagePullPolicy", "extraArgs", "env",
    "envFrom", "files", "resources", "podTemplate", "cache", "drain", "idle", "rollout", "expose", "startupTimeout",
    "scaling",
)  # fmt: skip


def _auto_or(field: str) -> str:
    """CEL: the number of a parallel size; 1 where it is absent or still to be found."""
    return f"(has(self.parallelism.{field}) && type(self.parallelism.{field}) == int ? self.parallelism.{field} : 1)"


_WANTED_GPUS = f"{_auto_or('tensor')} * {_auto_or('pipeline')}"


def _source_rules(engine: str, uri: str, field: str, given: str = "true") -> list[Rule]:
    """Which sources an engine takes; `given` is CEL that holds where there is something to judge."""
    return [
        Rule(
            f"!({given}) || ({engine} == 'Ollama') == {uri}.startsWith('ollama://')",
            _OLLAMA_SOURCE,
            field,
            showing(_OLLAMA_SOURCE, uri),
        ),
        Rule(
            f"!({given}) || ({engine} == 'FoundryLocal') == {uri}.startsWith('foundry://')",
            "foundry:// sources are for engine FoundryLocal, which takes no others",
            field,
        ),
        Rule(
            f"!({given}) || {engine} != 'LlamaCpp' || {uri}.matches('[.]gguf(@.*)?$') || {uri}.startsWith('oci://')",
            _GGUF_NEEDED,
            field,
            showing(_GGUF_NEEDED, uri),
        ),
        Rule(
            f"!({given}) || {engine} != 'VLLM' || !{uri}.matches('[.]gguf(@.*)?$')",
            _GGUF_REFUSED,
            field,
            showing(_GGUF_REFUSED, uri),
        ),
    ]


SPEC_RULES: list[tuple[str | None, ...]] = [
    (
        f"{_EXTERNAL} || has(self.model)",
        "model is required, but for engines External and FoundryLocal",
        ".model",
    ),
    (
        f"{_EXTERNAL} == has(self.external)",
        "external (with url) is for engines External and FoundryLocal, which need it",
        ".external",
    ),
    (
        "self.engine != 'External' || !has(self.model)",
        "engine External names its model in external.model, not in model",
        ".model",
    ),
    (
        f"!{_EXTERNAL} || ({' && '.join(f'!has(self.{name})' for name in _EXTERNAL_WITHOUT)})",
        "engines External and FoundryLocal run outside the cluster and take none of " + ", ".join(_EXTERNAL_WITHOUT),
        ".engine",
    ),
    (
        f"!{_EXTERNAL} || self.replicas <= 1",
        "an external endpoint has one watcher: replicas is 0 or 1",
        ".replicas",
    ),
    *_source_rules("self.engine", "self.model.uri", ".model.uri", "has(self.model)"),
    (
        "!has(self.scenario) || self.engine == 'VLLM'",
        "scenario is for engine VLLM: it is a set of vLLM's settings",
        ".scenario",
    ),
    ("!has(self.profile) || !has(self.profiles)", "set profile or profiles, not both", ".profile"),
    (
        "!has(self.model) || !has(self.model.variants) || has(self.profile) || has(self.profiles)",
        "model.variants are chosen by hardware profiles: set profile or profiles",
        ".model.variants",
    ),
    (
        "!has(self.adapters) || self.engine == 'VLLM'",
        "adapters are for engine VLLM",
        ".adapters",
    ),
    (
        f"!has(self.adapters) || self.adapters.all(a, {is_downloaded('a.uri')})",
        "adapters come from hf://, s3://, gs://, oci:// or https://",
        ".adapters",
    ),
    (
        "!has(self.idle) || self.engine != 'VLLM'",
        "idle is for engines that can unload a model: Ollama and LlamaCpp",
        ".idle",
    ),
    (
        "!has(self.idle) || !has(self.idle.memoryPercent) || self.engine == 'Ollama'",
        "idle.memoryPercent is for engine Ollama",
        ".idle.memoryPercent",
    ),
    (
        "!has(self.expose) || !has(self.expose.apiKeySecretName) || self.engine != 'Ollama'",
        "engine Ollama checks no keys; put an AgentRoute with auth before it",
        ".expose.apiKeySecretName",
    ),
    (
        "!has(self.model) || !has(self.model.task) || self.engine == 'VLLM'"
        " || !(self.model.task in ['Audio', 'Rerank'])"
        " || (self.engine == 'LlamaCpp' && self.model.task == 'Rerank')",
        "task Audio is for engine VLLM, Rerank for VLLM and LlamaCpp",
        ".model.task",
    ),
    (
        "!has(self.model) || !has(self.model.task) || self.model.task != 'Vision' || self.engine != 'LlamaCpp'"
        " || (has(self.llamaCpp) && has(self.llamaCpp.projector))",
        "task Vision with engine LlamaCpp needs llamaCpp.projector",
        ".model.task",
    ),
    (
        "!has(self.llamaCpp) || !has(self.llamaCpp.projector) || !has(self.model)"
        " || self.model.uri.matches('^(pvc|file)://')",
        "llamaCpp.projector lies beside the model: use a pvc:// or file:// source, since a download brings one file",
        ".llamaCpp.projector",
    ),
    (
        "self.engine != 'Ollama' || !has(self.cache) || !has(self.cache.preload)",
        "Ollama pulls its models itself when a pod starts; cache.preload is for other engines",
        ".cache.preload",
    ),
    (
        "self.engine != 'Ollama' || !has(self.cache) || !has(self.cache.size)"
        " || self.cache.type in ['Ephemeral', 'PersistentVolume']",
        "Ollama keeps what it has pulled: cache.size makes no room in a HostPath or ExistingClaim for it",
        ".cache.size",
    ),
    (
        "!has(self.parallelism) || !has(self.parallelism.nodes) || !has(self.parallelism.pipeline)"
        " || type(self.parallelism.pipeline) == string"
        " || self.parallelism.pipeline % self.parallelism.nodes == 0",
        "parallelism.pipeline must be a multiple of parallelism.nodes",
        ".parallelism.nodes",
    ),
    (
        "!has(self.scaling) || !has(self.scaling.vertical) || self.engine == 'VLLM'",
        "scaling.vertical is for engine VLLM: it changes the tensor parallel size",
        ".scaling.vertical",
    ),
    (
        "!has(self.scaling) || !has(self.placement) || !has(self.placement.mode) || self.placement.mode != 'PerNode'",
        "placement mode PerNode runs one pod on each node: there is nothing to scale",
        ".scaling",
    ),
    ("self.engine == 'VLLM' || !has(self.vllm)", "vllm is for engine VLLM", ".vllm"),
    ("self.engine == 'LlamaCpp' || !has(self.llamaCpp)", "llamaCpp is for engine LlamaCpp", ".llamaCpp"),
    ("self.engine == 'Ollama' || !has(self.ollama)", "ollama is for engine Ollama", ".ollama"),
    (
        "self.engine == 'VLLM' || !has(self.parallelism)",
        "parallelism is for engine VLLM; LlamaCpp and Ollama split layers over gpu.count GPUs by themselves",
        ".parallelism",
    ),
    (
        "!has(self.gpu) || !has(self.gpu.count) || self.gpu.count == 0 || !has(self.parallelism)"
        f" || self.gpu.count >= {_WANTED_GPUS}",
        "gpu.count must be at least parallelism.tensor × parallelism.pipeline, or 0 for the CPU",
        ".gpu.count",
        "'gpu.count is %d; it must be at least %d (parallelism.tensor × pipeline), or 0 for the CPU'"
        f".format([self.gpu.count, {_WANTED_GPUS}])",
    ),
    (
        "!has(self.extraArgs) || self.engine != 'Ollama'",
        "engine Ollama is set by environment variables: use env or spec.ollama, not extraArgs",
        ".extraArgs",
    ),
    (
        f"!has(self.cache) || !has(self.model) || {is_downloaded('self.model.uri')}"
        " || self.model.uri.startsWith('ollama://')",
        "cache is for downloaded sources (hf, s3, gs, oci, https, ollama); pvc:// and file:// are used where they are",
        ".cache",
    ),
]
