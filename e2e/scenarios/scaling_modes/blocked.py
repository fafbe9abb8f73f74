"""Nodes without room for what load calls for: it is said once, not answered with ever more pods, and clears itself.

The GPUs are numbers in the nodes' status: the scheduler counts them, and llama-server computes on the CPU all the same.
"""

from __future__ import annotations

from e2e.cluster import EmbeddedCluster
from e2e.scenarios.replicas import Record, desired, recorded
from e2e.scenarios.scenario import Scenario
from e2e.traffic import Rate, traffic

NAME = "cramped"
GPU = "nvidia.com/gpu"
RATE = Rate(streams=0.5, stream_tokens=30, shorts=0)
_MOST = 5


def a_full_cluster_stops_it_until_there_is_room(scenario: Scenario, cluster: EmbeddedCluster) -> str:
    """The nodes have one GPU each at first."""
    with scenario.address(NAME) as address, traffic(address, NAME, RATE) as seen, recorded(scenario, NAME) as record:
        said = _a_full_cluster_stops_it(scenario, record, room=len(cluster.nodes))
        for node in cluster.nodes:
            cluster.set_gpus(node.name, _MOST)
        scenario.until(lambda: record.last.ready == _MOST, "all that load calls for serve", timeout=90)
        scenario.until(lambda: not _blocked(scenario), "the condition clears")
        assert desired(scenario, NAME) == _MOST, scenario.server(NAME)["status"]
    seen.assert_nothing_lost()
    return said


def _a_full_cluster_stops_it(scenario: Scenario, record: Record, room: int) -> str:
    said = scenario.until(lambda: _blocked(scenario), "no room is a condition", timeout=90)
    assert said.startswith("Unschedulable"), said
    assert GPU in said, said
    scenario.until(lambda: record.last.wanted > room, "the record has caught up")
    # One more than there is room for tells that there is none, two where the scheduler took its time to say so.
    wanted = record.last.wanted
    assert wanted < _MOST, record.last
    scenario.stays(lambda: record.last.wanted == wanted, "nothing is added to what waits", seconds=15)
    assert record.last.ready == room, record.last
    assert (scenario.condition(NAME, "Ready") or {})["status"] == "True", "those that run serve"
    return said


def _blocked(scenario: Scenario) -> str:
    """Reason and message of CapacityBlocked, empty where it is not so."""
    condition = scenario.condition(NAME, "CapacityBlocked")
    return f"{condition['reason']}: {condition['message']}" if condition and condition["status"] == "True" else ""
