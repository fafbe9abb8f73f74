"""cli/explain.py: one request through a live route and through one from a file."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from agentfleet.cli.main import main
from agentfleet.objects import Manifest
from tests.cli.routes import ROUTES, SPEC, agent_route, serve_routes, serve_targets
from tests.cli.servers import MODEL_SERVERS, FakeApi, refused

QUESTION = "Please debug this and mail it to joe@example.com"


@pytest.fixture
def route(api: FakeApi) -> FakeApi:
    serve_routes(api, agent_route())
    serve_targets(api)
    return api


@pytest.fixture
def body(tmp_path: Path) -> str:
    return _write(tmp_path / "r.json", _chat(QUESTION))


def _chat(question: str, **more: Any) -> Manifest:
    return {"model": "auto", "messages": [{"role": "user", "content": question}], **more}


def _write(path: Path, content: Manifest) -> str:
    path.write_text(json.dumps(content) if path.suffix == ".json" else yaml.safe_dump(content))
    return str(path)


def _file(tmp_path: Path, **spec: Any) -> str:
    manifest = {"kind": "AgentRoute", "metadata": {"name": "assistant"}, "spec": SPEC | spec}
    return _write(tmp_path / "route.yaml", manifest)


def _offline(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[Any, str]:
    assert main(["explain", "route", "--offline", "--json", *argv]) == 0
    output = capsys.readouterr()
    return json.loads(output.out), output.err


def _offline_error(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(["explain", "route", "--offline", *argv]) == 1
    output = capsys.readouterr()
    assert (output.out, output.err.count("\n")) == ("", 1)
    return output.err.removeprefix("error: ").strip()


async def test_every_step(route: FakeApi, body: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert await route.run("explain", "route", "assistant", "--request", body, "--as-caller", "bob") == 0
    output = capsys.readouterr()
    assert output.out == (
        f"prod/assistant, {body} to /v1/chat/completions\n"
        "\n"
        "Read\n"
        "  model        auto\n"
        "  size         112 bytes, 28 tokens as estimated\n"
        "  caller       bob, groups -\n"
        "  needs        Code (its intent is code or coding)\n"
        "  intent       code: keyword 'debug'\n"
        "  complexity   Moderate: its words\n"
        "  sensitivity  Confidential: found: Email\n"
        "\n"
        "Privacy filter\n"
        "  cloud  taken away: Confidential requests never go to a cloud (privacy.denyCloudFor)\n"
        "\n"
        "Rules\n"
        "  RULE   RESULT     WHY\n"
        "  vip    no match   header x-team is not there\n"
        "  code   matches    -\n"
        "\n"
        "Decision\n"
        "  target    balanced, where it waits for a pod\n"
        "  reason    Rule: the rule's target, by its strategy\n"
        "  rule      code, strategy LeastLoaded\n"
        "  then      no other is tried\n"
        "  deadline  600 s in all\n"
        "\n"
        "Targets\n"
        "  TARGET     TIER          LOCATION   READY   ACTIVE   WAITING   STATE                              PLAN\n"
        "  light      Lightweight   Cluster    2       0/20     0         has room                           -\n"
        "  balanced   Balanced      Cluster    0       0/0      0         ColdStart                          1\n"
        "  cloud      Capable       Cloud      1       0        0         taken away by the privacy filter   -\n"
    )
    assert output.err == ""
    assert "joe" not in output.out


async def test_json(route: FakeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = _write(tmp_path / "plain.json", _chat("Please debug this", tools=[{"type": "function"}]))
    argv = ["--request", plain, "--load", "balanced=1,10,3", "--groups", "a,b", "--as-caller", "bob", "--json"]
    assert await route.run("explain", "route", "assistant", *argv) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["read"]["needs"] == ["Code", "Tools"]
    assert answer["decision"]["plan"] == ["cloud"]
    assert answer["decision"]["why"] == (
        "no rule decides, and no target that may and can take it is Balanced, the tier for Moderate requests:"
        " the least loaded of the others, clouds last"
    )
    assert {each["name"]: each["unable"] is None for each in answer["targets"]} == {
        "light": False,
        "balanced": False,
        "cloud": True,
    }


@pytest.mark.parametrize(
    ("argv", "plan", "verdict"),
    [
        (["--header", "X-Team=blue"], ["cloud"], "Chosen"),
        (["--header", "x-team=red"], ["light"], "NoMatch"),
        (["--header", "x-team=blue", "--privacy-mode", "Private"], ["light"], "NoTarget"),
        (["--header", "x-team=blue", "--header", "x-agentroute-sensitivity=restricted"], ["light"], "NoTarget"),
    ],
)
def test_headers_and_privacy_mode(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], argv: list[str], plan: list[str], verdict: str
) -> None:
    hello = _write(tmp_path / "hello.json", _chat("Hello"))
    answer, _ = _offline(capsys, "-f", _file(tmp_path), "--request", hello, *argv)
    assert answer["decision"]["plan"][:1] == plan
    assert answer["rules"][0]["verdict"] == verdict


def test_offline_takes_targets_to_be_ready(tmp_path: Path, body: str, capsys: pytest.CaptureFixture[str]) -> None:
    answer, notes = _offline(capsys, "-f", _file(tmp_path, limits=[]), "--request", body)
    assert (answer["namespace"], answer["decision"]["plan"]) == ("default", ["balanced"])
    assert answer["assumed"] == ["ModelServer/default/phi", "ModelServer/default/qwen"]
    assert notes.splitlines() == [
        "note: not looked up, so taken to be there, ready and in the cluster: "
        "ModelServer/default/phi, ModelServer/default/qwen",
        "note: the route has auth, and this is no caller: say who by --as-caller, or it is answered 401",
    ]


def test_the_file_of_a_request_may_be_stdin(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path(_write(tmp_path / "r.json", {"model": "auto", "prompt": "hi"})).open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        answer, _ = _offline(capsys, "-f", _file(tmp_path), "--request", "-", "--endpoint", "completions")
    assert answer["decision"]["status"] == 200


def test_a_cloud_without_auth_is_not_in_use(tmp_path: Path, body: str, capsys: pytest.CaptureFixture[str]) -> None:
    spec = {name: value for name, value in SPEC.items() if name != "auth"}
    manifest = {"kind": "AgentRoute", "metadata": {"name": "assistant"}, "spec": spec}
    answer, _ = _offline(capsys, "-f", _write(tmp_path / "route.yaml", manifest), "--request", body)
    assert [(each["name"], each["reason"]) for each in answer["notInUse"]] == [("cloud", "CloudWithoutAuth")]


def test_refusals_are_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named = _write(tmp_path / "r.json", _chat("My password is hunter2!", model="target/cloud"))
    assert main(["explain", "route", "--offline", "-f", _file(tmp_path), "--request", named]) == 0
    text = capsys.readouterr().out
    assert "refused  HTTP 403 PrivacyDenied: the privacy filter left no target" in text
    assert "sensitivity  Restricted: found: ApiKey" in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("classify", "asked", "intent", "by"),
    [
        ({}, [], None, "the route has no intents"),
        ({"intents": [{"name": "a"}], "defaultIntent": "a"}, [], "a", "the default is a"),
        ({"intents": [{"name": "a"}, {"name": "b"}]}, ["--intent", "b"], "b", "--intent"),
        (
            {
                "intents": [{"name": "a", "examples": ["Hello there"]}],
                "intentMethod": "Model",
                "modelRef": {"name": "m"},
            },
            [],
            None,
            "no keyword; a model is asked (method Model), but not from here: say it with --intent",
        ),
    ],
)
def test_by_what_the_intent_is_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], classify: Manifest, asked: list[str], intent: str, by: str
) -> None:
    hello = _write(tmp_path / "r.json", _chat("Hello there"))
    file = _file(tmp_path, classify=classify, rules=[])
    answer, _ = _offline(capsys, "-f", file, "--request", hello, *asked)
    assert answer["read"]["intent"]["value"] == intent
    assert answer["read"]["intent"]["by"].endswith(by)


def test_escapes_hide_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "r.json"
    path.write_text(
        '{"model":"auto","messages":[{"role":"user","content":"\\ud83d\\ude00 joe\\u0040exampl\\u0065.com"}]}'
    )
    answer, _ = _offline(capsys, "-f", _file(tmp_path), "--request", str(path))
    assert answer["read"]["sensitivity"]["patterns"] == ["Email"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--request", "{body}"], "--offline needs a route from a file: name it by -f"),
        (["-f", "/nowhere", "--request", "{body}"], "/nowhere: No such file or directory"),
        (["-f", "{route}", "--request", "/nowhere"], "/nowhere: No such file or directory"),
        (["-f", "{body}", "--request", "{body}"], "has no AgentRoute"),
        (["other", "-f", "{route}", "--request", "{body}"], "has no AgentRoute other, but assistant"),
        (["-f", "{route}", "--request", "{body}", "--intent", "x"], "--intent x: no such intent in classify.intents"),
        (["-f", "{route}", "--request", "{body}", "--load", "x=1"], "--load x: default/assistant has no such target"),
        (["-f", "{route}", "--request", "{route}"], "answered 400: The request body is not valid JSON"),
        (["-f", "{route}", "--against", "{body}"], "--against compares with the live route: leave --offline out"),
    ],
)
def test_mistakes(tmp_path: Path, body: str, capsys: pytest.CaptureFixture[str], argv: list[str], message: str) -> None:
    names = {"body": body, "route": _file(tmp_path)}
    assert message in _offline_error(capsys, *(each.format(**names) for each in argv))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"rules": [{"name": "r", "targets": ["light"], "macth": {}}]}, "there is no field spec.rules[0].macth"),
        ({"rules": [{"name": "r", "targets": ["nobody"]}]}, "'nobody' is no target; legal: balanced, cloud, light"),
        (
            {"rules": [{"name": "r", "targets": ["light"], "strategy": "Best"}]},
            "spec.rules.0.strategy: Input should be",
        ),
        (
            {"classify": {"sensitivity": {"custom": [{"name": "x", "pattern": "(a+)+b"}]}}},
            "classify.sensitivity.custom x",
        ),
    ],
)
def test_routes_that_are_not_valid(
    tmp_path: Path, body: str, capsys: pytest.CaptureFixture[str], spec: Manifest, message: str
) -> None:
    assert message in _offline_error(capsys, "-f", _file(tmp_path, **spec), "--request", body)


async def test_a_file_against_the_cluster(
    route: FakeApi, tmp_path: Path, body: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = _file(tmp_path, rules=[{"name": "new", "targets": ["light"]}])
    assert await route.run("explain", "route", "-f", file, "--request", body, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["decision"]["rule"], answer["assumed"]) == ("new", [])


async def test_what_may_not_be_read_is_taken_to_be_there(
    route: FakeApi, body: str, capsys: pytest.CaptureFixture[str]
) -> None:
    route.answers[f"{MODEL_SERVERS}/qwen"] = 403
    assert await route.run("explain", "route", "assistant", "--request", body, "--json") == 0
    assert json.loads(capsys.readouterr().out)["assumed"] == ["ModelServer/prod/qwen"]


async def test_references_that_lead_nowhere(route: FakeApi, body: str, capsys: pytest.CaptureFixture[str]) -> None:
    del route.answers[f"{MODEL_SERVERS}/qwen"]
    assert await route.run("explain", "route", "assistant", "--request", body) == 0
    assert "not in use: NotFound: balanced: there is no ModelServer qwen." in capsys.readouterr().out


async def test_no_such_route(route: FakeApi, body: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = await refused(route, capsys, "explain", "route", "other", "--request", body)
    assert told == "there is no AgentRoute other in namespace prod: there are assistant"
    del route.answers[ROUTES]
    told = await refused(route, capsys, "explain", "route", "other", "--request", body)
    assert told.endswith("there are none; is it the right --namespace?")
    assert "name an AgentRoute" in await refused(route, capsys, "explain", "route", "--request", body)
