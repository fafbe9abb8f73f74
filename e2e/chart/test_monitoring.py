"""Alerts and dashboard: Prometheus accepts them, and every metric in them is one that operator or gateways have."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from prometheus_client.registry import Collector

from agentfleet.cache import Cache
from agentfleet.decider.families import Families, Parts
from agentfleet.metrics import Metrics
from agentfleet.monitor.fleet import WRONG
from agentfleet.monitor.loop import ScalingLoop
from agentfleet.monitor.metrics import ObservationsCollector
from agentfleet.monitor.observations import Observations
from agentfleet.monitor.scaling_metrics import ScalingCollector
from e2e.chart.rendering import CHART, render
from e2e.cluster import toolchain
from e2e.cluster.shell import CommandError, run

ALERTS = CHART / "alerts" / "agentfleet.yaml"
DASHBOARD = CHART / "dashboards" / "agentfleet.json"
RULE = "monitoring.coreos.com/v1/PrometheusRule"
RULECHECK = toolchain.Build(
    name="rulecheck",
    module=str(Path(__file__).parent / "rulecheck"),
    packages=(".",),
    versioned_by="github.com/prometheus/prometheus",
)


def _check(rules: str) -> None:
    """CommandError with Prometheus' own words where it refuses them."""
    run([str(toolchain.ensure(RULECHECK) / "rulecheck")], stdin=rules)


def _rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def _panels() -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return panels


def _expressions() -> Iterator[str]:
    for rule in _rules():
        yield rule["expr"]
    for panel in _panels():
        for target in panel.get("targets", ()):
            yield target["expr"]
    for variable in json.loads(DASHBOARD.read_text())["templating"]["list"]:
        yield variable.get("definition", "")


def _families(collector: Collector) -> Iterator[str]:
    for family in collector.collect():
        yield {"counter": f"{family.name}_total", "histogram": f"{family.name}_bucket"}.get(family.type, family.name)


def _metrics() -> set[str]:
    loop = cast(ScalingLoop, SimpleNamespace(watched=()))
    collectors = [
        Metrics().registry,
        ObservationsCollector(Observations(), Cache()),
        ScalingCollector(loop),
        Families(_idle_gateway(), loads={}),
    ]
    return {name for collector in collectors for name in _families(collector)}


def _idle_gateway() -> Parts:
    """Of a route without a target, which nobody has asked."""
    some = SimpleNamespace
    tally = some(ok=0, failed=0, total=0, seconds=0.0, by_agent={}, per_minute=0)
    parts = some(
        policy=some(targets=()),
        sources=(),
        gateway="",
        meter=None,
        requests=some(requests={}, attempts={}, tokens={}),
        audit=some(lines=0, bad=0),
        missing=some(lines=0),
        ledger=some(own=tuple, refused=0),
        rotation=some(skipped=0, rotations=0, failures=0),
        classifier=some(outcomes={}),
        chat=some(tally=tally, waiting=0, workers=1),
    )
    return cast(Parts, parts)


def test_prometheus_accepts_the_alerts() -> None:
    _check(ALERTS.read_text())


def test_prometheus_would_refuse_bad_ones() -> None:
    with pytest.raises(CommandError, match="could not parse expression"):
        _check(ALERTS.read_text().replace("== 0 or", "== or"))


def test_every_metric_is_one_that_the_operator_has() -> None:
    known = _metrics()
    named = {name for expression in _expressions() for name in re.findall(r"agentfleet_\w+", expression)}
    assert len(named) > 20
    assert named <= known


def test_alerts_say_what_and_what_to_do() -> None:
    for rule in _rules():
        assert rule["annotations"].keys() == {"summary", "description"}, rule["alert"]
        # The severity of a threshold comes with its metric.
        assert rule["alert"] == "AgentfleetThresholdExceeded" or rule["labels"]["severity"] in ("warning", "critical")
    names = [rule["alert"] for rule in _rules()]
    assert len(names) == len(set(names))


def test_alerts_are_about_conditions_that_there_are() -> None:
    named = {
        condition
        for rule in _rules()
        for text in re.findall(r'condition=~?"([^"]*)"', rule["expr"])
        for condition in text.split("|")
    }
    assert named == WRONG.keys() - {"ThresholdExceeded"}  # which has its own metric, by type and severity


def test_the_rule_is_made_where_its_kind_is_served() -> None:
    for enabled, served, count in (
        ("Auto", (), 0),
        ("Auto", (RULE,), 1),
        (True, (), 1),
        (False, (RULE,), 0),
    ):
        rendered = render({"monitoring": {"prometheusRule": {"enabled": enabled}}}, served=served)
        assert len(rendered.all("PrometheusRule")) == count


def test_the_rule_holds_the_alerts_as_they_are() -> None:
    rule = render(served=(RULE,)).one("PrometheusRule")
    assert rule["spec"] == yaml.safe_load(ALERTS.read_text())
    _check(yaml.safe_dump(rule["spec"]))


def test_the_dashboard_comes_as_it_is() -> None:
    rendered = render({"monitoring": {"dashboard": {"enabled": True}}}).one("ConfigMap")
    assert rendered["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(rendered["data"]["agentfleet.json"]) == json.loads(DASHBOARD.read_text())


def test_panels_lie_side_by_side() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in _panels():
        place = panel["gridPos"]
        taken = {(place["x"] + right, place["y"] + down) for right in range(place["w"]) for down in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        cells |= taken
    identities = [panel["id"] for panel in _panels()]
    assert len(identities) == len(set(identities))


def test_labels_of_modelservers_survive_the_scrape() -> None:
    """Prometheus renames a metric's own `namespace` unless it is told to honour it."""
    monitor = render({"monitoring": {"serviceMonitor": {"enabled": True}}}).one("ServiceMonitor")
    assert [endpoint["honorLabels"] for endpoint in monitor["spec"]["endpoints"]] == [True]
