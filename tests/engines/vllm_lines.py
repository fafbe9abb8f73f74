"""Every sort of command line that the operator gives `vllm serve`: for the tables of flags, and for vLLM's own parser.

From ordinary specs: each scenario with each task, each typed option with both its ends, and what hypothesis draws from
the CRD's schema. Without spec.extraArgs, which are the user's words.
"""

from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from agentfleet.engines import ENGINES
from agentfleet.manifests.group import leader_template, worker_template
from agentfleet.manifests.loader import model_path
from agentfleet.planning.scenarios import SCENARIOS, with_scenario
from agentfleet.resources.facts import ModelFacts
from agentfleet.resources.modelserver import ModelServer
from agentfleet.settings import Settings
from tests.builders import server
from tests.specs import of_schema, spec_schema

Line = tuple[str, ...]

ENGINE = "VLLM"
TASKS = ("Chat", "Completion", "Embedding", "Rerank", "Vision", "Audio")
_BACKENDS = ("auto", "xgrammar", "guidance", "outlines", "lm-format-enforcer")
FACTS = (
    None,
    ModelFacts.model_validate({"layers": 32, "hiddenSize": 4096, "attentionHeads": 32, "kvHeads": 8}),
    ModelFacts.model_validate({"layers": 28, "attentionHeads": 28, "kvHeads": 4, "quantization": "awq"}),
)
OPTIONS: tuple[dict[str, Any], ...] = (
    {"gpuMemoryUtilizationPercent": 1},
    {"gpuMemoryUtilizationPercent": 100},
    {"maxModelLen": 1},
    {"maxModelLen": 10_000_000},
    {"maxNumSeqs": 1},
    {"maxNumBatchedTokens": 16384},
    *({"quantization": method} for method in ("awq", "gptq", "fp8", "compressed-tensors")),
    *({"maxLoras": 64, "maxLoraRank": rank} for rank in (1, 8, 16, 32, 64, 128, 256, 320, 512)),
    *({"prefixCaching": wanted, "chunkedPrefill": wanted} for wanted in (True, False)),
    {"speculative": {"model": "/models/draft", "tokens": 32}},
    {"speculative": {"tokens": 3}},
    *({"structuredOutputs": {"backend": name}} for name in _BACKENDS),
    {"trustRemoteCode": True},
    {"trustRemoteCode": False},
    *({"toolCallParser": name} for name in ("hermes", "llama3_json", "mistral")),
    {"reasoningParser": "qwen3"},
)
_FEW_VALUES = ("maxLoraRank", "structuredOutputs")
"""Options of which the schema admits more than vLLM takes; OPTIONS has their legal values."""
_DRAWN = 200


def command_lines() -> list[Line]:
    """All of them, each once: what follows `vllm serve`."""
    subjects = (*_by_scenario(), *_by_option(), *_drawn())
    return sorted({*(_line(subject) for subject in subjects), *_of_a_group()})


def _line(subject: ModelServer) -> Line:
    return ENGINES[ENGINE].launch(subject, model_path(subject), Settings()).args


def _of_a_group() -> Iterator[Line]:
    """Those of a replica over two nodes, with the variables as LeaderWorkerSet fills them in."""
    args = list(_line(server(ENGINE, parallelism={"tensor": 2, "pipeline": 2, "nodes": 2})))
    pod = {"metadata": {"labels": {}}, "spec": {"containers": [{"name": "engine", "args": args}]}}
    for rank, template in enumerate((leader_template(pod, 2), worker_template(pod, 2))):
        filled_in = {"$(LWS_WORKER_INDEX)": str(rank), "$(LWS_LEADER_ADDRESS)": "chat-0.chat.demo"}
        words = template["spec"]["containers"][0]["args"]
        for variable, value in filled_in.items():
            words = [word.replace(variable, value) for word in words]
        yield tuple(words)


def _by_scenario() -> Iterator[ModelServer]:
    for scenario in (None, *SCENARIOS):
        for facts in FACTS:
            for task in TASKS:
                spec: dict[str, Any] = {"model": {"uri": "hf://acme/chat-7b", "task": task}}
                spec |= {"scenario": scenario} if scenario else {}
                yield with_scenario(server(ENGINE, **spec), facts)[0]


def _by_option() -> Iterator[ModelServer]:
    for options in OPTIONS:
        yield server(ENGINE, vllm=options)
    yield server(ENGINE, parallelism={"tensor": 8, "pipeline": 4})
    yield server(ENGINE, adapters=[{"name": "pirate", "uri": "hf://acme/pirate"}])


def _drawn() -> list[ModelServer]:
    """What the schema admits, the same every time."""
    found: list[ModelServer] = []
    properties = spec_schema()["properties"]
    names = of_schema(properties["model"]["properties"]["name"])

    @settings(
        max_examples=_DRAWN,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(name=st.none() | names, vllm=of_schema(properties["vllm"]))
    def draw(name: str | None, vllm: dict[str, Any]) -> None:
        model = {"uri": "hf://acme/chat-7b"} | ({"name": name} if name else {})
        for field in _FEW_VALUES:
            vllm.pop(field, None)
        found.append(server(ENGINE, model=model, vllm=vllm))

    draw()
    return found
