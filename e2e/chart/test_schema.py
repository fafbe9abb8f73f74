"""What the chart refuses, in words that a user understands, and that schema, README and values.yaml tell the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from agentfleet.settings import Settings
from e2e.chart.profile_schema import profile_schema
from e2e.chart.rendering import CHART, Values, defaults, leaves, nested, render
from e2e.cluster.shell import CommandError

REFUSED: list[tuple[str, Any, str]] = [
    ("replica", 2, "additional properties 'replica' not allowed"),
    ("image.name", "x", "at '/image': additional properties 'name' not allowed"),
    ("engines.sglangImage", "x", "at '/engines': additional properties 'sglangImage' not allowed"),
    ("replicas", 3, "at '/replicas': maximum: got 3, want 2"),
    ("replicas", "1", "at '/replicas': got string, want integer"),
    ("crds.enabled", "false", "at '/crds/enabled': got string, want boolean"),
    ("image.pullPolicy", "IfAbsent", "at '/image/pullPolicy': value must be one of 'Always', 'IfNotPresent', 'Never'"),
    ("image.digest", "sha256:12", "at '/image/digest': 'sha256:12' does not match pattern"),
    ("image.tag", "a:b", "at '/image/tag': 'a:b' does not match pattern"),
    ("engines.vllmImage", "", "at '/engines/vllmImage': '' does not match pattern"),
    ("engines.ollamaImage", "a b", "at '/engines/ollamaImage': 'a b' does not match pattern"),
    ("gateway.haproxyImage", "a b", "at '/gateway/haproxyImage': 'a b' does not match pattern"),
    ("agents.runtimeImage", "a b", "at '/agents/runtimeImage': 'a b' does not match pattern"),
    ("agents.maxPerNode", -1, "at '/agents/maxPerNode': minimum: got -1, want 0"),
    ("agents.apiServerCIDRs", ["10.0.0.1"], "at '/agents/apiServerCIDRs/0': '10.0.0.1' does not match pattern"),
    ("watch.namespaces", "a", "at '/watch/namespaces': got string, want array"),
    ("watch.namespaces", ["a,b"], "at '/watch/namespaces/0': 'a,b' does not match pattern"),
    ("watch.namespaces", ["a", "a"], "at '/watch/namespaces': items at 0 and 1 are equal"),
    ("policy.hostPathRoot", "models", "at '/policy/hostPathRoot': 'models' does not match pattern"),
    ("policy.hostPathRoot", "/", "at '/policy/hostPathRoot': '/' does not match pattern"),
    ("policy.hostPathRoot", "/models/../etc", "at '/policy/hostPathRoot': '/models/../etc' does not match pattern"),
    ("policy.allowedServiceAccounts", ["*"], "at '/policy/allowedServiceAccounts/0': '*' does not match pattern"),
    ("operator.logLevel", "debug", "at '/operator/logLevel': value must be one of 'DEBUG', 'INFO', 'WARNING', 'ERROR'"),
    ("operator.workers", 65, "at '/operator/workers': maximum: got 65, want 64"),
    ("operator.stuckAfter", 120, "at '/operator/stuckAfter': got number, want string"),
    ("cluster.dnsDelay", "5 minutes", "at '/cluster/dnsDelay': '5 minutes' does not match pattern"),
    ("leaderElection.leaseDuration", "1d", "at '/leaderElection/leaseDuration': '1d' does not match pattern"),
    ("resources.limits.memory", "256MB", "at '/resources/limits/memory': '256MB' does not match pattern"),
    ("runAsUser", 0, "at '/runAsUser': minimum: got 0, want 1"),
    ("tolerations", [{"keys": "a"}], "at '/tolerations/0': additional properties 'keys' not allowed"),
    ("nodeSelector", {"a": True}, "at '/nodeSelector/a': got boolean, want string"),
    ("affinity", {"nodes": {}}, "at '/affinity': additional properties 'nodes' not allowed"),
    ("policy.deniedCIDRs", ["10.0.0.0"], "at '/policy/deniedCIDRs/0': '10.0.0.0' does not match pattern"),
    ("profiles", {"l4": {"gpus": 1}}, "at '/profiles/l4': additional properties 'gpus' not allowed"),
    ("profiles", {"l4": {"gpu": {"count": "1"}}}, "at '/profiles/l4/gpu/count': got string, want integer"),
    (
        "profiles",
        {"l4": {"engine": "vllm"}},
        "at '/profiles/l4/engine': value must be one of 'VLLM', 'Ollama', 'LlamaCpp'",
    ),
    ("profiles", {"L4": {}}, "at '/profiles': additional properties 'L4' not allowed"),
    ("gpuExporter.dcgmUrl", "dcgm:9400", "at '/gpuExporter/dcgmUrl': 'dcgm:9400' does not match pattern"),
    ("gpuExporter.kubeletDir", "/a/../b", "at '/gpuExporter/kubeletDir': '/a/../b' does not match pattern"),
    ("gpuExporter.mig", True, "at '/gpuExporter': additional properties 'mig' not allowed"),
    (
        "monitoring.prometheusRule.enabled",
        "Never",
        "at '/monitoring/prometheusRule/enabled': value must be one of true, false, 'Auto'",
    ),
    ("networkPolicy.apiServerPorts", [], "at '/networkPolicy/apiServerPorts': minItems: got 0, want 1"),
]


@pytest.mark.parametrize(("path", "value", "message"), REFUSED, ids=[f"{case[0]}={case[1]}" for case in REFUSED])
def test_refused(path: str, value: Any, message: str) -> None:
    with pytest.raises(CommandError) as refused:
        render(nested(path, value))
    assert f"agentfleet:\n- {message}" in refused.value.stderr.replace("- at '': ", "- ")


def test_a_parent_chart_may_hand_down_its_globals() -> None:
    render({"global": {"anything": True}})


def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
    return schema


def test_schema_is_closed_everywhere() -> None:
    """Only what is passed through to Kubernetes, or comes from a parent chart, is open."""
    schema = _schema()
    assert set(_open_objects(schema, "")) == {"/properties/global", "/definitions/kubernetes"}


def test_schema_of_profiles_is_that_of_the_operator() -> None:
    assert _schema()["definitions"]["profile"] == profile_schema(), "run `python -m e2e.chart.profile_schema`"


def test_example_profiles_work() -> None:
    """Those that values.yaml shows in a comment: helm takes them, and so does the operator."""
    text = (CHART / "values.yaml").read_text()
    comment = text.split("For example:\n")[1].split("profiles: {}")[0]
    profiles = yaml.safe_load("\n".join(line.removeprefix("#") for line in comment.splitlines()))
    read = Settings.from_environment(render({"profiles": profiles}).environment).profiles
    assert set(read) == {"a100-80g", "l4", "mig-1g-10gb", "cpu"}


def _open_objects(node: Any, path: str) -> Iterator[str]:
    if isinstance(node, dict):
        if node.get("type") == "object" and node.get("additionalProperties", True) is True:
            yield path
        for name, child in node.items():
            yield from _open_objects(child, f"{path}/{name}")


def test_schema_knows_exactly_the_values() -> None:
    schema = _schema()
    assert _properties(schema, defaults()) == {path for path, _ in leaves(defaults())}


def _properties(node: dict[str, Any], values: Values, prefix: str = "") -> set[str]:
    """Paths of the schema's leaves; what values.yaml shows as a map with content is followed, all else is a leaf."""
    found = set()
    for name, child in node.get("properties", {}).items():
        value = values.get(name)
        if isinstance(value, dict) and value and "properties" in child:
            found |= _properties(child, value, f"{prefix}{name}.")
        elif isinstance(value, dict) and value:
            found |= {f"{prefix}{name}.{key}" for key in value}
        elif f"{prefix}{name}" != "global":
            found.add(f"{prefix}{name}")
    return found


def test_every_value_has_a_comment() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    bare = [
        line.strip()
        for before, line in zip(["", *lines], lines, strict=False)
        if re.match(r" *\w+: *\S", line) and not before.strip().startswith("#")
    ]
    assert bare == []


def test_readme_lists_every_value_with_its_default() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| `([^`]+)` \| (.+) \|$", (CHART / "README.md").read_text(), re.MULTILINE)
    assert [(path, json.loads(default)) for path, default, _ in rows] == list(leaves(defaults()))
