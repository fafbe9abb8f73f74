"""cli/status.py."""

import json

import pytest

from agentfleet.cli.server import Server
from agentfleet.cli.status import Health, recommended
from tests.cli.servers import FakeApi, condition, deciding, model_server, refused

CAPACITY = {"requestsPerSecond": "4.25", "samples": 90}


@pytest.mark.parametrize(
    ("healthy", "total", "percent", "overall"),
    [(0, 0, 100, "healthy"), (3, 3, 100, "healthy"), (2, 3, 66.6, "degraded"), (9999, 10000, 99.9, "degraded")],
)
def test_health(healthy: int, total: int, percent: float, overall: str) -> None:
    health = Health(healthy, total)
    assert (health.percent, health.overall) == (percent, overall)


@pytest.mark.parametrize(
    ("decision", "text"),
    [
        ({"state": "Recommended"}, "scale_out 2 → 4"),
        ({"state": "AwaitingApproval"}, "scale_out 2 → 4 (AwaitingApproval)"),
        ({"state": "Holding", "action": "hold", "binding": "Enough"}, "hold (Enough)"),
        ({"state": "Blocked", "action": "hold", "binding": "Budget"}, "hold (Budget)"),
        ({"state": "Applied"}, "-"),
        ({"state": "Expired"}, "-"),
    ],
)
def test_recommended(decision: dict[str, str], text: str) -> None:
    assert recommended(Server(deciding(**decision))) == text


async def test_a_line_for_each_server(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    down = model_server("down", readyReplicas=0, conditions=[condition("Ready", "False", "OutOfMemory")])
    up = deciding()
    up["status"]["capacity"] = CAPACITY
    api.serve(down, up)
    assert await api.run("status") == 0
    output = capsys.readouterr()
    assert output.out == (
        "Fleet: degraded, 1 of 2 ModelServers healthy (50 %)\n\n"
        "NAME   MODE        READY   DESIRED   RECOMMENDED       CAPACITY   DEMAND   CONDITIONS\n"
        "chat   Recommend   2/2     2         scale_out 2 → 4   4.25/s     12.1/s   -\n"
        "down   Recommend   0/2     2         -                 -          -        Ready: OutOfMemory\n"
    )
    assert output.err == "warning: 1 of 2 ModelServers are not healthy\n"
    assert await api.run("status", "--check") == 3


async def test_json(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.serve(deciding())
    assert await api.run("status", "-o", "json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["overall"], answer["percent"]) == ("healthy", 100.0)
    assert answer["modelServers"][0]["decision"]["id"] == "d-2f6c"


async def test_all_namespaces(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.answers["/apis/agentfleet.dev/v1alpha1/modelservers"] = {"items": [model_server()], "metadata": {}}
    assert await api.run("status", "-A") == 0
    assert capsys.readouterr().out.splitlines()[3].startswith("prod        chat   Recommend")


async def test_without_crds(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    assert "install agentfleet" in await refused(api, capsys, "status")


async def test_forbidden(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.answers["/apis/agentfleet.dev/v1alpha1/namespaces/prod/modelservers"] = 403
    assert await refused(api, capsys, "status") == "refused with 403"
