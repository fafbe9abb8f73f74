"""Before pods start: reading the model's files once, and following a source; and what can go wrong."""

from datetime import timedelta

import pytest

from agentfleet.errors import InvalidSpec
from agentfleet.planning.nodes import NodeView
from agentfleet.resources.modelserver_status import ModelServerStatus, SourceFacts
from tests.builders import MODELS
from tests.planning.jobs import FACTS, Cluster, look
from tests.planning.times import NOW


def test_a_plain_spec_waits_for_nothing() -> None:
    found = look(Cluster())
    assert (found.apply, found.delete, found.blocked) == ((), (), None)


def test_a_scenario_has_the_files_read_once_and_then_knows_them_for_good() -> None:
    cluster = Cluster()
    first = look(cluster, scenario="Staging")
    assert first.blocked == "The model's files are being read."
    (name,) = cluster.take(first)
    assert name.startswith("phi-model-inspect-")
    waiting = look(cluster, scenario="Staging")
    assert (waiting.blocked, waiting.apply) == (first.blocked, ())
    cluster.end(name, {"revision": "abc", "bytes": 1, "facts": FACTS})
    told = look(cluster, scenario="Staging")
    assert told.blocked is None
    assert told.server.spec.vllm is not None
    assert told.server.spec.vllm.quantization == "awq"
    (source,) = told.status.sources
    assert (source.uri, source.revision) == (MODELS["VLLM"], "abc")
    assert told.delete == (), "not before status has it"
    assert [key.name for key, _ in look(cluster, told.status, scenario="Staging").delete] == [name]
    # The Job and its pod may go: status remembers.
    assert look(Cluster(), told.status, scenario="Staging").blocked is None


def test_what_was_found_is_read_again_where_the_pod_went_before_anybody_saw_it() -> None:
    cluster = Cluster()
    (name,) = cluster.take(look(cluster, scenario="Staging"))
    cluster.end(name, {"facts": FACTS})
    cluster.pods.clear()
    lost = look(cluster, scenario="Staging")
    assert [key.name for key, _ in lost.delete] == [name]
    cluster.take(lost)
    assert cluster.take(look(cluster, scenario="Staging")) == [name]


@pytest.mark.parametrize("reason", ["ModelGated", "ModelNotFound", "SourceUnreachable"])
def test_a_source_that_cannot_be_read_says_why_and_is_tried_again(reason: str) -> None:
    cluster = Cluster()
    (name,) = cluster.take(look(cluster, scenario="Staging"))
    cluster.end(name, {"reason": reason, "message": "no."}, code=1)
    failed = look(cluster, scenario="Staging", now=NOW + timedelta(minutes=29))
    assert failed.failure is not None
    assert (failed.failure.reason, failed.delete, failed.apply) == (reason, (), ())
    again = look(cluster, scenario="Staging", now=NOW + timedelta(minutes=30))
    assert [key.name for key, _ in again.delete] == [name]


def test_scaling_lays_out_nothing_anew() -> None:
    cluster = Cluster()
    cluster.nodes = (NodeView("big", {"nvidia.com/gpu.memory": "81920"}, {"nvidia.com/gpu": 8}),)
    facts = {"attentionHeads": 64, "kvHeads": 8, "layers": 80, "parameters": 70_000_000_000, "headDim": 128}
    spec = {"model": {"uri": MODELS["VLLM"], "facts": facts}, "parallelism": {"tensor": "Auto"}}
    first = look(cluster, **spec)
    cluster.nodes = (*cluster.nodes, NodeView("small", {"nvidia.com/gpu.memory": "40960"}, {"nvidia.com/gpu": 1}))
    scaled = look(cluster, first.status, replicas=3, **spec)
    assert scaled.server.spec.parallelism == first.server.spec.parallelism
    changed = look(cluster, first.status, vllm={"maxModelLen": 1024}, **spec)
    assert changed.status.plan is not None
    assert changed.status.plan.gpu_memory_bytes == 40960 * 2**20


UPDATE = {"uri": MODELS["VLLM"], "update": {"schedule": "0 3 * * *"}}


def known(revision: str, at: str) -> ModelServerStatus:
    return ModelServerStatus(sources=(SourceFacts(uri=MODELS["VLLM"], revision=revision, checked_at=at),))


def test_a_followed_source_is_pinned_before_the_first_pod() -> None:
    cluster = Cluster()
    first = look(cluster, model=UPDATE)
    assert first.blocked
    (name,) = cluster.take(first)
    cluster.end(name, {"revision": "c0ffee"})
    assert look(cluster, model=UPDATE).server.model.uri == "hf://acme/chat-7b@c0ffee"


def test_between_its_times_a_followed_source_is_left_alone() -> None:
    found = look(Cluster(), known("c0ffee", "2026-11-21T03:00:01Z"), model=UPDATE)
    assert (found.apply, found.blocked) == ((), None)
    assert found.after == 15 * 3600 + 1, "the next look is at 3 in the morning"


def test_a_moved_revision_is_found_at_its_time_and_rolled_out() -> None:
    cluster = Cluster()
    before = known("c0ffee", "2026-11-21T02:59:59Z")
    due = look(cluster, before, model=UPDATE)
    assert due.blocked is None, "what serves goes on while the source is looked at"
    assert due.server.model.uri.endswith("@c0ffee")
    (name,) = cluster.take(due)
    cluster.end(name, {"revision": "beef01"})
    moved = look(cluster, before, model=UPDATE)
    assert moved.server.model.uri == "hf://acme/chat-7b@beef01"


def test_a_look_that_fails_is_told_and_stops_nothing() -> None:
    cluster = Cluster()
    before = known("c0ffee", "2026-11-21T02:59:59Z")
    (name,) = cluster.take(look(cluster, before, model=UPDATE))
    cluster.end(name, {"reason": "SourceUnreachable", "message": "no route."}, code=1)
    found = look(cluster, before, model=UPDATE)
    assert (found.blocked, found.failure) == (None, None)
    assert found.status.plan is not None
    assert "The last look for an update failed (SourceUnreachable): no route." in found.status.plan.explanation


@pytest.mark.parametrize(
    ("update", "words"),
    [
        ({"schedule": "61 3 * * *"}, "model.update.schedule"),
        ({"schedule": "0 3 * * *", "timeZone": "Mars/Olympus"}, "model.update.timeZone"),
    ],
)
def test_a_schedule_that_cannot_be(update: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidSpec, match=words):
        look(Cluster(), model={"uri": MODELS["VLLM"], "update": update})


def test_ollama_tags_are_followed_by_the_sidecars() -> None:
    model = {"uri": MODELS["Ollama"], "update": {"schedule": "0 3 * * *"}}
    found = look(Cluster(), engine="Ollama", model=model)
    assert (found.apply, found.blocked, found.after) == ((), None, None)


def test_looks_that_fail_do_not_pile_up() -> None:
    cluster = Cluster()
    before = known("c0ffee", "2026-11-20T02:00:00Z")
    model = {"uri": MODELS["VLLM"], "update": {"schedule": "*/5 * * * *"}}
    for minute in range(0, 60, 5):
        found = look(cluster, before, now=NOW + timedelta(minutes=minute), model=model)
        for name in cluster.take(found):
            cluster.end(name, {"reason": "SourceUnreachable", "message": "no route."}, code=1)
    assert len(cluster.jobs) == 1
