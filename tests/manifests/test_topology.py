"""Where pods may run: spreading, packing, sites, and how long a lost node keeps its pods."""

from typing import Any

import pytest

from agentfleet.manifests.topology import pod_placement
from tests.builders import server

SITE = "example.com/site"
HOSTNAME = "kubernetes.io/hostname"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
SELECTOR = {"matchLabels": {"agentfleet.dev/modelserver": "phi"}}


def placed(gpu: str | None = None, label: str = SITE, **placement: Any) -> dict[str, Any]:
    return pod_placement(server(placement=placement) if placement else server(), label, gpu)


def constraint(key: str) -> dict[str, Any]:
    return {
        "labelSelector": SELECTOR,
        "matchLabelKeys": ["agentfleet.dev/revision"],
        "maxSkew": 1,
        "topologyKey": key,
        "whenUnsatisfiable": "ScheduleAnyway",
    }


@pytest.mark.parametrize("placement", [{}, {"mode": "Spread"}, {"nodeSelector": {}}])
def test_pods_spread_over_sites_and_nodes_unless_told_otherwise(placement: dict[str, Any]) -> None:
    """Over nodes by anti-affinity: the scheduler passes over nodes that lack the label of any one constraint."""
    apart = {"labelSelector": SELECTOR, "matchLabelKeys": ["agentfleet.dev/revision"], "topologyKey": HOSTNAME}
    assert placed(**placement) == {
        "affinity": {"podAntiAffinity": {PREFERRED: [{"podAffinityTerm": apart, "weight": 100}]}},
        "topologySpreadConstraints": [constraint(SITE)],
    }


def test_packed_pods_prefer_each_others_nodes() -> None:
    own = {"podAffinityTerm": {"labelSelector": {}, "topologyKey": "zone"}, "weight": 1}
    affinity = {"podAffinity": {PREFERRED: [own]}, "nodeAffinity": {PREFERRED: []}}
    found = placed(mode="Pack", affinity=affinity, sites=["a"])
    added = {"podAffinityTerm": {"labelSelector": SELECTOR, "topologyKey": HOSTNAME}, "weight": 100}
    assert found["affinity"]["podAffinity"] == {PREFERRED: [own, added]}
    terms = found["affinity"]["nodeAffinity"][REQUIRED]["nodeSelectorTerms"]
    assert terms == [{"matchExpressions": [{"key": SITE, "operator": "In", "values": ["a"]}]}]
    assert "topologySpreadConstraints" not in found


def test_a_pod_on_every_node_balances_nothing_and_stays_on_lost_nodes() -> None:
    assert set(placed(mode="PerNode", sites=["a"], edge={"notReadyGrace": "15m"})) == {"affinity"}


def test_a_lost_node_keeps_its_pods_for_the_grace() -> None:
    own = {"key": "store", "operator": "Exists"}
    assert placed("amd.com/gpu", tolerations=[own], edge={"notReadyGrace": "1m30s"})["tolerations"] == [
        own,
        {"key": "amd.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        *(
            {"key": f"node.kubernetes.io/{taint}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 90}
            for taint in ("not-ready", "unreachable")
        ),
    ]


def test_the_clusters_own_grace_is_left_alone() -> None:
    assert "tolerations" not in placed(edge={"keepModel": True})


def test_other_fields_are_passed_on() -> None:
    found = placed(nodeSelector={"disk": "nvme"}, priorityClassName="high", schedulerName="mine")
    assert (found["nodeSelector"], found["priorityClassName"], found["schedulerName"]) == (
        {"disk": "nvme"},
        "high",
        "mine",
    )
