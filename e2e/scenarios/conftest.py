"""Fixtures of the scenarios: the cluster, the operator, and for each scenario a namespace that is removed after it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from e2e.cluster import Cluster, ClusterError, EmbeddedCluster, Target, connect, layout
from e2e.cluster.node import Node
from e2e.cluster.shell import exclusive
from e2e.scenarios import kube as api
from e2e.scenarios import namespaces
from e2e.scenarios.kube import Kube
from e2e.scenarios.operators import Operators, faults
from e2e.scenarios.scenario import Scenario

_LAST = ("api_outage", "generated")
"""What disturbs others: after an outage all parts of a cluster need a minute to find together again, and thousands of
objects take long to clear away."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the scenarios in the order of their names, but for the last ones."""
    items.sort(key=lambda item: (*(item.path.parent.name == name for name in reversed(_LAST)),))


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The running cluster that the command line named."""
    try:
        return connect(
            Target(context=os.environ.get("AGENTFLEET_E2E_CONTEXT"), kind=os.environ.get("AGENTFLEET_E2E_KIND"))
        )
    except ClusterError as error:
        pytest.exit(f"{error}", returncode=3)


@pytest.fixture(scope="session")
def embedded(cluster: Cluster) -> EmbeddedCluster:
    """The embedded cluster, for scenarios that break parts of it."""
    if not isinstance(cluster, EmbeddedCluster):
        pytest.skip(f"breaks parts of the cluster, which only the embedded one lets us do; this is {cluster.name}")
    return cluster


@pytest.fixture(scope="session")
def full() -> bool:
    """Whether real durations are wanted (``--full``) instead of short ones."""
    return os.environ.get("AGENTFLEET_E2E_FULL") == "1"


@pytest.fixture(scope="session")
def kube(cluster: Cluster) -> Iterator[Kube]:
    """The API server, without anything of an earlier run. At the end nothing of this one is left either.

    Two runs at once would take each other's namespaces and operator away, so the second one waits.
    """
    with exclusive(layout.cache_home() / "scenarios.lock"), api.connect(cluster) as connection:
        namespaces.sweep(connection)
        yield connection
        if os.environ.get("AGENTFLEET_E2E_THROWAWAY") != "1":  # else the cluster itself is about to go
            namespaces.sweep(connection)


@pytest.fixture(scope="session")
def operators(kube: Kube) -> Operators:
    """The operator's pods."""
    return Operators(kube)


@pytest.fixture(scope="module")
def scenario(request: pytest.FixtureRequest, kube: Kube, operators: Operators) -> Iterator[Scenario]:
    """The scenario of a test's folder, in an empty namespace of its own, with an operator that is ready.

    Its removal is only begun: the pods drain while the next scenario runs.
    """
    with namespaces.opened(kube, operators, Path(request.path).parent) as opened:
        yield opened


@pytest.fixture(scope="module")
def lost(scenario: Scenario, embedded: EmbeddedCluster) -> Iterator[Node]:
    """The site that is going to be lost: the one without the operator, which must see it. It is back after the test."""
    leader = scenario.kube.get("Pod", scenario.operators.leader() or "", "agentfleet-system")
    assert leader is not None
    node = next(node for node in embedded.nodes if node.name != leader["spec"]["nodeName"])
    yield node
    node.heal()
    embedded.wait_ready()


@pytest.fixture(scope="module", autouse=True)
def spotless_log(request: pytest.FixtureRequest, operators: Operators) -> Iterator[None]:
    """Whatever a scenario does, the operator logs lines of JSON, no errors, and nothing that it may not do.

    A module in which errors are due says which with a pattern EXPECTED_IN_LOG.
    """
    began = datetime.now(UTC)
    yield
    found = faults(operators.log(since=began), getattr(request.module, "EXPECTED_IN_LOG", None))
    assert not found, "in the operator's log:\n" + "\n".join(found[:20])
