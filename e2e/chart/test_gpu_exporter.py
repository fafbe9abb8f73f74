"""The GPU exporter's DaemonSet, its Service and policy, and how the operator finds it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from agentfleet.gpu.main import PORT, parse
from agentfleet.settings import Settings
from e2e.chart.pod_security import violations
from e2e.chart.rendering import NAMESPACE, Rendered, Values, nested, render
from e2e.policies.evaluator import Connection, Peer, allowed

NAME = "agentfleet-gpu-exporter"
DCGM = "http://$(NODE_IP):9400/metrics"


def _rendered(values: Values | None = None) -> Rendered:
    return render({**(values or {}), "gpuExporter": {"enabled": True, **((values or {}).get("gpuExporter", {}))}})


def _pod(rendered: Rendered) -> dict[str, Any]:
    spec: dict[str, Any] = rendered.one("DaemonSet")["spec"]["template"]["spec"]
    return spec


def _options(values: Values) -> Any:
    """The arguments as the exporter reads them."""
    command, *arguments = _pod(_rendered({"gpuExporter": values}))["containers"][0]["args"]
    assert command == "gpu-exporter"
    return parse(arguments)


def test_nothing_of_it_by_default() -> None:
    rendered = render()
    assert rendered.all("DaemonSet") == []
    assert Settings.from_environment(rendered.environment).gpu_exporter == ""


def test_it_is_root_and_mounts_the_kubelets_folder_and_breaks_no_other_rule() -> None:
    assert set(violations(_pod(_rendered()))) == {
        "volume pod-resources is of type hostPath",
        "container gpu-exporter: runAsNonRoot is not true",
        "container gpu-exporter: runs as root",
    }


def test_it_writes_nowhere_and_has_no_token() -> None:
    pod = _pod(_rendered())
    container = pod["containers"][0]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False)
    assert container["volumeMounts"] == [{"name": "pod-resources", "mountPath": "/pod-resources", "readOnly": True}]


def test_it_sees_all_gpus_and_of_the_driver_nvml_alone() -> None:
    env = {entry["name"]: entry.get("value") for entry in _pod(_rendered())["containers"][0]["env"]}
    assert (env["NVIDIA_VISIBLE_DEVICES"], env["NVIDIA_DRIVER_CAPABILITIES"]) == ("all", "utility")
    assert "resources" in _pod(_rendered())["containers"][0]
    assert "nvidia.com/gpu" not in str(_pod(_rendered())["containers"][0]["resources"])


def test_it_leaves_a_node_whose_driver_is_exchanged() -> None:
    affinity = _pod(_rendered())["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert affinity["nodeSelectorTerms"] == [
        {"matchExpressions": [{"key": "nvidia.com/gpu.deploy.client", "operator": "DoesNotExist"}]},
        {"matchExpressions": [{"key": "nvidia.com/gpu.deploy.client", "operator": "In", "values": ["true"]}]},
    ]


def test_the_operator_knows_where_the_exporters_are() -> None:
    rendered = _rendered({"cluster": {"domain": "edge.example"}})
    host, _, port = Settings.from_environment(rendered.environment).gpu_exporter.partition(":")
    service = rendered.one("Service", NAME)
    assert host == f"{service['metadata']['name']}.{NAMESPACE}.svc.edge.example"
    assert service["spec"]["clusterIP"] == "None"
    container = _pod(rendered)["containers"][0]
    assert [int(port)] == [PORT] == [entry["port"] for entry in service["spec"]["ports"]]
    assert [entry["containerPort"] for entry in container["ports"]] == [PORT]
    labels = rendered.one("DaemonSet")["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert not rendered.one("Service", "agentfleet-metrics")["spec"]["selector"].items() <= labels.items()


def test_names_of_long_releases_fit() -> None:
    rendered = _rendered({"fullnameOverride": "a" * 60})
    assert len(rendered.one("DaemonSet")["metadata"]["name"]) <= 63


def test_arguments_are_what_the_exporter_reads() -> None:
    options = _options({"interval": "15s", "dcgmUrl": DCGM.replace("$(NODE_IP)", "10.0.0.7")})
    assert (options.interval, options.dcgm_url) == (15.0, "http://10.0.0.7:9400/metrics")
    assert _options({}).dcgm_url == ""


@pytest.mark.parametrize(
    ("url", "port"),
    [
        (DCGM, 9400),
        ("http://nvidia-dcgm-exporter.gpu-operator:9401/metrics", 9401),
        ("http://dcgm/metrics", 80),
        ("https://dcgm", 443),
        ("http://[fd00::7]:9400/metrics", 9400),
    ],
)
def test_the_way_to_dcgm_exporter_is_open_and_no_other(url: str, port: int) -> None:
    policy = _rendered({"gpuExporter": {"dcgmUrl": url}}).one("NetworkPolicy")
    assert [rule["ports"] for rule in policy["spec"]["egress"]][1:] == [[{"port": port, "protocol": "TCP"}]]
    assert _rendered().one("NetworkPolicy")["spec"]["egress"] == []


def test_prometheus_keeps_the_pods_that_hold_the_gpus() -> None:
    rendered = _rendered({"monitoring": {"serviceMonitor": {"enabled": True}}})
    monitor = rendered.one("ServiceMonitor", NAME)
    assert monitor["spec"]["endpoints"][0]["honorLabels"] is True
    labels = rendered.one("Service", NAME)["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert (
        not monitor["spec"]["selector"]["matchLabels"].items()
        <= rendered.one("Service", "agentfleet-metrics")["metadata"]["labels"].items()
    )


def test_who_may_connect() -> None:
    values: Values = {"networkPolicy": {"enabled": True}, "policy": {"monitoringNamespaces": ["metrics"]}}
    rendered = _rendered(values)
    exporter = Peer("10.244.1.2", NAMESPACE, rendered.one("DaemonSet")["spec"]["template"]["metadata"]["labels"])
    peers = {
        "operator": Peer("10.244.5.9", NAMESPACE, rendered.pod["metadata"]["labels"]),
        "metrics": Peer("10.244.6.9", "metrics", {"app": "prometheus"}),
        "neighbour": Peer("10.244.5.8", NAMESPACE, {"app": "prometheus"}),
        "stranger": Peer("10.244.3.9", "demo", {"app": "chat"}),
    }
    connections = [Connection(peer, exporter, PORT) for peer in peers.values()]
    connections += [Connection(exporter, peers["stranger"], 80)]
    verdicts = allowed(rendered.all("NetworkPolicy"), connections)
    assert list(verdicts) == [True, True, False, False, False]


def test_two_policies_or_none() -> None:
    assert len(_rendered({"networkPolicy": {"enabled": True}}).all("NetworkPolicy")) == 2
    assert _rendered({"gpuExporter": {"networkPolicy": False}}).all("NetworkPolicy") == []


def test_example_in_the_readme_works() -> None:
    text = (render.__globals__["CHART"] / "README.md").read_text().split("## GPU metrics")[1]
    example = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0].replace("# dcgmUrl", "dcgmUrl"))
    assert render(example).one("DaemonSet")
    assert nested("gpuExporter.enabled", True)["gpuExporter"].items() <= example["gpuExporter"].items()
