"""Fixtures of the scenarios: the cluster, the operator, and for each scenario a namespace that is removed after it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from e2e.cluster import Cluster, ClusterError, EmbeddedCluster, Target, connect
from e2e.scenarios import kube as api
from e2e.scenarios.kube import Kube
from e2e.scenarios.operators import Operators, faults
from e2e.scenarios.scenario import Scenario

_PREFIX = "e2e-"


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
    """The API server. At the end it is waited until no scenario has left anything."""
    with api.connect(cluster) as connection:
        yield connection
        _wait_gone(connection, timeout=120)


@pytest.fixture(scope="session")
def operators(kube: Kube) -> Operators:
    """The operator's pods."""
    return Operators(kube)


@pytest.fixture(scope="module")
def scenario(request: pytest.FixtureRequest, kube: Kube, operators: Operators) -> Iterator[Scenario]:
    """The scenario of a test's folder, in an empty namespace of its own, with an operator that is ready.

    Its removal is only begun: it goes on while the next scenario runs.
    """
    folder = Path(request.path).parent
    namespace = _PREFIX + folder.name.replace("_", "-")
    if kube.get("Namespace", namespace) is not None:  # an earlier run was cut short
        kube.delete("Namespace", namespace)
        _wait_gone(kube, timeout=120)
    kube.create("Namespace", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    operators.wait_ready()
    yield Scenario(kube, operators, folder, namespace)
    kube.delete("Namespace", namespace)


@pytest.fixture(scope="module", autouse=True)
def spotless_log(operators: Operators) -> Iterator[None]:
    """Whatever a scenario does, the operator logs lines of JSON, no errors, and nothing that it may not do."""
    began = datetime.now(UTC)
    yield
    found = faults(operators.log(since=began))
    assert not found, "in the operator's log:\n" + "\n".join(found[:20])


def _wait_gone(kube: Kube, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while left := [each for each in kube.list("Namespace") if each["metadata"]["name"].startswith(_PREFIX)]:
        going = [each for each in left if "deletionTimestamp" in each["metadata"]]
        if not going:
            return  # of a scenario that begins now
        if time.monotonic() > deadline:
            raise AssertionError(f"namespaces that do not go away: {[each['status'] for each in going]}")
        time.sleep(0.5)
