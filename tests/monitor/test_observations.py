"""observations.py, samples_api.py, fleet.py and metrics.py: what the loop, status, kubectl and Prometheus are told."""

from collections.abc import Iterator, Mapping
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from agentfleet.autoscale.samples import EngineSample, GpuSample, Histogram, Replica, Tick
from agentfleet.cache import Cache
from agentfleet.metrics import Metrics
from agentfleet.monitor.fleet import FleetView, fleet_of, health_of
from agentfleet.monitor.history import KEPT_OLLAMA
from agentfleet.monitor.metrics import ObservationsCollector
from agentfleet.monitor.observations import Observations
from agentfleet.monitor.samples_api import routes
from agentfleet.objects import Key
from agentfleet.resources.conditions import Condition
from agentfleet.resources.modelserver import ModelServerSpec
from agentfleet.server import Health, Readiness, application, serve

KEY = Key("ModelServer", "team", "llama")
SPEC = ModelServerSpec.model_validate({"engine": "VLLM", "model": {"uri": "hf://a/b"}})
OLLAMA = ModelServerSpec.model_validate({"engine": "Ollama", "model": {"uri": "ollama://a"}})
POD = Replica("pod-0", 0.0, ready=True)
BEFORE = Condition(
    type="ThresholdExceeded",
    status="True",
    reason="AboveThreshold",
    message="latency of pod-0 is 4 s.",
    last_transition_time="2026-01-01T00:00:00Z",
    observed_generation=1,
)


def _slow(now: float, seconds: float) -> EngineSample:
    """Two requests a second, each of `seconds`, and a queue of one."""
    count = now * 2
    bounds = (1.0, 5.0, float("inf"))
    times = Histogram(bounds, (0.0 if seconds > 1 else count, count, count), count * seconds)
    return EngineSample(now, running=2, waiting=1, completed=count, failed=0.0, request_time=times)


def _ticks(since: int, until: int, seconds: float = 1.0) -> Iterator[Tick]:
    for now in range(since, until, 5):
        gpus = {"pod-0": GpuSample(now, 1, 0.97, 70e9, 80e9)}
        yield Tick(float(now), (POD,), {"pod-0": _slow(now, seconds)}, gpus=gpus)


def _feed(observations: Observations, ticks: Iterator[Tick], spec: ModelServerSpec = SPEC) -> list[float]:
    """The times of the ticks that brought news."""
    return [tick.now for tick in ticks if observations.record(KEY, spec, tick)]


def test_an_excess_becomes_condition_and_event_and_goes_again() -> None:
    observations = Observations()
    assert observations.threshold(KEY, None) is None
    _feed(observations, _ticks(0, 130, seconds=4.0))
    told = observations.threshold(KEY, None)
    assert told is not None
    assert told[:2] == ("True", "AboveThreshold")
    assert "latency of pod-0 is 4 s, above 3 s (warning)" in told[2]
    assert {words[:2] for words in observations.news(KEY)} == {("Warning", "AboveThreshold")}
    assert observations.news(KEY) == ()
    for now in range(130, 200, 5):
        answer = {"pod-0": EngineSample(now, running=0, waiting=0, completed=260, failed=0.0)}
        observations.record(KEY, SPEC, Tick(float(now), (POD,), answer, gpus={"pod-0": GpuSample(now, 1, 0.1)}))
    assert observations.threshold(KEY, BEFORE) is None
    assert {words[:2] for words in observations.news(KEY)} == {("Normal", "BelowThreshold")}


def test_after_a_restart_the_condition_stays_until_more_is_known() -> None:
    observations = Observations()
    kept = (BEFORE.status, BEFORE.reason, BEFORE.message)
    assert observations.threshold(KEY, BEFORE) == kept
    quiet = [
        Tick(float(now), (POD,), {"pod-0": EngineSample(now, running=0, completed=5, failed=0.0)})
        for now in range(0, 125, 5)
    ]
    assert not _feed(observations, iter(quiet[:8]))
    assert observations.threshold(KEY, BEFORE) == kept
    assert len(_feed(observations, iter(quiet[8:]))) == 1  # so that status is written anew
    assert observations.threshold(KEY, BEFORE) is None


def test_report_and_gpus_go_to_status() -> None:
    observations = Observations()
    assert (observations.report(KEY, None), observations.gpu(KEY, None)) == (None, None)
    _feed(observations, _ticks(0, 3700))
    report, gpu = observations.report(KEY, None), observations.gpu(KEY, None)
    assert report is not None and gpu is not None
    assert (report.window, report.samples) == ("1h", 120)
    assert float(report.requests_per_second or 0) == pytest.approx(2, rel=0.01)
    assert [each.type for each in report.recommendations] == ["scale_out"]
    assert (gpu.count, gpu.utilization_percent) == (1, 95)


def test_news_is_rare() -> None:
    observations = Observations()
    assert len(_feed(observations, _ticks(0, 3600))) < 20


def test_what_is_gone_is_forgotten() -> None:
    observations = Observations()
    _feed(observations, _ticks(0, 400))
    observations.forget(KEY)
    assert observations.history.replicas(KEY) is None
    assert observations.reports() == {}
    observations.forget(KEY)


async def _get(port: int, path: str) -> tuple[int, Any]:
    url = f"http://127.0.0.1:{port}/scaling/namespaces/team/modelservers/{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.json()


async def test_samples_over_http() -> None:
    observations = Observations()
    leading = True
    _feed(observations, _ticks(0, 400))
    app = application(
        Health(),
        lambda: Readiness(True, "leader", ""),
        Metrics(),
        routes(observations, lambda: leading, lambda _: {"requestsPerSecond": "7"}),
    )
    async with serve(app, 0) as port:
        status, body = await _get(port, "llama/samples")
        assert status == 200
        assert (body["name"], body["namespace"], body["interval"]) == ("llama", "team", 30)
        assert body["capacity"] == {"requestsPerSecond": "7"}
        (replica,) = body["replicas"]
        assert replica["replica"] == "pod-0"
        last = replica["samples"][-1]
        assert (last["requestsPerSecond"], last["latencySeconds"], last["waiting"]) == (2, 1, 1)
        assert (last["cpuCores"], last["promptTokens"]) == (None, None)
        assert body["demand"][-1]["requestsPerSecond"] == 2
        status, body = await _get(port, "llama/samples?samples=3")
        assert len(body["replicas"][0]["samples"]) == len(body["demand"]) == 3
        assert await _get(port, "none/samples") == (
            404,
            {"error": "nothing is known of ModelServer/team/none: it does not exist, or was not looked at yet"},
        )
        for bad in ("0", "1001", "-1", "x"):
            assert (await _get(port, f"llama/samples?samples={bad}"))[0] == 400
        leading = False
        assert (await _get(port, "llama/samples"))[0] == 503


def test_ollama_keeps_a_hundred() -> None:
    observations = Observations()
    _feed(observations, _ticks(0, 30 * (KEPT_OLLAMA + 10)), OLLAMA)
    assert len(observations.history.samples(KEY, "pod-0")) == KEPT_OLLAMA


def _server(name: str, version: int, **conditions: tuple[str, str]) -> dict[str, Any]:
    status = {
        "conditions": [
            {"type": kind, "status": value, "reason": reason} for kind, (value, reason) in conditions.items()
        ]
    }
    metadata = {"name": name, "namespace": "team", "uid": name, "resourceVersion": str(version)}
    return {"apiVersion": "agentfleet.dev/v1alpha1", "kind": "ModelServer", "metadata": metadata, "status": status}


@pytest.mark.parametrize(
    ("conditions", "state", "problems"),
    [
        ({}, "progressing", []),
        ({"Ready": ("True", "Serving")}, "healthy", []),
        ({"Ready": ("Unknown", "RollingOut")}, "progressing", []),
        ({"Ready": ("False", "EngineDied")}, "failed", [("Ready", "EngineDied")]),
        (
            {"Ready": ("True", "Serving"), "CapacityBlocked": ("True", "Unschedulable"), "Stalled": ("False", "x")},
            "healthy",
            [("CapacityBlocked", "Unschedulable")],
        ),
        (
            {"Ready": ("True", "Serving"), "MetricsAvailable": ("False", "MetricsMissing")},
            "healthy",
            [("MetricsAvailable", "MetricsMissing")],
        ),
    ],
)
def test_health_of_one(conditions: Mapping[str, tuple[str, str]], state: str, problems: list[tuple[str, str]]) -> None:
    health = health_of(_server("a", 1, **conditions)["status"]["conditions"])
    assert (health.state, list(health.problems)) == (state, problems)


def test_health_of_all() -> None:
    none = fleet_of([])
    assert (none.total, none.healthy_percent, none.overall) == (0, None, "healthy")
    healthy = health_of([{"type": "Ready", "status": "True", "reason": "Serving"}])
    fleet = fleet_of([healthy, healthy, healthy, health_of([])])
    assert (fleet.total, fleet.healthy_percent, fleet.overall) == (4, 75.0, "degraded")
    assert fleet_of([healthy]).overall == "healthy"


def _page(collector: ObservationsCollector) -> list[str]:
    registry = CollectorRegistry()
    registry.register(collector)
    return [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]


def test_metrics_are_of_what_there_is() -> None:
    cache, observations = Cache(), Observations()
    collector = ObservationsCollector(observations, cache)
    assert _page(collector) == []
    cache.observe(_server("llama", 1, Ready=("True", "Serving")))
    cache.observe(_server("phi", 2, Ready=("False", "EngineDied")))
    _feed(observations, _ticks(0, 700, seconds=4.0))
    page = _page(collector)
    assert 'agentfleet_fleet_modelservers{state="healthy"} 1.0' in page
    assert 'agentfleet_fleet_modelservers{state="failed"} 1.0' in page
    assert "agentfleet_fleet_healthy_percent 50.0" in page
    problem = 'agentfleet_modelserver_problem{condition="Ready",name="phi",namespace="team",reason="EngineDied"} 1.0'
    assert problem in page
    refs = ("False", "TargetNotFound")
    cache.observe(_server("front", 9, Ready=("True", "Serving"), ResolvedRefs=refs) | {"kind": "AgentRoute"})
    problems = [line for line in _page(collector) if "agentroute_problem" in line]
    labels = 'condition="ResolvedRefs",name="front",namespace="team",reason="TargetNotFound"'
    assert problems == [f"agentfleet_agentroute_problem{{{labels}}} 1.0"]
    alerting = ("True", "AlertRaised")
    cache.observe(_server("desk", 10, Ready=("True", "Serving"), Alerting=alerting) | {"kind": "Agent"})
    problems = [line for line in _page(collector) if "agentfleet_agent_problem" in line]
    labels = 'condition="Alerting",name="desk",namespace="team",reason="AlertRaised"'
    assert problems == [f"agentfleet_agent_problem{{{labels}}} 1.0"]
    assert "agentfleet_fleet_healthy_percent 50.0" in _page(collector)
    exceeded = 'agentfleet_threshold_exceeded{name="llama",namespace="team",severity="warning",type="latency"} 1.0'
    assert exceeded in page
    assert 'agentfleet_report_latency_seconds{name="llama",namespace="team",statistic="mean"} 4.0' in page
    assert 'agentfleet_report_max_queue{name="llama",namespace="team"} 1.0' in page
    assert 'agentfleet_recommendation{instance="pod-0",name="llama",namespace="team",type="scale_up"} 1.0' in page
    cache.observe(_server("phi", 3, Ready=("True", "Serving")))
    observations.forget(KEY)
    page = _page(collector)
    assert "agentfleet_fleet_healthy_percent 100.0" in page
    assert not [line for line in page if "phi" in line or "llama" in line]


def test_objects_are_read_only_when_they_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache()
    cache.observe(_server("a", 1, Ready=("True", "Serving")))
    cache.observe(_server("b", 2, Ready=("True", "Serving")))
    view = FleetView(cache)
    view.look()
    cache.observe(_server("b", 3))
    read: list[Key] = []
    get = cache.get
    monkeypatch.setattr(cache, "get", lambda key: read.append(key) or get(key))
    assert [health.state for health in view.look().values()] == ["healthy", "progressing"]
    assert [key.name for key in read] == ["b"]
