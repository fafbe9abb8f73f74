"""Agents in `status` and `doctor`: cli/agents.py and cli/agents_checks.py."""

import json
from pathlib import Path
from typing import Any

import pytest

from agentfleet.cli.agents import Agent
from agentfleet.cli.agents_checks import about
from agentfleet.objects import Manifest
from tests.cli.agents import AGENTS, a_pod, an_agent, kubectl, serve_agents
from tests.cli.servers import LEASE, LEASES, OPERATORS, READY, FakeApi, condition, listing, model_server

REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
POLICY = "/apis/networking.k8s.io/v1/namespaces/prod/networkpolicies/desk-agent"
OFFLINE = an_agent(privacy="Offline")


async def test_a_line_for_each_agent(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.serve(model_server())
    down = an_agent(
        "down",
        readyReplicas=0,
        conditions=[condition("Ready", "False", "ModelNotReady"), condition("ModelReady", "False", "ModelNotReady")],
    )
    new = an_agent("new")
    del new["status"]
    asleep = an_agent(
        "night", replicas=0, readyReplicas=0, conditions=[condition("Ready", "True", "ScaledToZero")], tools=[]
    )
    serve_agents(api, an_agent(), down, new, asleep)
    assert await api.run("status") == 0
    output = capsys.readouterr()
    assert output.out.split("\n\n", 2)[2] == (
        "Agents: degraded, 2 of 4 Agents healthy (50 %)\n\n"
        "NAME    READY   MODEL   TOOLS   URL                                            CONDITIONS\n"
        "desk    1/1     phi     1       http://desk-agent.prod.svc.cluster.local/v1    -\n"
        "down    0/1     phi     1       http://down-agent.prod.svc.cluster.local/v1    "
        "Ready: ModelNotReady, ModelReady: ModelNotReady\n"
        "new     -       -       -       -                                              Ready: NotSeen\n"
        "night   0/0     phi     0       http://night-agent.prod.svc.cluster.local/v1   -\n"
    )
    assert output.err == "warning: 2 of 4 Agents are not healthy\n"
    assert await api.run("status", "--check") == 3


async def test_json(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.serve(model_server())
    alerting = condition("Alerting", "True", "AboveThreshold", "ResponseTime")
    serve_agents(api, an_agent(privacy="Private", conditions=[READY, alerting]))
    assert await api.run("status", "-o", "json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["agentHealth"] == {"overall": "healthy", "healthy": 1, "total": 1}
    (agent,) = answer["agents"]
    assert (agent["model"], agent["privacy"], agent["healthy"]) == ("phi", "Private", True)
    assert agent["tools"] == [{"name": "lookup_customer", "source": "crm"}]
    assert agent["troubles"] == [{"type": "Alerting", "reason": "AboveThreshold", "message": "ResponseTime"}]


async def test_who_may_not_see_agents_sees_the_rest(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.serve(model_server())
    api.answers[AGENTS] = 403
    assert await api.run("status", "--check") == 0
    output = capsys.readouterr()
    assert output.out.startswith("Fleet: healthy")
    assert output.err == "warning: Agents are not shown: refused with 403\n"


@pytest.mark.parametrize(
    ("agent", "pods", "messages"),
    [
        (an_agent(), [a_pod()], []),
        (
            an_agent(
                readyReplicas=0,
                conditions=[
                    condition("Ready", "False", "ReferenceNotFound", "there is no ModelServer/prod/phi"),
                    condition("Stalled", "True", "ReferenceNotFound", "there is no ModelServer/prod/phi"),
                ],
            ),
            [],
            ["Stalled: ReferenceNotFound: there is no ModelServer/prod/phi", "0 of 1 pods are ready"],
        ),
        (
            an_agent(conditions=[READY, condition("ToolsReady", "False", "ToolsNotReady", "crm: no answer")]),
            [a_pod()],
            ["ToolsReady: ToolsNotReady: crm: no answer"],
        ),
        (
            an_agent(replicas=2),
            [
                a_pod(),
                a_pod(
                    "desk-agent-1",
                    ready=False,
                    containerStatuses=[
                        {"name": "agent", "image": "me/mine:1", "state": {"waiting": {"reason": "ErrImagePull"}}}
                    ],
                ),
            ],
            [
                "1 of 2 pods are ready",
                "pod desk-agent-1 is not ready: ErrImagePull of me/mine:1: check spec.runtime.image, the chart's"
                " agents.runtimeImage, and that nodes can pull it",
            ],
        ),
        (
            an_agent(spec={"access": {}}),
            [],
            ["nobody may ask it: access.default is Deny, and access.allow names no groups and no serviceAccounts"],
        ),
    ],
)
def test_what_doctor_says_of_an_agent(agent: Manifest, pods: list[Manifest], messages: list[str]) -> None:
    assert about(Agent(agent), pods) == [("agent desk", "warning", message) for message in messages]


async def said(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> list[tuple[str, str]]:
    """Result and message of what doctor says of agent desk."""
    api.answers["/version"] = {"major": "1", "minor": "35", "gitVersion": "v1.35.4"}
    await api.run("doctor", "-o", "json")
    found = json.loads(capsys.readouterr().out)
    return [(each["result"], each["message"]) for each in found if each["name"] == "agent desk"]


async def test_an_account_that_may_not_judge_tokens(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    allow = [{"serviceAccounts": ["prod:web"]}]
    serve_agents(api, an_agent(spec={"access": {"allow": allow}}), pods=[a_pod()])
    api.answers[REVIEWS] = {"status": {"allowed": True}}
    assert await said(api, capsys) == []
    api.answers[REVIEWS] = {"status": {"allowed": False}}
    (found,) = await said(api, capsys)
    assert found[0] == "warning"
    assert found[1].startswith("its account desk-agent may not create tokenreviews")
    asked = [body for _, path, body in api.writes if path == REVIEWS]
    assert asked[0]["spec"]["user"] == "system:serviceaccount:prod:desk-agent"
    api.answers[REVIEWS] = 403
    assert await said(api, capsys) == []


def with_an_operator(api: FakeApi) -> None:
    pod: dict[str, Any] = a_pod("op-1", podIP="10.0.0.7")
    api.answers |= {OPERATORS: listing(pod), LEASES: listing(LEASE), POLICY: {"spec": {}}}


@pytest.mark.parametrize(
    ("says", "result", "message"),
    [
        ("echo closed", "ok", "Offline: pod desk-agent-0 reaches nothing that its NetworkPolicy denies, as tried"),
        ("echo open", "failed", "Offline does not hold: pod desk-agent-0 reaches the operator's pod"),
        ("echo 'error: forbidden' >&2; exit 1", "warning", "fails: error: forbidden"),
    ],
)
async def test_offline_is_tried_out(
    api: FakeApi,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    says: str,
    result: str,
    message: str,
) -> None:
    serve_agents(api, OFFLINE, pods=[a_pod()])
    with_an_operator(api)
    calls = kubectl(tmp_path, monkeypatch, executes=says)
    (found,) = await said(api, capsys)
    assert found[0] == result
    assert message in found[1]
    assert "10.0.0.7 8080" in calls.read_text()


async def test_offline_without_its_policy_or_pods(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    serve_agents(api, OFFLINE)
    assert await said(api, capsys) == [
        ("failed", "Offline without a NetworkPolicy: set the chart's policy.networkPolicies")
    ]
    with_an_operator(api)
    assert await said(api, capsys) == [
        ("warning", "Offline: not tried whether the cluster enforces it: no pod is ready")
    ]
