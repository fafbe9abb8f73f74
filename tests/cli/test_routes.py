"""AgentRoutes in `status` and `doctor`: cli/routes.py and cli/routes_checks.py."""

import json
from typing import Any

import pytest

from agentfleet.cli.routes import Route
from agentfleet.cli.routes_checks import about
from agentfleet.objects import Manifest
from tests.cli.routes import ROUTES, agent_route, serve_routes
from tests.cli.servers import READY, FakeApi, condition, listing, model_server

PODS = "/api/v1/namespaces/prod/pods"
LOST = {"name": "big", "ready": False, "reason": "NotFound", "message": "there is no ModelServer big."}


def gateway(image: str = "docker.io/library/haproxy:3.4", *, ready: bool = True, **status: Any) -> Manifest:
    return {
        "metadata": {"name": "assistant-route-0"},
        "spec": {"containers": [{"name": "haproxy", "image": image}]},
        "status": {"phase": "Pending", "conditions": [condition("Ready", str(ready))], **status},
    }


def waiting(container: str, reason: str) -> list[Manifest]:
    return [{"name": container, "image": "haproxy:9", "state": {"waiting": {"reason": reason}}}]


async def test_a_line_for_each_route(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.serve(model_server())
    down = agent_route(
        "down",
        readyReplicas=0,
        targets=[LOST],
        conditions=[condition("Ready", "False", "NoTarget"), condition("ResolvedRefs", "False", "TargetNotFound")],
    )
    new = agent_route("new")
    del new["status"]
    serve_routes(api, agent_route(), down, new)
    assert await api.run("status") == 0
    output = capsys.readouterr()
    assert output.out.split("\n\n", 2)[2] == (
        "Routes: degraded, 1 of 3 AgentRoutes healthy (33.3 %)\n\n"
        "NAME        GATEWAYS   TARGETS   URL                                                CONDITIONS\n"
        "assistant   2/2        1/1       http://assistant-route.prod.svc.cluster.local/v1   -\n"
        "down        0/2        0/1       http://down-route.prod.svc.cluster.local/v1        "
        "Ready: NoTarget, ResolvedRefs: TargetNotFound\n"
        "new         -          -         -                                                  Ready: NotSeen\n"
    )
    assert output.err == "warning: 2 of 3 AgentRoutes are not healthy\n"
    assert await api.run("status", "--check") == 3


async def test_json(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.serve(model_server())
    serve_routes(api, agent_route(conditions=[READY, condition("Stalled", "True", "RouteCycle", "a circle")]))
    assert await api.run("status", "-o", "json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["routes"] == {"overall": "healthy", "healthy": 1, "total": 1}
    (route,) = answer["agentRoutes"]
    assert (route["gateways"], route["readyGateways"], route["healthy"]) == (2, 2, True)
    assert route["troubles"] == [{"type": "Stalled", "reason": "RouteCycle", "message": "a circle"}]


async def test_who_may_not_see_routes_sees_the_rest(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.serve(model_server())
    api.answers[ROUTES] = 403
    assert await api.run("status", "--check") == 0
    output = capsys.readouterr()
    assert output.out.startswith("Fleet: healthy")
    assert output.err == "warning: AgentRoutes are not shown: refused with 403\n"


@pytest.mark.parametrize(
    ("route", "pods", "messages"),
    [
        (agent_route(), [gateway()], []),
        (
            agent_route(readyReplicas=1),
            [gateway(ready=False, containerStatuses=waiting("haproxy", "ImagePullBackOff"))],
            [
                "1 of 2 gateways are ready",
                "gateway assistant-route-0 is not ready: ImagePullBackOff of haproxy:9: check spec.gateway.image and"
                " that nodes can pull it",
            ],
        ),
        (
            agent_route(),
            [gateway(ready=False, initContainerStatuses=waiting("prepare", "CrashLoopBackOff"))],
            ["gateway assistant-route-0 is not ready: container prepare: CrashLoopBackOff; see its log"],
        ),
        (
            agent_route(),
            [
                gateway(
                    ready=False,
                    containerStatuses=waiting("haproxy", "PodInitializing"),
                    conditions=[condition("PodScheduled", "False", message="0/3 nodes are available")],
                )
            ],
            ["gateway assistant-route-0 is not ready: 0/3 nodes are available"],
        ),
        (agent_route(), [gateway(ready=False)], ["gateway assistant-route-0 is not ready: phase Pending"]),
        (
            agent_route(
                targets=[LOST, {"name": "c", "ready": False, "reason": "CloudWithoutAuth"}],
                conditions=[condition("Ready", "False", "CloudWithoutAuth", "no"), condition("ResolvedRefs", "False")],
            ),
            [],
            [
                "Ready: CloudWithoutAuth: no",
                "target big: NotFound: there is no ModelServer big.",
                "target c: CloudWithoutAuth: it gets no requests",
            ],
        ),
        (
            agent_route(),
            [gateway("registry.local:5000/haproxy:2.8-alpine")],
            ["image registry.local:5000/haproxy:2.8-alpine: HAProxy must be 3.2 or newer; set spec.gateway.image"],
        ),
        (agent_route(), [gateway("registry.local:5000/haproxy@sha256:0011"), gateway("haproxy:lts")], []),
    ],
)
def test_what_doctor_says_of_a_route(route: Manifest, pods: list[Manifest], messages: list[str]) -> None:
    assert about(Route(route), pods) == [("route assistant", "warning", message) for message in messages]


async def test_doctor(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    serve_routes(api, agent_route(targets=[LOST]))
    api.answers |= {
        "/version": {"major": "1", "minor": "35", "gitVersion": "v1.35.4"},
        PODS: listing(gateway()),
    }
    await api.run("doctor", "-o", "json")
    found = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert found["AgentRoutes"]["message"] == "1 of 1 in prod are healthy"
    assert found["route assistant"]["message"].startswith("target big: NotFound")
    assert {"labelSelector": "agentfleet.dev/agentroute=assistant", "limit": "500"} in api.queries
