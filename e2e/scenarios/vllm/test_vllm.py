"""A real vLLM, on CPUs: it serves, takes LoRA adapters while it runs, and is rolled out without losing a request."""

from __future__ import annotations

import json

import pytest

from e2e.images import vllm
from e2e.scenarios import agents
from e2e.scenarios.kube import Manifest
from e2e.scenarios.scenario import Scenario
from e2e.traffic import Rate, table, traffic
from tests.engines.vllm_lines import command_lines

NAME = "tiny"
REPOSITORY = "acme--tiny"
BASE = [NAME, REPOSITORY]
_START = 300
"""Seconds that a start may take: importing vLLM in three processes is most of it."""
_SEEDS = 50
"""Most that are tried until a call is whole: seven of ten give one."""
_LISTED = 120
"""Seconds until an adapter is served or gone: the kubelet looks for a changed list once a minute."""
# Streams of 2 to 5 s, one always in flight. More would pile up while the second pod starts on the same two cores.
_STREAMS = Rate(streams=0.6, stream_tokens=300, shorts=0.5, short_tokens=4)
_STREAMS_OF_ADAPTER = Rate(streams=0.2, stream_tokens=200, shorts=0.2, short_tokens=4)


@pytest.fixture(scope="module", autouse=True)
def _served(scenario: Scenario, provided: None) -> None:
    scenario.apply("modelserver.yaml", "agent.yaml")
    scenario.wait_ready(NAME, timeout=_START)


def _pod(scenario: Scenario) -> Manifest:
    (pod,) = scenario.children("Pod", NAME)
    return pod


def _engine(pod: Manifest) -> Manifest:
    found: Manifest = next(each for each in pod["spec"]["containers"] if each["name"] == "engine")
    return found


def _restarts(pod: Manifest) -> dict[str, int]:
    return {each["name"]: each["restartCount"] for each in pod["status"]["containerStatuses"]}


def _is_leaving(scenario: Scenario, pod: str) -> bool:
    found = scenario.kube.get("Pod", pod, scenario.namespace)
    return found is None or "deletionTimestamp" in found["metadata"]


def _models(scenario: Scenario) -> list[str]:
    with scenario.chat(NAME) as chat:
        return chat.models()


def _list_of_adapters(scenario: Scenario) -> str:
    return json.dumps(scenario.kube.get("ConfigMap", f"{NAME}-model-adapters", scenario.namespace))


def _says(scenario: Scenario, model: str) -> str:
    with scenario.chat(NAME, model) as chat:
        return chat.ask().text


def test_it_serves_under_both_names(scenario: Scenario) -> None:
    assert _models(scenario)[:2] == BASE
    for model in BASE:
        with scenario.chat(NAME, model) as chat:
            whole, streamed = chat.ask(), chat.stream()
            assert whole.text == streamed.text
            assert whole.completion_tokens == streamed.completion_tokens == 16
            assert streamed.pieces > 1


def test_status_names_its_version(scenario: Scenario) -> None:
    assert scenario.server(NAME)["status"]["engineVersion"].startswith(vllm.version())


def test_an_agent_bears_calls_that_make_no_sense(scenario: Scenario) -> None:
    """The model is made to call the agent's tool. With random weights it takes some seeds until the call is a whole one
    within its tokens, and its arguments are junk: no client ever sees more of that than an answer without sense."""
    agents.wait_ready(scenario, "caller")
    with (
        agents.address(scenario, "caller") as address,
        agents.client(address, agents.token(scenario), timeout=120) as client,
    ):
        for seed in range(_SEEDS):
            answer = client.chat.completions.with_raw_response.create(
                model="caller",
                messages=[{"role": "user", "content": "Where is parcel 7?"}],
                tool_choice={"type": "function", "function": {"name": "find_parcel"}},
                temperature=1,
                seed=seed,
            )
            assert "x-agentfleet-finish" not in answer.headers  # which a fallback reply has
            assert answer.parse().choices[0].finish_reason in ("stop", "length")
            if agents.metric(scenario, "caller", "agentfleet_agent_tool_calls_total", source="find-parcel"):
                break
        else:
            pytest.fail(f"no whole call with {_SEEDS} seeds")
    request = answer.headers["x-request-id"]
    run = scenario.until(lambda: _audited(scenario, "run", request), "the run is in the log")
    called = scenario.until(lambda: _audited(scenario, "tool", request), "its call is in the log")
    assert (called["tool"], called["decision"], called["reason"]) == ("find_parcel", "refused", "arguments")
    assert (run["decision"], run["status"]) == ("ok", 200)
    assert run["model_calls"] > 1  # it was told what was wrong with its call
    scenario.kubectl("delete", "agent", "caller", "--wait=false")


def _audited(scenario: Scenario, kind: str, request: str) -> Manifest | None:
    lines = agents.audit(scenario, "caller")
    return next((line for line in lines if (line["kind"], line.get("request")) == (kind, request)), None)


def test_an_adapter_is_a_model_of_its_own(scenario: Scenario) -> None:
    scenario.until(lambda: _models(scenario) == [*BASE, "pirate"], "the adapter is served")
    assert _says(scenario, "pirate") != _says(scenario, NAME)


def test_adapters_come_and_go_without_a_restart(scenario: Scenario, full: bool) -> None:
    before, said = _pod(scenario), {model: _says(scenario, model) for model in (NAME, "pirate")}
    adapters = [{"name": "poet", "uri": "hf://acme/poet"}]
    scenario.kubectl("patch", "ms", NAME, "--type=merge", "-p", json.dumps({"spec": {"adapters": adapters}}))
    scenario.until(lambda: "acme/poet" in _list_of_adapters(scenario), "the list in the pod's ConfigMap is changed")
    if not full:
        # Any change of a pod makes the kubelet look at once.
        scenario.kubectl("annotate", "pod", before["metadata"]["name"], "example.com/looked-at=now")
    scenario.until(lambda: _models(scenario) == [*BASE, "poet"], "one adapter took the other's place", timeout=_LISTED)
    assert _says(scenario, NAME) == said[NAME]
    assert _says(scenario, "poet") not in said.values()
    after = _pod(scenario)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert not any(_restarts(after).values())


def test_a_rollout_loses_no_request(scenario: Scenario, capsys: pytest.CaptureFixture[str]) -> None:
    old = _pod(scenario)["metadata"]["name"]
    with (
        scenario.address(NAME) as address,
        traffic(address, NAME, _STREAMS) as seen,
        traffic(address, "poet", _STREAMS_OF_ADAPTER) as adapted,
    ):
        flows = (seen, adapted)
        scenario.until(lambda: all(flow.whole() >= 2 for flow in flows), "streams are answered", timeout=60)
        for flow in flows:
            flow.phase = "rollout"
        scenario.kubectl("patch", "ms", NAME, "--type=merge", "-p", json.dumps({"spec": {"vllm": {"maxNumSeqs": 8}}}))
        scenario.until(lambda: _is_leaving(scenario, old), "the new pod takes over", timeout=_START)
        takeover = seen.now
        scenario.until(
            lambda: scenario.kube.get("Pod", old, scenario.namespace) is None, "the old pod has ended", timeout=_START
        )
        since = {flow.name: flow.now for flow in flows}
        for flow in flows:
            flow.phase = "after"
        scenario.until(
            lambda: all(flow.whole(after=since[flow.name]) >= 2 for flow in flows), "the new pod streams", timeout=60
        )
    drained = [each for each in seen.requests if each.began < takeover < each.began + each.seconds]
    with capsys.disabled():
        print(f"\n{table(*flows)}\n{len(drained)} requests were in flight when the old pod was told to go")
    for flow in flows:
        flow.assert_nothing_lost()
    assert drained, "no request was in flight when the old pod was told to go, so no drain is shown"


def test_the_new_argument_is_what_runs(scenario: Scenario) -> None:
    scenario.wait_settled(NAME)
    assert "--max-num-seqs=8" in _engine(_pod(scenario))["args"]


def test_its_own_parser_takes_every_command_line(scenario: Scenario) -> None:
    """Those of all scenarios and options, not only of this one."""
    lines = command_lines()
    script = (scenario.folder / "parse.py").read_text(encoding="utf-8")
    pod = _pod(scenario)["metadata"]["name"]
    where = ("exec", "--stdin", pod, "--container=engine", "--", "python3", "-c", script)
    refused = json.loads(scenario.kubectl(*where, stdin=json.dumps(lines), timeout=120).splitlines()[-1])
    print(f"\nvLLM {vllm.version()} takes {len(lines) - len(refused)} of {len(lines)} command lines")
    assert refused == []


def test_its_capacity_is_learnt_and_load_brings_a_second(
    scenario: Scenario, full: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """From vLLM's own counters. With a tenth of its capacity to plan with, a few streams are too many for one pod."""
    scaling = {"mode": "Apply", "maxReplicas": 2, "loadFactorPercent": 10}
    with scenario.address(NAME) as address, traffic(address, NAME, _STREAMS) as seen:
        scenario.until(lambda: seen.whole() >= 2, "streams are answered", timeout=60)
        scenario.kubectl("patch", "ms", NAME, "--type=merge", "-p", json.dumps({"spec": {"scaling": scaling}}))
        scenario.until(lambda: len(scenario.children("Pod", NAME)) == 2, "a second pod is made", timeout=60)
        if full:
            scenario.until(lambda: scenario.server(NAME)["status"]["readyReplicas"] == 2, "it serves", timeout=_START)
    status = scenario.server(NAME)["status"]
    with capsys.disabled():
        print(f"\n{table(seen)}\n{status['scaling']['decision']['reason']}\n{status['capacity']}")
    history = [(change["action"], change["from"], change["to"]) for change in status["scaling"]["history"]]
    assert history[0] == ("scale_out", 1, 2), f"advice from before maxReplicas was set must not be followed: {history}"
    assert float(status["capacity"]["requestsPerSecond"]) > 0
    assert sum(map(float, status["capacity"]["step"].values())) > 0
    seen.assert_nothing_lost()
