"""apply.py: children that outlive their ModelServer have no owner, and are told apart from foreign ones by labels."""

import asyncio

import pytest

from agentfleet.apply import Applier
from agentfleet.cache import Cache
from agentfleet.errors import InvalidSpec
from agentfleet.manifests.service import cache_claim
from agentfleet.metrics import Metrics
from agentfleet.objects import Key, Manifest, key_of
from tests.builders import server
from tests.fakes import FakeCluster

CACHE = {"type": "PersistentVolume", "size": "10Gi"}


class Stage:
    """An Applier between a FakeCluster and a cache that follows it."""

    def __init__(self) -> None:
        self.cluster, self.cache = FakeCluster(), Cache()
        self.cluster.on_change = lambda seen, deleted: self.cache.observe(seen, deleted=deleted)
        self.applier = Applier(self.cluster, self.cache, Metrics())

    def apply(self, manifest: Manifest) -> list[tuple[str, Key]]:
        """What is written."""
        self.cluster.writes.clear()
        asyncio.run(self.applier.apply(manifest))
        return list(self.cluster.writes)


def kept_claim(size: str = "10Gi") -> Manifest:
    claim = cache_claim(server("VLLM", cache=CACHE | {"size": size}))
    assert claim is not None
    assert "ownerReferences" not in claim["metadata"]
    return claim


def test_a_kept_claim_is_made_once_and_found_again() -> None:
    stage = Stage()
    assert stage.apply(kept_claim()) == [("apply", key_of(kept_claim()))]
    assert stage.apply(kept_claim()) == []
    assert stage.apply(kept_claim(size="20Gi")) == [("apply", key_of(kept_claim()))]


@pytest.mark.parametrize("labels", [{}, {"agentfleet.dev/modelserver": "phi"}])
def test_a_foreign_claim_of_that_name_is_left_alone(labels: dict[str, str]) -> None:
    stage = Stage()
    metadata = {"name": "phi-model-cache", "namespace": "demo", "labels": labels}
    stage.cluster.put({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": {}})
    with pytest.raises(InvalidSpec) as caught:
        stage.apply(kept_claim())
    assert caught.value.reason == "NameConflict"
    assert stage.cluster.writes == []
