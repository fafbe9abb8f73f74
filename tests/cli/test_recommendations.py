"""cli/recommendations.py."""

import pytest

from tests.cli.servers import FakeApi, deciding, model_server, refused

HISTORY = [
    {
        "time": "2026-05-04T09:00:00Z",
        "action": "scale_in",
        "from": 3,
        "to": 2,
        "binding": "Demand",
        "state": "Applied",
        "verdict": "as foretold",
    }
]


async def test_one_in_full(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.serve(deciding(scaling={"history": HISTORY, "suggestedMinReplicas": 3}))
    assert await api.run("recommend", "chat") == 0
    text = capsys.readouterr().out
    for expected in (
        "prod/chat: mode Recommend",
        "decision   scale_out 2 → 4 (Recommended)",
        "id         d-2f6c",
        "binding    Demand",
        "reason     12 requests/s are asked for, and a replica carries 4.",
        "one fewer  3 replicas would be 100 % busy.",
        "inputs     capacity 4.0, demand 12.1",
        "A minReplicas of 3 would have spared",
        "2026-05-04T09:00:00Z   scale_in 3 → 2   Demand    Applied   as foretold",
    ):
        assert expected in text


async def test_what_waits_says_how_to_approve_it(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.serve(deciding(state="AwaitingApproval", expires="2000-01-01T00:00:00Z"))
    assert await api.run("recommendations", "chat") == 0
    text = capsys.readouterr().out
    assert "approve    kubectl agentfleet approve -n prod chat d-2f6c" in text
    assert "expires    it has expired" in text


async def test_all_in_a_line_each(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.serve(deciding(reason="x" * 200), model_server("new"))
    assert await api.run("recommend") == 0
    header, line = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["NAMESPACE", "NAME", "ACTION"]
    assert line.startswith("prod        chat   scale_out 2 → 4   Recommended   Demand")
    assert line.endswith("xxx…")


@pytest.mark.parametrize(("argv", "text"), [((), "No recommendations."), (("new",), "Nothing has been decided yet")])
async def test_nothing_decided(
    api: FakeApi, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], text: str
) -> None:
    api.serve(model_server("new"))
    assert await api.run("recommend", *argv) == 0
    assert text in capsys.readouterr().out


async def test_a_wrong_name_is_told_what_there_is(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.serve(model_server("code"), model_server("chat"))
    line = await refused(api, capsys, "recommend", "chut")
    assert line == "there is no ModelServer chut in namespace prod: there are chat, code"
