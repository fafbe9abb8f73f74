"""Sites with gateways of their own: clients get their own site's pods, a site that is cut off serves its clients on,
and whoever used a lost pod from elsewhere waits for one health check at most.

Clients run in the networks of the nodes. The engines are scripted, so that answers say which pod they come from.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import pytest

from e2e.cluster import EmbeddedCluster
from e2e.cluster.node import Node
from e2e.cluster.shell import run
from e2e.scenarios import scripted
from e2e.scenarios.routes import gateways, wait_ready
from e2e.scenarios.scenario import Scenario
from e2e.traffic import Rate, Traffic, table, traffic_from

NAME = "till"
RATE = Rate(streams=0.5, stream_tokens=20, shorts=4.0)
"""Streams of 1 s."""
_PROBE = 4.0
"""Seconds in which a pod that has vanished is known to be gone: two checks, and what waits for an answer meanwhile."""
_CUT = 20.0
_BEFORE, _AFTER = 3.0, 8.0
_LONGEST = 8.0
_PATIENCE = 3.5
"""Seconds above which an answer was delayed: a busy machine takes some, who waits for a health check takes more."""
_ASK = """
import json, sys, urllib.request
body = json.dumps({"model": "auto", "max_tokens": 1, "messages": [{"role": "user", "content": "Hello"}]}).encode()
for _ in range(20):
    request = urllib.request.Request(sys.argv[1], body, {"Content-Type": "application/json"})
    print(urllib.request.urlopen(request, timeout=10).headers["x-served-by"])
"""


@dataclass(frozen=True)
class Outage:
    """What became of everybody's requests, and when the site was cut off, by time.monotonic()."""

    began: float
    own_site: Traffic
    """Of clients at the site that is left."""
    lost_site: Traffic
    """Of clients at the site that is cut off."""
    everywhere: Traffic
    """Of a gateway at the site that is left, which uses the pods of both."""


@pytest.fixture(scope="module", autouse=True)
def _applied(scenario: Scenario, embedded: EmbeddedCluster) -> None:
    placement = {"mode": "PerNode", "sites": [node.zone for node in embedded.nodes]}
    till = scripted.model_server(NAME, replicas=None, script="gap=0.05", placement=placement)
    scripted.apply_engines(scenario, till)
    scenario.apply("routes.yaml")
    scenario.wait_ready(NAME)
    wait_ready(scenario, "stores", "everywhere")


@pytest.fixture(scope="module")
def left(embedded: EmbeddedCluster, lost: Node) -> Node:
    """The other one."""
    return next(node for node in embedded.nodes if node.name != lost.name)


def _address(scenario: Scenario) -> str:
    """Of the Service of the sites' gateways."""
    with scenario.kube.cluster.service(scenario.namespace, "stores-route", 80) as address:
        return address


def _gateway_at(scenario: Scenario, name: str, node: Node) -> str:
    """host:port of a route's gateway on a node."""
    pods = gateways(scenario, name)
    return next(f"{pod['status']['podIP']}:8080" for pod in pods if pod["spec"]["nodeName"] == node.name)


def _served_by(scenario: Scenario, node: Node, address: str = "") -> set[str]:
    """Nodes of the pods that answer a site's clients, at the sites' Service or where they say."""
    url = f"http://{address or _address(scenario)}/v1/chat/completions"
    pods = set(run(node.enter_network([sys.executable, "-c", _ASK, url]), timeout=60).split())
    found = {pod["metadata"]["name"]: pod["spec"]["nodeName"] for pod in scenario.children("Pod", NAME)}
    return {found[pod] for pod in pods}


@pytest.fixture(scope="module")
def outage(scenario: Scenario, lost: Node, left: Node) -> Outage:
    """A site is cut off for a while and returns."""
    stores, everywhere = _address(scenario), _gateway_at(scenario, "everywhere", left)
    with ExitStack() as stack:
        own_site = stack.enter_context(traffic_from(left.enter_network, stores, "auto", RATE, name="own site"))
        lost_site = stack.enter_context(traffic_from(lost.enter_network, stores, "auto", RATE, name="lost site"))
        both = stack.enter_context(traffic_from(left.enter_network, everywhere, "auto", RATE, name="everywhere"))
        time.sleep(_BEFORE)
        lost.cut()
        began = time.monotonic()
        assert _served_by(scenario, left) == {left.name}
        assert _served_by(scenario, lost) == {lost.name}
        time.sleep(max(0.0, began + _CUT - time.monotonic()))
        lost.heal()
        scenario.until(lambda: _served_by(scenario, lost) == {lost.name}, "the lost site serves itself")
        time.sleep(_AFTER)
    return Outage(began, own_site, lost_site, both)


def test_each_site_has_its_gateway_and_its_pod(scenario: Scenario, embedded: EmbeddedCluster) -> None:
    nodes = {node.name for node in embedded.nodes}
    for name in ("stores", "everywhere"):
        assert {pod["spec"]["nodeName"] for pod in gateways(scenario, name)} == nodes
    assert {pod["spec"]["nodeName"] for pod in scenario.children("Pod", NAME)} == nodes


def test_clients_get_their_own_site(scenario: Scenario, embedded: EmbeddedCluster) -> None:
    for node in embedded.nodes:
        at_home = partial(_serves_itself, scenario, node)
        scenario.until(at_home, f"{node.name} serves itself")


def test_elsewhere_all_pods_are_used(scenario: Scenario, left: Node, lost: Node) -> None:
    gateway = _gateway_at(scenario, "everywhere", left)
    scenario.until(lambda: _served_by(scenario, left, gateway) == {left.name, lost.name}, "both pods answer")


def _serves_itself(scenario: Scenario, node: Node) -> bool:
    return _served_by(scenario, node) == {node.name}


def test_clients_of_a_site_do_not_notice(outage: Outage, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{table(outage.own_site, outage.lost_site, outage.everywhere)}")
    for seen in (outage.own_site, outage.lost_site):
        seen.assert_nothing_lost()
        slow = [str(each) for each in seen.requests if each.kind == "short" and each.seconds > _PATIENCE]
        assert not slow, slow[:10]


def test_who_used_the_lost_pod_waits_for_a_health_check(outage: Outage, capsys: pytest.CaptureFixture[str]) -> None:
    """Streams that flowed from it are cut, and nothing else is lost."""
    seen = outage.everywhere
    cut = outage.began - seen.since
    late = [each for each in seen.requests if each.kind == "short" and each.seconds > _PATIENCE]
    with capsys.disabled():
        slowest = max(each.seconds for each in seen.requests if each.kind == "short")
        print(f"\n{len(late)} short requests delayed, the slowest {slowest:.1f} s; {len(seen.losses)} streams cut")
    assert seen.whole("short", after=cut + _PROBE)
    for each in late:
        assert cut - 1 < each.began < cut + _PROBE, each
        assert each.seconds < _LONGEST, each
    for each in seen.losses:
        assert (each.kind, each.fate) == ("stream", "truncated"), each
        assert each.began < cut + _PROBE, each
