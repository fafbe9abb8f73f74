"""cli/simulate.py and cli/whatif.py: a live server's record against a changed spec, in the real simulator."""

import json

import pytest

from agentfleet.cli.server import Server
from agentfleet.cli.whatif import NothingToSimulate, goals, learnt_of, profile_of, record
from agentfleet.objects import Manifest
from tests.cli.servers import FakeApi, model_server, refused

CAPACITY: Manifest = {
    "key": "k",
    "requestsPerSecond": "4.0",
    "step": {"base": "0.012", "perToken": "0.00007", "perKvToken": "0.00000001"},
    "promptTokens": "500",
    "outputTokens": "100",
    "samples": 500,
    "learntAt": "2026-05-04T10:00:00Z",
}
NO_STEPS = {name: value for name, value in CAPACITY.items() if name != "step"} | {"concurrency": "8"}
APPLY = {"scaling": {"mode": "Apply", "minReplicas": 2, "maxReplicas": 6}}


def sample(slot: int, rate: float | None, **more: float | None) -> Manifest:
    return {"at": 30.0 * slot + 7, "requestsPerSecond": rate, **more}


def recorded(count: int = 40, rate: float = 6.0) -> Manifest:
    tokens = {"promptTokens": 500.0, "outputTokens": 100.0}
    return {
        "interval": 30,
        "replicas": [{"replica": "chat-0", "samples": [sample(slot, rate, **tokens) for slot in range(count)]}],
        "demand": [sample(slot, rate) for slot in range(count)],
    }


def test_a_record_is_the_demand_with_the_lengths_of_the_replicas() -> None:
    one = [sample(0, 1.0, promptTokens=100.0, outputTokens=10.0), sample(1, None), sample(2, 3.0)]
    two = [sample(0, 3.0, promptTokens=300.0, outputTokens=None), sample(2, 1.0)]
    replicas = [{"replica": "a", "samples": one}, {"replica": "b", "samples": two}]
    looks = record({"interval": 30, "replicas": replicas, "demand": [sample(0, 5.0)]})
    # gateways first, unknown is left out, lengths by the requests that had them; the last lasts as long as the others
    assert [(look.seconds, look.requests_per_second) for look in looks] == [(0, 5.0), (60, 4.0), (90, 0.0)]
    assert [(look.prompt_tokens, look.output_tokens) for look in looks] == [(250.0, 10.0)] * 3


def test_too_little_is_recorded() -> None:
    with pytest.raises(NothingToSimulate, match="no two samples say how many requests came"):
        record(recorded(1))


def test_a_replica_as_it_was_learnt() -> None:
    profile = profile_of(Server(model_server(capacity=CAPACITY, plan={"kvCacheTokens": 90000, "gpusPerReplica": 2})))
    assert (profile.kv_tokens, profile.gpus_per_replica, profile.max_running) == (90000, 2, 256)
    assert profile.step_seconds(1, 1, 0) == pytest.approx(0.01207)


def test_an_engine_that_counts_no_steps_carries_what_was_learnt() -> None:
    server = Server(model_server(capacity=NO_STEPS))
    assert profile_of(server).requests_per_second(1, 100, 1.0) == pytest.approx(4.0, rel=0.1)
    assert learnt_of(server) is None
    with pytest.raises(NothingToSimulate, match="has not been learnt yet"):
        profile_of(Server(model_server()))


def test_outside_of_apply_what_is_now_is_a_number() -> None:
    found = goals(Server(model_server()), [("scaling.maxReplicas", "3")])
    bounds = {name: (goal.minimum, goal.maximum) for name, goal in found.items()}
    assert bounds == {"now": (2, 2), "mode Apply": (1, 8), "changed": (1, 3)}
    assert list(goals(Server(model_server(spec=APPLY)), [("scaling.minReplicas", "1")])) == ["now", "changed"]


WRONG: dict[str, tuple[Manifest, list[tuple[str, str]], str]] = {
    "no change": (APPLY, [], "nothing to compare: name a change"),
    "no field": (APPLY, [("scaling.minReplica", "2")], "scaling.minReplica: the spec has no such field"),
    "no value": (APPLY, [("scaling.minReplicas", "-1")], "greater than or equal to 0, got -1"),
    "no part": (APPLY, [("scaling.mode.a", "1")], "scaling.mode is no group of fields"),
    "no effect": (APPLY, [("scaling.maxGpus", "4")], "changes nothing that is simulated"),
    "bounds": (APPLY, [("scaling.minReplicas", "9")], "minReplicas is 9, above maxReplicas, 6"),
}


@pytest.mark.parametrize(("spec", "changes", "message"), WRONG.values(), ids=WRONG)
def test_changes_that_cannot_be(spec: Manifest, changes: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(NothingToSimulate, match=message):
        goals(Server(model_server(spec=spec)), changes)


async def test_what_if(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.serve(model_server(spec=APPLY, capacity=CAPACITY))
    api.lead(recorded())
    argv = ("simulate", "chat", "--set", "scaling.minReplicas=4", "--cold-start", "30s")
    assert await api.run(*argv, "-o", "json") == 0
    now, changed = json.loads(capsys.readouterr().out)
    assert (now["policy"], changed["policy"]) == ("now", "changed")
    assert now["gpu_hours"] < changed["gpu_hours"]
    assert await api.run(*argv) == 0
    output = capsys.readouterr()
    assert "the last 20m, 6 to 6 requests/s, with cold starts of 30.00 s" in output.err
    assert [line.split()[0] for line in output.out.splitlines()] == ["SPEC", "now", "changed"]


async def test_without_capacity(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.serve(model_server(spec=APPLY))
    line = await refused(api, capsys, "simulate", "chat", "--set", "scaling.minReplicas=4")
    assert "has not been learnt yet" in line
