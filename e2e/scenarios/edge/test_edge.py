"""A site is cut off and returns: the other one serves, nothing is downloaded twice, and nobody has to help.

The node and its pods go on running; only nobody reaches them. Kubernetes needs its time to notice (20 s here): until
then requests still go there, and those are lost. From then on none may be, but for one sort that the test excludes: a
connection whose source port was just used for an attempt that nobody answered. The kernel translates it as it did then.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

import pytest

from e2e.cluster import EmbeddedCluster
from e2e.cluster.node import Node
from e2e.scenarios.kstatus import kstatus
from e2e.scenarios.kube import Manifest
from e2e.scenarios.scenario import Scenario
from e2e.traffic import Rate, Traffic, table, traffic

NAMES = ("till", "desk")
CACHE = "/var/lib/agentfleet/e2e-edge"
LOADER_USER = 65532
_PROXY_LAG = 6.0
"""Seconds in which every kube-proxy has heard of changed endpoints: it works once a second, on a busy machine later."""
_TO_NOTICE = 30.0
"""Seconds at most until Kubernetes takes a silent node for lost: what the controller manager is set to, and a bit."""
_TO_START = 60.0
"""Seconds at most from a lost pod's removal until its successor serves."""
_PERIOD = 0.5


@dataclass
class Outage:
    """When the site was cut off (by time.monotonic), and when each server's traffic could know of it."""

    began: float = 0.0
    noticed: dict[str, float] = field(default_factory=dict)


@pytest.fixture(scope="module")
def outage() -> Outage:
    """What the tests tell each other."""
    return Outage()


@pytest.fixture(scope="module")
def grace(full: bool) -> float:
    """Seconds for which lost pods are left alone, once their node counts as lost."""
    return 300.0 if full else 20.0


@pytest.fixture(scope="module")
def cut_seconds(full: bool) -> float:
    """How long the site is cut off."""
    return 900.0 if full else 60.0


@pytest.fixture(scope="module", autouse=True)
def _caches(embedded: EmbeddedCluster) -> Iterator[None]:
    """As an administrator would make them: an empty folder on each node that the loader's user may write to."""
    folders = [node.host_path(CACHE) for node in embedded.nodes]
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        os.chown(folder, LOADER_USER, LOADER_USER)
    yield
    for folder in folders:
        shutil.rmtree(folder)


@pytest.fixture(scope="module", autouse=True)
def _applied(scenario: Scenario, grace: float, _caches: None) -> Iterator[None]:
    hub = scenario.folder.with_name("download") / "hub.py"
    scenario.kubectl("create", "configmap", "hub", f"--from-file={hub}")
    scenario.apply("hub.yaml")
    scenario.kubectl("rollout", "status", "deployment/hub", "--timeout=60s", timeout=90)
    for name in NAMES:  # one after the other: the second finds what the first has downloaded
        scenario.apply(f"{name}.yaml")
        patch = {"spec": {"placement": {"edge": {"notReadyGrace": f"{grace:.0f}s"}}}}
        scenario.kubectl("patch", "ms", name, "--type=merge", "-p", json.dumps(patch))
        scenario.until(partial(_serves_at_both, scenario, name), f"{name} serves at both sites", timeout=120)
    yield
    scenario.kubectl("delete", "deployment/hub", "--wait=false")  # the sweep knows pods of ModelServers only


@pytest.fixture(scope="module")
def flowing(scenario: Scenario, lost: Node) -> Iterator[list[Traffic]]:
    """Traffic on both servers, from before the cut until after the return."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(traffic(stack.enter_context(scenario.address(name)), name, Rate(), name=name))
            for name in NAMES
        ]


@pytest.fixture(scope="module")
def before(scenario: Scenario) -> set[str]:
    """Names of all pods before the cut."""
    return _all_pods(scenario)


def _pods(scenario: Scenario, name: str) -> dict[str, Manifest]:
    """All pods of a server by name, those on their way out as well."""
    found = scenario.kube.list("Pod", scenario.namespace, labels=f"agentfleet.dev/modelserver={name}")
    return {pod["metadata"]["name"]: pod for pod in found}


def _all_pods(scenario: Scenario) -> set[str]:
    """Names of all pods of the namespace, those of Jobs as well."""
    return {pod["metadata"]["name"] for pod in scenario.kube.list("Pod", scenario.namespace)}


def _serving(scenario: Scenario, name: str) -> list[str]:
    """Nodes of the endpoints behind a server's Service that get new requests."""
    slices = scenario.kube.list("EndpointSlice", scenario.namespace, labels=f"kubernetes.io/service-name={name}-model")
    return [
        endpoint["nodeName"]
        for each in slices
        for endpoint in each["endpoints"] or ()
        if endpoint["conditions"]["ready"]
    ]


def _other(scenario: Scenario, lost: Node) -> str:
    """The node that is left."""
    nodes: set[str] = {pod["spec"]["nodeName"] for pod in _pods(scenario, "till").values()}
    return next(iter(nodes - {lost.name}))


def _answered(scenario: Scenario, flowing: list[Traffic]) -> None:
    """Wait until streams that begin from now on were answered by every server."""
    since = {seen.name: seen.now for seen in flowing}
    scenario.until(lambda: all(seen.whole(after=since[seen.name]) >= 2 for seen in flowing), "answers", timeout=60)


def _serves_at_both(scenario: Scenario, name: str) -> bool:
    return len(set(_serving(scenario, name))) == 2


def _current(scenario: Scenario, name: str) -> bool:
    return kstatus(scenario.server(name)) == "Current"


def _downloads(scenario: Scenario) -> int:
    """How often the hub was asked for the file's content, in full or in part."""
    log = scenario.kubectl("logs", "deployment/hub")
    return sum("GET /acme/open/resolve/" in line for line in log.splitlines())


def test_each_site_has_a_pod_and_downloads_once(scenario: Scenario) -> None:
    assert {name: len(_pods(scenario, name)) for name in NAMES} == {"till": 2, "desk": 2}
    assert _downloads(scenario) == 2


@pytest.mark.usefixtures("before")
def test_the_other_site_serves(
    scenario: Scenario, embedded: EmbeddedCluster, lost: Node, flowing: list[Traffic], outage: Outage
) -> None:
    scenario.until(lambda: all(seen.whole() >= 2 for seen in flowing), "requests are answered")
    for seen in flowing:
        seen.phase = "cut, unnoticed"
    lost.cut()
    outage.began = time.monotonic()
    scenario.until(
        lambda: not any(lost.name in _serving(scenario, name) for name in NAMES), "the loss is noticed", timeout=60
    )
    time.sleep(_PROXY_LAG)
    embedded.forget_attempts()
    for seen in flowing:
        seen.phase = "cut, noticed"
        outage.noticed[seen.name] = seen.now
    _answered(scenario, flowing)


def test_lost_pods_are_made_anew_after_the_grace_but_for_those_of_the_node(
    scenario: Scenario, lost: Node, before: set[str], outage: Outage, grace: float, cut_seconds: float
) -> None:
    """Nobody makes pods again and again: at no time is there one more than the one that replaces the lost one."""
    replacements: set[str] = set()

    def bounded() -> bool:
        replacements.update(_all_pods(scenario) - before)
        return len(replacements) <= 1

    replaced_by = outage.began + grace + _TO_NOTICE + _TO_START
    while _serving(scenario, "desk").count(_other(scenario, lost)) < 2:
        assert bounded(), f"too many pods: {replacements}\n{scenario.report()}"
        assert time.monotonic() < replaced_by, f"the lost pod of desk was not made anew\n{scenario.report()}"
        time.sleep(_PERIOD)
    assert time.monotonic() - outage.began > grace
    left = max(0.0, cut_seconds - (time.monotonic() - outage.began))
    scenario.stays(bounded, "no pod is made but the one", left)
    assert replacements <= set(_pods(scenario, "desk"))
    assert {name: scenario.stalled(name) for name in NAMES} == dict.fromkeys(NAMES)


def test_the_site_returns_without_help(
    scenario: Scenario, lost: Node, before: set[str], flowing: list[Traffic]
) -> None:
    for seen in flowing:
        seen.phase = "returned"
    lost.heal()
    scenario.until(lambda: lost.name in _serving(scenario, "till"), "till serves there again", timeout=90)
    assert set(_pods(scenario, "till")) <= before
    scenario.until(
        lambda: len(_pods(scenario, "desk")) == len(_serving(scenario, "desk")) == 2, "desk has two pods", timeout=90
    )
    for name in NAMES:
        scenario.until(partial(_current, scenario, name), f"{name} is Current")
    _answered(scenario, flowing)
    assert len(_all_pods(scenario) - before) == 1, f"the return made pods\n{scenario.report()}"


def test_nothing_was_downloaded_again(scenario: Scenario) -> None:
    assert _downloads(scenario) == 2


def test_only_what_began_before_the_loss_was_noticed_is_lost(
    flowing: list[Traffic], outage: Outage, capsys: pytest.CaptureFixture[str]
) -> None:
    for seen in flowing:
        seen.end()
    with capsys.disabled():
        print(f"\n{table(*flowing)}")
    for seen in flowing:
        late = [str(each) for each in seen.losses if each.began >= outage.noticed[seen.name]]
        assert not late, f"{seen.name}: lost although the loss of the site was noticed:\n" + "\n".join(late[:10])
