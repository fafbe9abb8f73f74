"""The API server goes away and comes back: models go on answering, the operator lives, and all converges again."""

from __future__ import annotations

import pytest

from e2e.chat import chat
from e2e.cluster import EmbeddedCluster
from e2e.scenarios.api_outage import etcd
from e2e.scenarios.scenario import Scenario

# Stopping and starting takes seconds already. In all it must stay below the Lease's renewal deadline: then the same
# process goes on, with the cache that it has.
_BLINK_SECONDS = 0
_OUTAGE_SECONDS = 60
_FULL_OUTAGE_SECONDS = 300

EXPECTED_IN_LOG = "kopf._cogs.clients|LeadershipLost|is forbidden: User"
"""Requests fail, and a leader that cannot renew its Lease ends; its successor waits for the API server. One that has
just started knows no permissions for a moment."""


@pytest.fixture(scope="module", autouse=True)
def _served(scenario: Scenario) -> None:
    scenario.apply("servers.yaml")
    scenario.wait_ready()


def _answers(address: str) -> bool:
    with chat(address, "stays") as client:
        return bool(client.ask(tokens=2).text)


def _outage(scenario: Scenario, embedded: EmbeddedCluster, seconds: float, lost: str) -> None:
    """Take the API server away; meanwhile delete one ModelServer, and see that the others answer all the time."""
    with scenario.address("stays") as address:
        # A crash: one that is asked to end takes itself out of the Service `kubernetes` first, and a node's kube-proxy
        # would need up to a minute to learn that it is back.
        embedded.daemon("kube-apiserver").stop(kill=True)
        try:
            etcd.delete("agentfleet.dev", "modelservers", scenario.namespace, lost)
            scenario.stays(lambda: _answers(address), "models answer while the API server is away", seconds)
        finally:
            embedded.start_api_server()


def _is_gone(scenario: Scenario, name: str) -> bool:
    kinds = ("Deployment", "Service", "Pod")
    return not any(scenario.children(kind, name) for kind in kinds)


def test_a_short_outage_leaves_no_ghost(scenario: Scenario, embedded: EmbeddedCluster) -> None:
    restarts, dropped = scenario.operators.restarts(), _ghosts(scenario)
    _outage(scenario, embedded, _BLINK_SECONDS, lost="ghost")
    # No watch has told of the deletion: the operator finds out by a listing, or when a child of the ghost goes missing.
    scenario.until(lambda: _ghosts(scenario) > dropped, "the operator drops the deleted server", timeout=60)
    scenario.until(lambda: _is_gone(scenario, "ghost"), "the children of the deleted server go", timeout=120)
    scenario.stays(lambda: _is_gone(scenario, "ghost"), "they stay away", 5)
    assert scenario.operators.restarts() == restarts


def _ghosts(scenario: Scenario) -> float:
    return scenario.operators.metric("agentfleet_ghosts_dropped_total", kind="ModelServer")


def test_after_a_long_outage_the_world_converges(scenario: Scenario, embedded: EmbeddedCluster, full: bool) -> None:
    seconds = _FULL_OUTAGE_SECONDS if full else _OUTAGE_SECONDS
    _outage(scenario, embedded, seconds, lost="phantom")
    scenario.apply("later.yaml")
    scenario.kubectl("patch", "ms", "stays", "--type=merge", "-p", '{"spec":{"llamaCpp":{"contextSize":256}}}')
    scenario.operators.wait_ready(timeout=180)
    scenario.wait_ready("stays", "comes", timeout=180)
    scenario.until(lambda: _is_gone(scenario, "phantom"), "the children of the deleted server go", timeout=120)


@pytest.mark.parametrize("name", ["stays", "comes"])
def test_there_are_no_duplicates(scenario: Scenario, name: str) -> None:
    scenario.wait_settled(name)
    assert len(scenario.children("Service", name)) == 2
    # The nodes' own programs need a while longer: each waits longer and longer between its attempts.
    with scenario.chat(name, timeout=60) as client:
        assert client.ask().text
