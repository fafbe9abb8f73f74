"""What every test of vLLM needs: its image and packages on the nodes, and a hub that has the models."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e.cluster import EmbeddedCluster
from e2e.images import vllm
from e2e.scenarios.scenario import Scenario
from e2e.scenarios.vllm import nodes


@pytest.fixture(scope="module")
def provided(scenario: Scenario, embedded: EmbeddedCluster) -> Iterator[None]:
    """Packages, repositories and the hub, for the tests of one module."""
    built = vllm.built()
    if built is None:
        pytest.fail("vLLM is not there, and nothing can be downloaded from here: run `python3 e2e test scenarios/vllm`")
    embedded.load_image(built.image.archive)
    with nodes.provided(embedded, built.packages):
        scenario.kubectl("create", "configmap", "hub", f"--from-file={scenario.folder / 'hub.py'}")
        scenario.apply("hub.yaml")
        try:
            scenario.kubectl("rollout", "status", "deployment/hub", "--timeout=60s", timeout=90)
            yield
        finally:
            scenario.kubectl("delete", "deployment/hub", "--wait=false")  # the sweep knows pods of ModelServers only
