"""Nodes without room for what load calls for: it is said once, not answered with ever more pods, and clears itself.

The GPUs are numbers in the nodes' status: the scheduler counts them, and llama-server computes on the CPU all the same.
"""

from __future__ import annotations

import time

from e2e.cluster import EmbeddedCluster
from e2e.scenarios.replicas import Record, desired, recorded
from e2e.scenarios.scenario import Scenario
from e2e.traffic import Rate, traffic

NAME = "cramped"
GPU = "nvidia.com/gpu"
RATE = Rate(streams=0.5, stream_tokens=30, shorts=0)
_MOST = 5
_STOPPED = 15.0
"""Seconds without a change, three looks of the loop and more."""


def a_full_cluster_stops_it_until_there_is_room(scenario: Scenario, cluster: EmbeddedCluster) -> str:
    """The nodes have one GPU each at first."""
    with scenario.address(NAME) as address, traffic(address, NAME, RATE) as seen, recorded(scenario, NAME) as record:
        room = len(cluster.nodes)
        said = _a_full_cluster_stops_it(scenario, record, room)
        for node in cluster.nodes:
            cluster.set_gpus(node.name, _MOST)
        scenario.until(lambda: room < record.last.wanted == record.last.ready, "what waited serves", timeout=90)
        scenario.until(lambda: not _blocked(scenario), "the condition clears")
        assert desired(scenario, NAME) == record.last.wanted, scenario.server(NAME)["status"]
    seen.assert_nothing_lost()
    return said


def _a_full_cluster_stops_it(scenario: Scenario, record: Record, room: int) -> str:
    said = scenario.until(lambda: _blocked(scenario), "no room is a condition", timeout=90)
    assert said.startswith("Unschedulable"), said
    assert GPU in said, said
    # One more than there is room for tells that there is none; a look that was under way then may still add another.
    said_at = time.monotonic()
    scenario.until(lambda: _has_stopped(record, said_at, room), "nothing is added to what waits", timeout=45)
    assert room < record.last.wanted < _MOST, record.last
    assert record.last.ready == room, record.last
    assert (scenario.condition(NAME, "Ready") or {})["status"] == "True", "those that run serve"
    return said


def _has_stopped(record: Record, since: float, room: int) -> bool:
    """Whether more is wanted than there is room for, and has not changed for so long."""
    now = time.monotonic()
    wanted = {look.wanted for look in record.since(now - _STOPPED)}
    return now - since > _STOPPED and len(wanted) == 1 and min(wanted) > room


def _blocked(scenario: Scenario) -> str:
    """Reason and message of CapacityBlocked, empty where it is not so."""
    condition = scenario.condition(NAME, "CapacityBlocked")
    return f"{condition['reason']}: {condition['message']}" if condition and condition["status"] == "True" else ""
