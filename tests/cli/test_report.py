"""cli/report.py and cli/operators.py: what status says, and what the leader keeps in memory."""

import pytest

from agentfleet.objects import Manifest
from tests.cli.servers import LEASES, OPERATORS, FakeApi, listing, model_server, refused

REPORT: Manifest = {
    "window": "60m",
    "until": "2026-05-04T10:00:00Z",
    "samples": 240,
    "requestsPerSecond": "3.5",
    "errorRatePercent": "0",
    "latency": {"mean": "0.8", "p95": "2.25"},
    "availabilityPercent": "100",
    "recommendations": [
        {"type": "scale_out", "instance": "chat-0", "reason": "GPU is 97 % busy", "suggestion": "Add a replica."}
    ],
}
SAMPLES: Manifest = {
    "name": "chat",
    "namespace": "prod",
    "interval": 30,
    "replicas": [
        {
            "replica": "chat-0",
            "samples": [
                {"at": 1777888800 + 30 * number, "requestsPerSecond": number, "latencySeconds": None, "waiting": 0}
                for number in range(3)
            ],
        }
    ],
}


async def test_report_and_samples(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.serve(model_server(report=REPORT))
    api.lead(SAMPLES)
    assert await api.run("report", "chat", "--samples", "3") == 0
    assert api.queries[-1] == {"samples": "3"}
    lines = capsys.readouterr().out.splitlines()
    assert "latency        mean 800 ms, p50 -, p95 2.25 s, max -" in lines
    assert "advice         scale_out chat-0: GPU is 97 % busy. Add a replica." in lines
    assert [line.split()[:3] for line in lines[-2:]] == [["chat-0", "10:00:30", "1"], ["chat-0", "10:01:00", "2"]]


async def test_csv_has_all_of_them(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.serve(model_server())
    api.lead(SAMPLES)
    assert await api.run("report", "chat", "--csv") == 0
    assert api.queries[-1] == {}
    header, first, *rest = capsys.readouterr().out.splitlines()
    assert header == "replica,time,latencySeconds,requestsPerSecond,waiting"
    assert first == "chat-0,2026-05-04T10:00:00+00:00,,0,0"
    assert len(rest) == 2


UNREAD: dict[str, tuple[Manifest | int, str]] = {
    "403": (403, "RoleBinding to ClusterRole agentfleet-samples"),
    "404": (404, "refused with 404"),
    "503": (503, "it has just started to lead"),
}


@pytest.mark.parametrize(("answer", "message"), UNREAD.values(), ids=UNREAD)
async def test_without_samples_the_report_is_there(
    api: FakeApi, capsys: pytest.CaptureFixture[str], answer: Manifest | int, message: str
) -> None:
    api.serve(model_server(report=REPORT))
    api.lead(answer)
    assert await api.run("report", "chat") == 0
    output = capsys.readouterr()
    assert "window         60m until" in output.out
    assert output.err.startswith("warning: ")
    assert message in output.err
    assert message in await refused(api, capsys, "report", "chat", "--csv")


async def test_no_operator_and_no_leader(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.serve(model_server())
    api.answers[OPERATORS] = listing()
    assert "name its namespace with --operator-namespace" in await refused(api, capsys, "report", "chat", "--csv")
    api.lead(SAMPLES)
    api.answers[LEASES] = listing()
    assert "none of the operator's 2 pods" in await refused(api, capsys, "report", "chat", "--csv")


async def test_no_window_yet(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.serve(model_server())
    assert await api.run("report", "chat", "--samples", "0") == 0
    assert "No report yet" in capsys.readouterr().out
