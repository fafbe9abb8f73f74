"""What an AgentRoute's status says."""

from typing import Any

import pytest

from agentfleet.errors import InvalidSpec
from agentfleet.objects import Key
from agentfleet.planning.route_health import route_stalled
from agentfleet.resources.agentroute_status import AgentRouteStatus
from agentfleet.resources.conditions import HINTS
from tests.builders import NAMESPACE
from tests.planning.route_fleet import NOW, RouteFleet
from tests.routes import AUTH, Held, cloud, route, to


def test_from_nothing_to_serving() -> None:
    fleet, asked = RouteFleet(), route()
    fleet.step(asked)
    assert fleet.condition("Ready") == ("Unknown", "WaitingForPods")
    assert fleet.condition("Reconciling") == ("True", "RollingOut")
    assert fleet.condition("Programmed") == ("False", "RollingOut")
    fleet.roll()
    plan = fleet.step(asked)
    assert {c.type: (c.status, c.reason) for c in fleet.status.conditions} == {
        "Accepted": ("True", "Accepted"),
        "Programmed": ("True", "Programmed"),
        "Ready": ("True", "Serving"),
        "ResolvedRefs": ("True", "TargetsResolved"),
    }
    assert fleet.status.url == "http://front-route.demo.svc.cluster.local/v1"
    assert (fleet.status.replicas, fleet.status.ready_replicas, fleet.status.ready_targets) == (2, 2, "1/1")
    assert (fleet.status.revision, fleet.status.observed_generation) == (plan.revision, 1)
    (target,) = fleet.status.targets
    assert (target.name, target.ready, target.reason, target.location) == ("phi", True, "Serving", "Cluster")
    assert (target.model, target.message, target.site) == ("phi", None, None)
    fleet.step(route(to("phi", site="berlin")))
    assert fleet.status.targets[0].site == "berlin"


def test_a_change_rolls_while_it_serves() -> None:
    fleet = RouteFleet()
    fleet.step(route())
    fleet.roll()
    fleet.step(route())
    fleet.step(route(queue={"max": 1}))
    assert fleet.condition("Ready") == ("True", "Serving")
    assert fleet.condition("Reconciling") == ("True", "RollingOut")
    assert fleet.message("Programmed") == "0 of 2 gateways serve with the new configuration."


def test_what_is_missing_is_named_and_the_rest_serves() -> None:
    fleet, asked = RouteFleet(), route(to("phi"), to("gone"), to("lost"))
    fleet.step(asked)
    fleet.roll()
    fleet.step(asked)
    assert fleet.condition("ResolvedRefs") == ("False", "TargetNotFound")
    assert "gone: there is no ModelServer gone. lost: there is no ModelServer lost." in fleet.message("ResolvedRefs")
    assert fleet.status.ready_targets == "1/3"
    assert fleet.condition("Ready") == ("True", "Serving")
    assert fleet.condition("Stalled") is None
    assert [(target.name, target.ready, target.reason) for target in fleet.status.targets] == [
        ("phi", True, "Serving"),
        ("gone", False, "NotFound"),
        ("lost", False, "NotFound"),
    ]


def test_an_agent_that_is_not_told_who_asks_is_named() -> None:
    held = Held().server().agent("far", {"modelServerRef": {"name": "phi"}}, "other", allowedNamespaces={"from": "All"})
    fleet = RouteFleet(held)
    fleet.step(route(to("phi"), {"name": "far", "agentRef": {"name": "far", "namespace": "other"}}))
    assert fleet.condition("ResolvedRefs") == ("True", "TargetsResolved")
    said = "far: the agent is in namespace other, and identities are signed for demo alone"
    assert fleet.message("ResolvedRefs").startswith(f"All 2 targets are there. {said}")
    assert fleet.status.targets[1].ready
    assert said in str(fleet.status.targets[1].message)


def test_nothing_to_route_to() -> None:
    fleet = RouteFleet(Held())
    fleet.step(route())
    assert fleet.condition("Ready") == ("False", "NoTarget")
    assert fleet.condition("Programmed") == ("False", "NoTarget")
    assert fleet.condition("Reconciling") is None
    assert "there is no ModelServer phi" in fleet.message("Ready")


def test_a_cloud_without_auth_is_said_first() -> None:
    fleet, asked = RouteFleet(), route(to("phi"), cloud())
    fleet.step(asked)
    fleet.roll()
    fleet.step(asked)
    assert fleet.condition("Ready") == ("False", "CloudWithoutAuth")
    assert "target cloud is in a cloud, and the route has no auth." in fleet.message("Ready")
    assert fleet.condition("ResolvedRefs") == ("True", "TargetsResolved")
    with_auth = route(to("phi"), cloud(), auth=AUTH)
    fleet.step(with_auth)
    fleet.roll()
    fleet.step(with_auth)
    assert fleet.condition("Ready") == ("True", "Serving")


def test_targets_that_are_all_down_leave_it_not_ready() -> None:
    fleet = RouteFleet(Held().server(ready="EngineDied"))
    fleet.step(route())
    fleet.roll()
    fleet.step(route())
    assert fleet.condition("Ready") == ("False", "TargetNotReady")
    assert fleet.message("Ready") == "phi: it is not ready: EngineDied."
    fleet.held.server(ready="ScaledToZero", scaling={"mode": "Apply", "minReplicas": 0, "maxReplicas": 2})
    fleet.step(route())
    assert fleet.condition("Ready") == ("True", "Serving")


def test_gateways_that_were_fine_and_are_gone() -> None:
    fleet = RouteFleet()
    fleet.step(route())
    fleet.roll()
    fleet.step(route())
    fleet.roll(ready=False)
    for _ in range(2):
        fleet.step(route())
        assert fleet.condition("Ready") == ("False", "GatewaysUnavailable")
        assert fleet.condition("Programmed") == ("True", "Programmed")
        assert fleet.condition("Reconciling") is None, "that is about a changed spec only"


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (
            {
                "containerStatuses": [
                    {"name": "haproxy", "image": "x", "state": {"waiting": {"reason": "ErrImagePull"}}}
                ]
            },
            "ImagePullFailed",
        ),
        (
            {
                "containerStatuses": [
                    {
                        "name": "haproxy",
                        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                        "lastState": {"terminated": {"exitCode": 1, "message": "[ALERT] parsing"}},
                    }
                ]
            },
            "GatewayDied",
        ),
        (
            {
                "initContainerStatuses": [
                    {"name": "prepare", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}
                ]
            },
            "GatewayDied",
        ),
    ],
)
def test_new_gateways_that_cannot_start_stall_while_old_ones_serve(status: dict[str, Any], reason: str) -> None:
    fleet = RouteFleet()
    fleet.step(route())
    fleet.roll()
    fleet.step(route())
    asked = route(queue={"max": 1})
    plan = fleet.step(asked)
    broken = fleet.pods["front-route-1"]
    broken["metadata"]["labels"]["agentfleet.dev/revision"] = plan.revision
    broken["status"] = status
    fleet.step(asked)
    assert fleet.condition("Ready") == ("True", "Serving")
    assert fleet.condition("Stalled") == ("True", reason)
    assert fleet.condition("Reconciling") is None


def test_the_last_words_of_a_gateway_are_whole_lines() -> None:
    fleet, asked = RouteFleet(), route()
    plan = fleet.step(asked)
    fleet.roll(ready=False)
    words = (f"cut by the kubelet: {'x' * 400}", "[ALERT] 'ca-file': unable to load @system-ca", "", "[ALERT] Fatal.")
    terminated = {"exitCode": 1, "message": "\n".join(words)}
    broken = fleet.pods["front-route-1"]
    assert broken["metadata"]["labels"]["agentfleet.dev/revision"] == plan.revision
    broken["status"] = {"containerStatuses": [{"name": "haproxy", "state": {"terminated": terminated}}]}
    fleet.step(asked)
    assert fleet.condition("Stalled") == ("True", "GatewayDied")
    assert fleet.message("Stalled") == (
        "Container haproxy of pod front-route-1 ended with 1: [ALERT] 'ca-file': unable to load @system-ca / "
        f"[ALERT] Fatal. {HINTS['GatewayDied']}"
    )
    terminated["message"] = "y" * 900
    fleet.step(asked)
    assert f": {'y' * 400}…. " in fleet.message("Stalled"), "the beginning of a line that is too long"


def test_a_spec_that_cannot_be_acted_on_keeps_the_running_gateways() -> None:
    fleet = RouteFleet()
    fleet.step(route())
    fleet.roll()
    fleet.step(route())
    error = InvalidSpec("RouteCycle", "A request would go in a circle.")
    fleet.status = route_stalled(fleet.status, fleet.observed(), error, 2, NOW)
    assert fleet.condition("Accepted") == ("False", "RouteCycle")
    assert fleet.condition("Stalled") == ("True", "RouteCycle")
    assert fleet.condition("Ready") == ("True", "Serving")
    assert fleet.condition("Programmed") == ("True", "Programmed")
    assert (fleet.status.observed_generation, fleet.status.ready_replicas) == (2, 2)
    fresh = route_stalled(AgentRouteStatus(), RouteFleet().observed(), error, 1, NOW)
    assert next(c for c in fresh.conditions if c.type == "Ready").status == "False"


def answer(name: str, accepted: str, reason: str = "Accepted", resolved: str = "True") -> dict[str, Any]:
    return {
        "parentRef": {"name": name, "group": "gateway.networking.k8s.io", "kind": "Gateway"},
        "controllerName": "example.com/gateways",
        "conditions": [
            {"type": "Accepted", "status": accepted, "reason": reason, "message": "words"},
            {"type": "ResolvedRefs", "status": resolved, "reason": "BackendNotFound", "message": "no Service"},
        ],
    }


def attached(*answers: dict[str, Any]) -> RouteFleet:
    fleet, asked = RouteFleet(), route(parentRefs=[{"name": "edge"}])
    fleet.step(asked)
    fleet.roll()
    fleet.children[Key("HTTPRoute", NAMESPACE, "front-route")]["status"] = {"parents": list(answers)}
    fleet.step(asked)
    return fleet


def test_what_gateways_say_is_copied() -> None:
    (parent,) = attached(answer("edge", "True")).status.parents
    assert (parent.name, parent.namespace, parent.accepted, parent.reason) == ("edge", "demo", "True", None)
    assert parent.controller_name == "example.com/gateways"
    refused = attached(answer("edge", "False", "NotAllowedByListeners"))
    assert refused.condition("Programmed") == ("False", "ParentNotAccepted")
    (parent,) = refused.status.parents
    assert (parent.accepted, parent.reason, parent.message) == ("False", "NotAllowedByListeners", "words")
    assert refused.condition("Ready") == ("True", "Serving"), "its own address serves"
    (parent,) = attached(answer("edge", "True", resolved="False")).status.parents
    assert (parent.accepted, parent.reason) == ("False", "BackendNotFound")


def test_a_gateway_that_says_nothing_is_not_forgotten() -> None:
    (parent,) = attached().status.parents
    assert (parent.name, parent.accepted) == ("edge", "Unknown")


def test_a_cluster_without_gateway_api() -> None:
    fleet, asked = RouteFleet(), route(parentRefs=[{"name": "edge"}])
    fleet.served = frozenset()
    fleet.step(asked)
    fleet.roll()
    plan = fleet.step(asked)
    assert fleet.condition("Programmed") == ("False", "GatewayAPIMissing")
    assert fleet.condition("Ready") == ("True", "Serving")
    assert fleet.assess(asked, plan).after == 60, "that a CRD has come raises no event"


def test_every_reason_is_in_the_table() -> None:
    fleets = [attached(answer("edge", "False")), RouteFleet(Held()), RouteFleet()]
    for fleet in fleets[1:]:
        fleet.step(route(to("phi"), cloud()))
    assert {c.reason for fleet in fleets for c in fleet.status.conditions} <= set(HINTS)
