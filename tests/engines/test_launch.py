"""Command lines of the engines: one row for each field, and what must always be there."""

import itertools
from typing import Any

import pytest

from agentfleet.engines import ENGINES
from agentfleet.engines.base import Launch, gpu_count, image_version
from agentfleet.engines.vllm_flags import FLAGS
from agentfleet.manifests.loader import model_path
from agentfleet.resources.flag_rules import OWNED_VARIABLES
from agentfleet.settings import Settings
from tests.builders import MODELS, server

SETTINGS = Settings()


def launch(engine: str, **spec: Any) -> Launch:
    subject = server(engine, **spec)
    return ENGINES[engine].launch(subject, model_path(subject), SETTINGS)


def test_vllm_at_its_least() -> None:
    started = launch("VLLM")
    assert started.command == ("vllm", "serve")
    assert started.args == (
        "/models/acme--chat-7b-5001c789",
        "--served-model-name",
        "phi",
        "acme--chat-7b",
        "--host=0.0.0.0",
        "--port=8000",
        "--shutdown-timeout=15",
        "--disable-access-log-for-endpoints=/health,/metrics,/ping",
    )
    assert started.pod_ip_variable == "VLLM_HOST_IP"
    assert started.shared_memory == "1Gi"
    assert started.env["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize(
    ("spec", "flags"),
    [
        ({"parallelism": {"tensor": 4, "pipeline": 2}}, ["--tensor-parallel-size=4", "--pipeline-parallel-size=2"]),
        ({"vllm": {"gpuMemoryUtilizationPercent": 90}}, ["--gpu-memory-utilization=0.9"]),
        ({"vllm": {"gpuMemoryUtilizationPercent": 100}}, ["--gpu-memory-utilization=1"]),
        ({"vllm": {"maxModelLen": 8192}}, ["--max-model-len=8192"]),
        ({"vllm": {"maxNumSeqs": 256}}, ["--max-num-seqs=256"]),
        ({"vllm": {"maxNumBatchedTokens": 16384}}, ["--max-num-batched-tokens=16384"]),
        ({"vllm": {"quantization": "awq"}}, ["--quantization=awq"]),
        ({"vllm": {"prefixCaching": True}}, ["--enable-prefix-caching"]),
        ({"vllm": {"prefixCaching": False}}, ["--no-enable-prefix-caching"]),
        ({"vllm": {"chunkedPrefill": False}}, ["--no-enable-chunked-prefill"]),
        ({"vllm": {"trustRemoteCode": True}}, ["--trust-remote-code"]),
        ({"vllm": {"trustRemoteCode": False}}, []),
        ({"vllm": {"toolCallParser": "hermes"}}, ["--enable-auto-tool-choice", "--tool-call-parser=hermes"]),
        ({"vllm": {"reasoningParser": "qwen3"}}, ["--reasoning-parser=qwen3"]),
        (
            {"vllm": {"speculative": {"model": "acme/draft"}}},
            ['--speculative-config={"model": "acme/draft", "num_speculative_tokens": 5}'],
        ),
        (
            {"vllm": {"structuredOutputs": {"backend": "outlines"}}},
            ['--structured-outputs-config={"backend": "outlines"}'],
        ),
        ({"extraArgs": ["--enforce-eager", "--block-size=16"]}, ["--enforce-eager", "--block-size=16"]),
    ],
)
def test_vllm_flags(spec: dict[str, Any], flags: list[str]) -> None:
    assert list(launch("VLLM", **spec).args[len(launch("VLLM").args) :]) == flags


@pytest.mark.parametrize(
    ("engine", "spec", "flags"),
    [
        ("VLLM", {"task": "Chat"}, []),
        ("VLLM", {"task": "Vision"}, []),
        ("VLLM", {"task": "Embedding"}, ["--runner=pooling", "--convert=embed"]),
        ("VLLM", {"task": "Rerank"}, ["--runner=pooling", "--convert=classify"]),
        ("LlamaCpp", {"task": "Embedding"}, ["--embeddings"]),
        ("LlamaCpp", {"task": "Rerank"}, ["--reranking"]),
    ],
)
def test_tasks(engine: str, spec: dict[str, Any], flags: list[str]) -> None:
    started = launch(engine, model={"uri": MODELS[engine], **spec})
    assert [arg for arg in started.args if arg not in launch(engine).args] == flags
    assert f"--warm-up={spec['task']}" in started.sidecar_args


def test_vision_needs_its_projector() -> None:
    started = launch(
        "LlamaCpp", model={"uri": "pvc://m/a/q4.gguf", "task": "Vision"}, llamaCpp={"projector": "mm.gguf"}
    )
    assert ("--mmproj", "/models/a/mm.gguf") in list(itertools.pairwise(started.args))


def test_adapters_start_vllm_for_them_and_leave_the_list_to_the_sidecar() -> None:
    started = launch("VLLM", adapters=[{"name": "sql", "uri": "hf://acme/sql-lora"}], vllm={"maxLoraRank": 64})
    assert {"--enable-lora", "--max-lora-rank=64"} <= set(started.args)
    assert started.env["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"
    assert not [arg for arg in started.args if "sql" in arg]


def test_n_grams_are_proposed_where_there_is_no_draft_model() -> None:
    flag = launch("VLLM", vllm={"speculative": {"tokens": 3}}).args[-1]
    assert flag == '--speculative-config={"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 4}'


def test_amd_gpus_use_the_rocm_image() -> None:
    assert launch("LlamaCpp", gpu={"resource": "amd.com/gpu"}).image == SETTINGS.llama_cpp_rocm_image


def test_idle_llama_server_sleeps() -> None:
    assert ("--sleep-idle-seconds", "300") in list(
        itertools.pairwise(launch("LlamaCpp", idle={"unloadAfter": "5m"}).args)
    )


@pytest.mark.parametrize(
    ("category", "models"),
    [
        ("UltraLight", ["qwen2.5:0.5b-instruct-q4_K_M", "tinyllama:1.1b-chat-q4_K_M"]),
        ("Balanced", ["phi3.5:3.8b-mini-instruct-q4_K_M", "llama3.2:3b-instruct-q4_K_M"]),
        ("CodeSpecialist", ["codellama:7b-code-q4_K_M", "codegemma:7b-code-q4_K_M"]),
        ("HighCapability", ["llama3.1:8b-instruct-q4_K_M", "qwen2.5:7b-instruct-q4_K_M"]),
    ],
)
def test_categories_of_the_ollama_catalog(category: str, models: list[str]) -> None:
    args = launch("Ollama", ollama={"categories": [category]}).sidecar_args
    assert [arg for arg in args if "category" in arg] == [
        f"--serve={name}={name},category={category}" for name in models
    ]


def test_idle_caps_and_updates_are_the_sidecars() -> None:
    args = launch(
        "Ollama",
        model={"uri": MODELS["Ollama"], "update": {"schedule": "0 3 * * *", "timeZone": "Asia/Kuala_Lumpur"}},
        ollama={"maxMemory": "8Gi"},
        idle={"unloadAfter": "300s", "memoryPercent": 80},
    ).sidecar_args
    assert set(args) >= {
        "--unload-after=300s",
        "--memory-percent=80",
        "--max-memory=8589934592",
        "--update-schedule=0 3 * * *",
        "--update-time-zone=Asia/Kuala_Lumpur",
    }


@pytest.mark.parametrize(
    ("image", "refused"), [("vllm/vllm-openai:v0.33.0", True), ("vllm/vllm-openai:v0.40.0", False)]
)
def test_a_structured_output_backend_that_the_version_does_not_have(image: str, refused: bool) -> None:
    subject = server("VLLM", vllm={"structuredOutputs": {"backend": "regex"}})
    said = list(ENGINES["VLLM"].problems(subject, image))
    assert bool(said) is refused
    assert not said or "regex is none of auto, guidance, lm-format-enforcer, outlines, xgrammar" in said[0]


def test_vllm_shares_memory_between_gpus() -> None:
    assert launch("VLLM", parallelism={"tensor": 2}).shared_memory == "2Gi"


def test_llamacpp_at_its_least() -> None:
    started = launch("LlamaCpp")
    assert started.command == ("/app/llama-server",)
    assert " ".join(started.args) == (
        "--model /models/tiny.gguf --alias phi --host 0.0.0.0 --port 8080 --metrics --offline --parallel 1"
        " --n-gpu-layers 0 --sse-ping-interval 5"
    )
    assert started.image == SETTINGS.llama_cpp_image


@pytest.mark.parametrize(
    ("spec", "flags"),
    [
        ({"llamaCpp": {"contextSize": 2048, "slots": 4}}, "--parallel 4 --ctx-size 8192"),
        ({"llamaCpp": {"gpuLayers": 20}}, "--n-gpu-layers 20"),
        ({"gpu": {}}, "--n-gpu-layers 999"),
        ({"llamaCpp": {"threads": 3}}, "--threads 3"),
        ({"llamaCpp": {"batchSize": 256}}, "--batch-size 256"),
        ({"llamaCpp": {"flashAttention": "Enabled"}}, "--flash-attn on"),
        ({"llamaCpp": {"memoryLock": True}}, "--load-mode mlock"),
        ({"llamaCpp": {"numa": "Distribute"}}, "--numa distribute"),
        ({"extraArgs": ["--temp=0.2", "-x"]}, "--temp 0.2"),
    ],
)
def test_llamacpp_flags(spec: dict[str, Any], flags: str) -> None:
    args = launch("LlamaCpp", **spec).args
    pairs = list(itertools.pairwise(args))
    words = flags.split()
    assert all(pair in pairs for pair in zip(words[::2], words[1::2], strict=True))


def test_llamacpp_on_a_gpu_uses_the_gpu_image() -> None:
    assert launch("LlamaCpp", gpu={}).image == SETTINGS.llama_cpp_gpu_image


def test_ollama_serves_its_models_under_their_names() -> None:
    started = launch("Ollama", ollama={"models": ["llama3.2:1b"], "keepAlive": "10m", "insecureRegistry": True})
    assert (*started.command, *started.args) == ("/bin/ollama", "serve")
    assert started.sidecar_args == (
        "--serve=qwen2.5:0.5b=phi",
        "--serve=llama3.2:1b=llama3.2:1b",
        "--warm-up=Chat",
        "--keep-alive=10m",
        "--preload",
        "--insecure-registry",
    )
    assert started.env["OLLAMA_MAX_LOADED_MODELS"] == "2"
    assert started.env["OLLAMA_KEEP_ALIVE"] == "10m"


@pytest.mark.parametrize(
    ("options", "variable", "value"),
    [
        ({"contextLength": 8192}, "OLLAMA_CONTEXT_LENGTH", "8192"),
        ({"parallel": 4}, "OLLAMA_NUM_PARALLEL", "4"),
        ({"maxLoadedModels": 1}, "OLLAMA_MAX_LOADED_MODELS", "1"),
        ({"keepAlive": "Forever"}, "OLLAMA_KEEP_ALIVE", "-1"),
        ({}, "OLLAMA_KEEP_ALIVE", "-1"),
        ({}, "OLLAMA_NO_CLOUD", "1"),
        ({}, "OLLAMA_HOST", "0.0.0.0:11434"),
    ],
)
def test_ollama_variables(options: dict[str, Any], variable: str, value: str) -> None:
    assert launch("Ollama", ollama=options).env[variable] == value


@pytest.mark.parametrize(
    ("engine", "spec", "gpus"),
    [
        ("VLLM", {}, 1),
        ("VLLM", {"parallelism": {"tensor": 2, "pipeline": 2}}, 4),
        ("VLLM", {"gpu": {"count": 0}}, 0),
        ("VLLM", {"parallelism": {"tensor": 2}, "gpu": {"count": 8}}, 8),
        ("LlamaCpp", {}, 0),
        ("LlamaCpp", {"gpu": {}}, 1),
        ("Ollama", {"gpu": {"count": 2}}, 2),
    ],
)
def test_gpus_of_a_replica(engine: str, spec: dict[str, Any], gpus: int) -> None:
    assert gpu_count(ENGINES[engine], server(engine, **spec)) == gpus


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("vllm/vllm-openai:v0.33.0", "0.33"),
        ("registry.example:5000/vllm:v0.32.1-cu129", "0.32"),
        ("vllm/vllm-openai:v0.33.0@sha256:abc", "0.33"),
        ("vllm/vllm-openai:latest", None),
        ("registry.example:5000/vllm", None),
        ("vllm@sha256:abc", None),
    ],
)
def test_version_of_an_image(image: str, version: str | None) -> None:
    assert image_version(image) == version


@pytest.mark.parametrize(
    ("image", "argument", "said"),
    [
        ("vllm/vllm-openai:v0.33.0", "--enforce-eagre", "--enforce-eagre is not a flag of vLLM 0.33"),
        ("vllm/vllm-openai:v0.32.0", "--watchdog-config={}", "--watchdog-config is not a flag of vLLM 0.32"),
        ("vllm/vllm-openai:v0.33.0", "--swap_space=4", "--swap-space is gone from vLLM; use --kv-offloading-size"),
        ("vllm/vllm-openai:v0.33.0", "--host=::", "--host is set by the operator"),
        ("vllm/vllm-openai:v0.33.0", "--api-k=x", "--api-k is short for --api-key"),
        ("vllm/vllm-openai:nightly", "--tensor-parallel=4", "--tensor-parallel is short for --tensor-parallel-size"),
    ],
)
def test_vllm_refuses(image: str, argument: str, said: str) -> None:
    found = list(ENGINES["VLLM"].problems(server("VLLM", extraArgs=[argument]), image))
    assert said in " ".join(found)


@pytest.mark.parametrize(
    ("image", "arguments"),
    [
        ("vllm/vllm-openai:v0.33.0", ["--enforce-eager", "--max-num-queued-reqs", "100", "--no-enable-log-requests"]),
        ("vllm/vllm-openai:v0.33.0", ["--watchdog-config={}"]),
        ("vllm/vllm-openai:v0.33.0", ["--rope-theta-x", "-1"][1:]),
        ("vllm/vllm-openai:nightly", ["--something-new"]),
    ],
)
def test_vllm_accepts(image: str, arguments: list[str]) -> None:
    assert list(ENGINES["VLLM"].problems(server("VLLM", extraArgs=arguments), image)) == []


@pytest.mark.parametrize("version", FLAGS)
def test_every_flag_that_is_emitted_is_one_that_the_version_knows(version: str) -> None:
    everything = {
        "parallelism": {"tensor": 2, "pipeline": 2},
        "vllm": {
            "gpuMemoryUtilizationPercent": 90, "maxModelLen": 1, "maxNumSeqs": 1, "maxNumBatchedTokens": 1,
            "quantization": "awq", "prefixCaching": True, "chunkedPrefill": True, "speculative": {"model": "a/b"},
            "structuredOutputs": {"backend": "auto"}, "trustRemoteCode": True, "toolCallParser": "hermes",
            "reasoningParser": "qwen3",
        },
    }  # fmt: skip
    flags = {argument.partition("=")[0] for argument in launch("VLLM", **everything).args if argument.startswith("-")}
    assert len(flags) == 20
    assert flags <= FLAGS[version]


@pytest.mark.parametrize("engine", ENGINES)
def test_every_variable_that_is_set_is_refused_from_users(engine: str) -> None:
    """Else a user's value would be replaced without a word."""
    started = launch(engine, **({"ollama": {"contextLength": 64, "parallel": 1}} if engine == "Ollama" else {}))
    assert started.env.keys() <= set(OWNED_VARIABLES[engine])
