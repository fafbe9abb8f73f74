"""Hardware profiles: what they fill in, which form of the model they take, how a fallback chain is walked."""

from datetime import timedelta
from typing import Any

import pytest

from agentfleet.errors import InvalidSpec
from agentfleet.planning.nodes import NodeView
from agentfleet.planning.profiles import candidates
from agentfleet.planning.resolve import Basis, Resolution, Situation, resolve
from agentfleet.resources.modelserver_status import SourceFacts
from agentfleet.resources.profile import Profile
from agentfleet.settings import Settings
from tests.builders import server
from tests.planning.times import NOW

GIB = 2**30
SETTINGS = Settings(
    profiles={
        "a100": Profile.model_validate(
            {
                "gpu": {"products": ["A100-80G"], "memory": "80Gi"},
                "vllm": {"maxModelLen": 32768, "maxNumSeqs": 64},
                "nodeSelector": {"tier": "big"},
                "tolerations": [{"key": "big", "operator": "Exists"}],
                "env": {"NCCL_DEBUG": "WARN"},
            }
        ),
        "l4": Profile.model_validate({"gpu": {"products": ["L4"], "memory": "24Gi"}}),
        "cpu": Profile.model_validate(
            {
                "engine": "LlamaCpp",
                "gpu": {"count": 0},
                "resources": {"requests": {"cpu": "2"}, "limits": {"memory": "8Gi"}},
                "llamaCpp": {"slots": 2},
            }
        ),
    }
)
GGUF = {"name": "q4", "engine": "LlamaCpp", "uri": "hf://acme/chat-7b-gguf/q4.gguf", "memory": "6Gi"}
MODEL = {"uri": "hf://acme/chat-7b@main", "variants": [GGUF], "facts": {"parameters": 7_000_000_000}}
CHAIN = ["a100", "l4", "cpu"]


def node(name: str, product: str | None = None, *, used: int = 0, **labels: str) -> NodeView:
    gpus = {"nvidia.com/gpu": 1} if product else {}
    return NodeView(
        name,
        labels=labels | ({"nvidia.com/gpu.product": product} if product else {}),
        allocatable={"cpu": 8000, "memory": 64 * GIB, "pods": 110} | gpus,
        used={"nvidia.com/gpu": used},
    )


def resolved(nodes: list[NodeView] | None, profile: str | None = None, **given: Any) -> Resolution:
    spec = {"model": MODEL, "profiles": CHAIN} | given.pop("spec", {})
    situation = Situation(now=NOW, nodes=None if nodes is None else tuple(nodes), profile=profile, **given)
    return resolve(server("VLLM", **spec), situation, SETTINGS)


BIG = node("big-1", "A100-80G", tier="big")
SMALL = node("small-1", "L4")
CPU = node("cpu-1")


def test_the_first_profile_with_room_is_taken() -> None:
    assert resolved([BIG, SMALL, CPU]).profile == "a100"
    assert resolved([SMALL, CPU]).profile == "l4"
    assert resolved([CPU]).profile == "cpu"


def test_gpus_in_use_are_not_there() -> None:
    taken = node("big-1", "A100-80G", used=1, tier="big")
    found = resolved([taken, SMALL, CPU])
    assert found.profile == "l4"
    assert "a100: room for 0 of 1 pods now" in " ".join(found.plan.explanation)


def test_the_last_resort_is_another_engine_with_its_own_form_of_the_model() -> None:
    found = resolved(
        [CPU], spec={"vllm": {"maxModelLen": 4096}, "extraArgs": ["--enforce-eager"], "image": "acme/vllm:1"}
    )
    spec = found.server.spec
    assert (spec.engine, spec.model and spec.model.uri) == ("LlamaCpp", GGUF["uri"])
    assert spec.extra_args == ()
    assert spec.image is None
    assert found.server.model_name == "phi"
    assert found.plan.gpus_per_replica == 0
    assert "Variant q4 of the model is used" in " ".join(found.plan.explanation)


def test_it_moves_back_up_when_room_has_lasted() -> None:
    waiting = resolved([BIG, CPU], profile="cpu")
    assert waiting.profile == "cpu"
    assert waiting.better == {"a100": NOW}
    assert waiting.after == 60.0
    early = resolved([BIG, CPU], profile="cpu", better={"a100": NOW - timedelta(seconds=599)})
    assert early.profile == "cpu"
    late = resolved([BIG, CPU], profile="cpu", better={"a100": NOW - timedelta(seconds=600)})
    assert late.profile == "a100"


def test_sizes_are_settled_once_the_spec_runs() -> None:
    """A small GPU that joins must neither lay out anew nor refuse what serves on a large one."""
    facts = {"attentionHeads": 64, "kvHeads": 8, "layers": 80, "parameters": 70_000_000_000, "headDim": 128}
    spec = {"model": {"uri": "hf://acme/chat-70b", "facts": facts}, "parallelism": {"tensor": "Auto"}}
    big = NodeView("big", {"nvidia.com/gpu.memory": "81920"}, {"nvidia.com/gpu": 8})
    small = NodeView("small", {"nvidia.com/gpu.memory": "15360"}, {"nvidia.com/gpu": 1})
    new = resolve(server("VLLM", **spec), Situation(now=NOW, nodes=(big,)), SETTINGS)
    settled = Basis(new.plan.gpu_memory_bytes, new.plan.gpus_per_node)
    joined = resolve(server("VLLM", **spec), Situation(now=NOW, nodes=(big, small), settled=settled), SETTINGS)
    gone = resolve(server("VLLM", **spec), Situation(now=NOW, nodes=(), settled=settled), SETTINGS)
    assert new.server == joined.server == gone.server
    assert new.plan.tensor == 2


def test_files_that_tell_nothing_are_not_read_for_ever() -> None:
    silent = {"hf://acme/chat-7b": SourceFacts(uri="hf://acme/chat-7b", revision="c0ffee")}
    subject = server("VLLM", scenario="Staging", model={"uri": "hf://acme/chat-7b"})
    found = resolve(subject, Situation(NOW, None, silent), SETTINGS)
    assert found.inspect is None
    assert "do not tell its shape" in " ".join(found.plan.explanation)


def test_stages_of_a_pipeline_go_to_nodes_of_their_own_where_none_has_room_for_all() -> None:
    node8 = NodeView("a", {}, {"nvidia.com/gpu": 8})
    spec = {"parallelism": {"tensor": 8, "pipeline": 2}}
    found = resolve(server("VLLM", **spec), Situation(now=NOW, nodes=(node8,)), SETTINGS)
    assert (found.plan.nodes, found.plan.gpus_per_replica) == (2, 16)
    unknown = resolve(server("VLLM", **spec), Situation(now=NOW), SETTINGS)
    assert unknown.plan.nodes == 1


def test_a_profile_with_too_few_gpus_for_the_spec_is_named() -> None:
    settings = Settings(profiles={"one": Profile.model_validate({"gpu": {"count": 1}})})
    with pytest.raises(InvalidSpec, match=r"profile one: gpu\.count is 1, but parallelism\.tensor × pipeline is 2"):
        candidates(server("VLLM", profile="one", parallelism={"tensor": 2}), settings)


def test_one_profile_that_does_not_fit_the_spec_stops_no_other() -> None:
    one = Profile.model_validate({"gpu": {"count": 1}})
    settings = Settings(profiles={"one": one, "two": Profile.model_validate({"gpu": {"count": 2}})})
    found = candidates(server("VLLM", profiles=["one", "two"], parallelism={"tensor": 2}), settings)
    assert [candidate.profile for candidate in found] == ["two"]


def test_what_runs_stays_where_it_is_although_it_holds_the_only_gpu() -> None:
    taken = node("small-1", "L4", used=1)
    found = resolved([taken, CPU], profile="l4", held={"small-1": {"nvidia.com/gpu": 1}})
    assert found.profile == "l4"


def test_without_nodes_the_first_profile_is_taken_and_that_is_said() -> None:
    found = resolved(None)
    assert found.profile == "a100"
    assert "Nodes are not watched" in " ".join(found.plan.explanation)


def test_a_profile_fills_in_what_the_spec_leaves_open() -> None:
    spec = resolved(
        [BIG], spec={"vllm": {"maxNumSeqs": 8}, "env": [{"name": "NCCL_DEBUG", "value": "INFO"}]}
    ).server.spec
    assert spec.vllm is not None
    assert (spec.vllm.max_model_len, spec.vllm.max_num_seqs) == (32768, 8)
    assert spec.placement is not None
    assert spec.placement.node_selector == {"tier": "big"}
    assert [toleration.key for toleration in spec.placement.tolerations] == ["big"]
    assert [(variable.name, variable.value) for variable in spec.env] == [("NCCL_DEBUG", "INFO")]


def test_a_model_that_cannot_fit_a_profile_takes_the_next() -> None:
    found = resolved([SMALL, CPU], spec={"model": MODEL | {"facts": {"weightsBytes": 30 * GIB}}})
    assert found.profile == "cpu"
    assert any(note.startswith("l4: ") for note in found.plan.explanation)


def test_a_variant_that_needs_more_memory_than_there_is_is_passed_over() -> None:
    large = GGUF | {"name": "q8", "memory": "9Gi", "uri": "hf://acme/chat-7b-gguf/q8.gguf"}
    found = resolved([CPU], spec={"model": MODEL | {"variants": [large, GGUF]}})
    assert found.server.model.uri == GGUF["uri"]


@pytest.mark.parametrize(
    ("memory", "form"), [("900M", "Q2_K"), ("1500M", "Q4_K_M"), ("4Gi", "Q5_K_M"), ("16Gi", "Q8_0")]
)
def test_quantization_follows_from_the_hardware(memory: str, form: str) -> None:
    forms = ("Q4_K_M", "Q8_0", "Q2_K", "Q5_K_M")
    variants = [
        {"name": name.lower().replace("_", "-"), "engine": "LlamaCpp", "uri": f"hf://acme/gguf/chat.{name}.gguf"}
        for name in forms
    ]
    edge = Profile.model_validate({"engine": "LlamaCpp", "gpu": {"count": 0}, "memory": memory})
    settings = Settings(profiles={"edge": edge})
    subject = server("VLLM", profile="edge", model={"uri": "hf://acme/chat-7b", "variants": variants})
    found = resolve(subject, Situation(now=NOW), settings)
    assert found.server.model.uri == f"hf://acme/gguf/chat.{form}.gguf"
    assert f"{form} is advised" in " ".join(found.plan.explanation)


@pytest.mark.parametrize(
    ("spec", "reason", "words"),
    [
        ({"profile": "h100"}, "NoSuchProfile", "those are: a100, cpu, l4"),
        ({"profile": "cpu", "model": {"uri": "hf://acme/chat-7b"}}, "NoUsableProfile", "engine LlamaCpp"),
    ],
)
def test_profiles_that_cannot_be_used(spec: dict[str, Any], reason: str, words: str) -> None:
    with pytest.raises(InvalidSpec, match=words) as caught:
        candidates(server("VLLM", **spec), SETTINGS)
    assert caught.value.reason == reason


def test_impossible_explicit_sizes_are_refused_with_the_legal_ones() -> None:
    facts = {"attentionHeads": 28, "kvHeads": 4, "layers": 28, "parameters": 7_000_000_000}
    spec = {"model": {"uri": "hf://acme/chat-7b", "facts": facts}, "parallelism": {"tensor": 3}}
    with pytest.raises(InvalidSpec, match="1, 2, 4") as caught:
        resolve(server("VLLM", **spec), Situation(now=NOW), SETTINGS)
    assert caught.value.reason == "BadParallelism"


def test_auto_takes_the_smallest_size_that_fits() -> None:
    facts = {"attentionHeads": 64, "kvHeads": 8, "layers": 80, "parameters": 70_000_000_000, "headDim": 128}
    spec = {
        "model": {"uri": "hf://acme/chat-70b", "facts": facts | {"contextLength": 8192}},
        "parallelism": {"tensor": "Auto"},
        "gpu": {"memory": "80Gi"},
    }
    found = resolve(server("VLLM", **spec), Situation(now=NOW), SETTINGS)
    assert (found.plan.tensor, found.plan.gpus_per_replica) == (2, 2)
    assert found.plan.weights_bytes == 140_000_000_000
    assert found.plan.explanation
