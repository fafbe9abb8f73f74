"""cli/approve.py: only what waits can be approved, by its own id."""

import pytest

from agentfleet.objects import Manifest
from tests.cli.servers import MODEL_SERVERS, FakeApi, deciding, model_server, refused

PATH = f"{MODEL_SERVERS}/chat"
FAR = "2999-01-01T00:00:00Z"
ASKING = {"scaling": {"mode": "Apply", "approval": {"required": True}}}


def asking(**decision: str) -> Manifest:
    return deciding(ASKING, **({"state": "AwaitingApproval", "expires": FAR} | decision))


def patched(**annotations: str | None) -> list[tuple[str, str, Manifest]]:
    named = {f"agentfleet.dev/{name}": value for name, value in annotations.items()}
    return [("PATCH", PATH, {"metadata": {"annotations": named}})]


def answers_with(api: FakeApi, state: str) -> None:
    """Let the operator take up what was said."""
    api.serve(asking())
    api.answers[PATH] = lambda: asking(state=state) if api.writes else asking()


async def test_approve_says_what_and_waits(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    answers_with(api, "Applied")
    assert await api.run("approve", "chat", "d-2f6c") == 0
    assert api.writes == patched(approve="d-2f6c", reject=None)
    output = capsys.readouterr()
    assert output.out.startswith("approved d-2f6c of prod/chat: scale_out 2 → 4. 12 requests/s are asked for")
    assert output.err == ""


async def test_reject(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    answers_with(api, "Rejected")
    assert await api.run("approve", "chat", "--reject") == 0
    assert api.writes == patched(reject="d-2f6c", approve=None)
    assert capsys.readouterr().out.startswith("rejected d-2f6c")


async def test_an_operator_that_does_not_answer(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.serve(asking())
    assert await api.run("approve", "chat", "--wait", "100ms") == 0
    assert "not Applied but AwaitingApproval after 0.1 s" in capsys.readouterr().err
    assert await api.run("approve", "chat", "--wait", "0s") == 0
    assert capsys.readouterr().err == ""


REFUSED: dict[str, tuple[Manifest, tuple[str, ...], str]] = {
    "none": (model_server(), (), "nothing has been decided yet"),
    "mode": (deciding(), (), "is Recommended: nothing waits in mode Recommend"),
    "not required": (deciding({"scaling": {"mode": "Apply"}}, state="Applied"), (), "approval.required is not set"),
    "applied": (deciding(ASKING, state="Applied"), (), "is Applied: nothing waits for approval"),
    "another": (asking(), ("d-0000",), "d-0000 does not wait for approval, d-2f6c (scale_out 2 → 4) does"),
    "expired": (asking(expires="2000-01-01T00:00:00Z"), (), "has expired at 2000-01-01T00:00:00Z"),
}


@pytest.mark.parametrize(("server", "argv", "message"), REFUSED.values(), ids=REFUSED)
async def test_refused(
    api: FakeApi, capsys: pytest.CaptureFixture[str], server: Manifest, argv: tuple[str, ...], message: str
) -> None:
    api.serve(server)
    assert message in await refused(api, capsys, "approve", "chat", *argv)
    assert api.writes == []
