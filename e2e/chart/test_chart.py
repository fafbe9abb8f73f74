"""What the chart renders as a whole; test_each_value.py looks at values one by one."""

from __future__ import annotations

import tarfile
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import yaml
from kubernetes import client

from agentfleet import __version__
from agentfleet.manifests.pod import SIDECAR_PORT
from agentfleet.objects import FIELD_MANAGER, MANAGED_BY
from agentfleet.resources.modelserver import ModelServerSpec
from agentfleet.settings import Settings
from e2e.chart.pod_security import violations
from e2e.chart.rendering import CHART, NAMESPACE, Rendered, Values, helm, render
from e2e.cluster.shell import run

EVERYTHING: Values = {
    "replicas": 2,
    "monitoring": {
        "serviceMonitor": {"enabled": True, "labels": {"team": "edge"}},
        "prometheusRule": {"enabled": True},
        "dashboard": {"enabled": True},
    },
    "gpuExporter": {"enabled": True, "dcgmUrl": "http://$(NODE_IP):9400/metrics", "priorityClassName": "high"},
    "networkPolicy": {"enabled": True, "apiServerCIDRs": ["192.0.2.1/32"], "metricsFrom": [{"namespaceSelector": {}}]},
    "tolerations": [{"key": "edge", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "podAnnotations": {"a": "b"},
    "serviceAccount": {"annotations": {"c": "d"}},
    "imagePullSecrets": [{"name": "registry"}],
    "priorityClassName": "system-cluster-critical",
    "nodeSelector": {"disk": "ssd"},
}
"""Values under which every template renders something."""

NAMESPACED: Values = {"watch": {"namespaces": ["edge", "b"]}}


def test_lint_finds_nothing() -> None:
    run([helm(), "lint", "--strict", CHART])


def test_rendering_is_repeatable() -> None:
    assert render(EVERYTHING) == render(EVERYTHING)


def test_versions_agree() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)
    assert render().container["image"] == f"agentfleet/operator:{__version__}"


@pytest.mark.parametrize("values", [{}, EVERYTHING, NAMESPACED], ids=["default", "all", "namespaced"])
def test_kubernetes_knows_every_field(values: Values) -> None:
    """The client's typed models drop what they do not know, so a misspelt field is missing after the round trip."""
    api = client.ApiClient()
    for document in render(values).documents:
        model = getattr(client, f"V1{document['kind']}", None)
        if model is None or document["kind"] == "CustomResourceDefinition":
            continue
        assert _without_empty(api.sanitize_for_serialization(model.from_dict(document))) == _without_empty(document)


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_empty(item) for name, item in value.items() if item not in (None, {}, [])}
    return [_without_empty(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("values", [{}, EVERYTHING, {"runAsUser": None}], ids=["default", "all", "any-user"])
def test_pod_meets_the_restricted_standard(values: Values) -> None:
    assert list(violations(render(values).pod["spec"])) == []


def test_pod_writes_nowhere_and_needs_no_volume() -> None:
    rendered = render()
    assert rendered.container["securityContext"]["readOnlyRootFilesystem"] is True
    assert "volumes" not in rendered.pod["spec"]
    assert rendered.container["resources"]["limits"] == {"memory": "512Mi"}


def test_only_the_operators_pod_gets_a_token() -> None:
    rendered = render()
    assert rendered.one("ServiceAccount")["automountServiceAccountToken"] is False
    assert rendered.pod["spec"]["automountServiceAccountToken"] is True


def test_services_add_no_variables_with_our_prefix() -> None:
    assert render().pod["spec"]["enableServiceLinks"] is False


def test_environment_is_what_the_operator_reads() -> None:
    """Every variable is a setting, and the chart's defaults are the operator's."""
    environment = render().environment
    unknown = {name.removeprefix("AGENTFLEET_").lower() for name in environment} - Settings.model_fields.keys()
    assert not unknown, f"the chart sets variables that are no settings: {sorted(unknown)}"
    settings = Settings.from_environment(environment)
    image = f"agentfleet/operator:{__version__}"
    own = {"pod_name": "agentfleet-0", "lease_name": "agentfleet", "sidecar_image": image}
    own["runtime_image"] = f"agentfleet/runtime:{__version__}"
    assert settings.model_dump() == Settings().model_dump() | own


def test_every_setting_has_a_value() -> None:
    """All but the port, which probes and Service share, and the switch of the Lease gate, which has to stay on."""
    settings = {f"AGENTFLEET_{name.upper()}" for name in Settings.model_fields}
    assert settings - render().environment.keys() == {"AGENTFLEET_HTTP_PORT", "AGENTFLEET_LEADER_ELECTION"}


def test_ports_are_those_of_the_processes() -> None:
    rendered = render(EVERYTHING)
    default = Settings().http_port
    assert [port["containerPort"] for port in rendered.container["ports"]] == [default]
    assert [port["port"] for port in rendered.one("Service", "agentfleet-metrics")["spec"]["ports"]] == [default]
    sidecars = rendered.one("NetworkPolicy", "agentfleet")["spec"]["egress"][2]
    assert sidecars["ports"] == [{"port": SIDECAR_PORT, "protocol": "TCP"}]
    assert sidecars["to"][0]["podSelector"]["matchLabels"] == {MANAGED_BY: FIELD_MANAGER}


def test_selectors_find_the_pod() -> None:
    rendered = render(EVERYTHING)
    labels = rendered.pod["metadata"]["labels"].items()
    selectors = [
        rendered.one("Deployment")["spec"]["selector"]["matchLabels"],
        rendered.one("Service", "agentfleet-metrics")["spec"]["selector"],
        rendered.one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        rendered.one("NetworkPolicy", "agentfleet")["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector.items() <= labels for selector in selectors)
    service = rendered.one("Service", "agentfleet-metrics")["metadata"]["labels"].items()
    assert rendered.one("ServiceMonitor", "agentfleet")["spec"]["selector"]["matchLabels"].items() <= service


def test_crds_are_the_generated_ones_and_kept() -> None:
    crds = {crd["metadata"]["name"]: crd for crd in render().all("CustomResourceDefinition")}
    generated = [yaml.safe_load(path.read_text()) for path in (CHART.parents[1] / "crds").glob("*.yaml")]
    assert crds.keys() == {crd["metadata"]["name"] for crd in generated}
    for crd in generated:
        annotations = {"helm.sh/resource-policy": "keep", "agentfleet.dev/chart": __version__}
        assert crds[crd["metadata"]["name"]] == crd | {"metadata": crd["metadata"] | {"annotations": annotations}}


def test_two_releases_do_not_meet() -> None:
    """Of two with one name, in two namespaces, the second must leave out the CRDs and user roles, and nothing else."""
    second = {"crds": {"enabled": False}, "rbac": {"aggregateRoles": False}}

    def cluster_wide(rendered: Rendered) -> set[tuple[str, str]]:
        wide = [document for document in rendered.documents if "namespace" not in document["metadata"]]
        return {(document["kind"], document["metadata"]["name"]) for document in wide}

    assert not cluster_wide(render()) & cluster_wide(render(second, namespace="other"))


def test_namespaced_objects_name_their_namespace() -> None:
    """So that `helm template | kubectl apply` and GitOps tools put them where helm would."""
    documents = render(EVERYTHING).documents
    elsewhere = {doc["kind"] for doc in documents if doc["metadata"].get("namespace") != NAMESPACE}
    assert elsewhere == {"CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"}


def test_notes_show_a_model_server_that_works(tmp_path: Path) -> None:
    notes = _notes(tmp_path, NAMESPACED)
    assert "kubectl -n agentfleet-system rollout status deployment/agentfleet" in notes
    example = yaml.safe_load(notes.split("<<EOF\n")[1].split("\nEOF\n")[0])
    ModelServerSpec.model_validate(example["spec"])
    assert example["metadata"]["namespace"] == "edge"


def _notes(tmp_path: Path, values: Values) -> str:
    """helm shows notes only with a cluster at hand, so a copy of the chart renders them into an object."""
    copy = copytree(CHART, tmp_path / "agentfleet")
    probe = (
        'kind: Notes\nmetadata: {name: x}\ntext: {{ include (print $.Template.BasePath "/NOTES.txt") . | toJson }}\n'
    )
    (copy / "templates" / "notes-probe.yaml").write_text(probe)
    text: str = render(values, chart=copy).one("Notes")["text"]
    return text


def test_package_has_what_users_need(tmp_path: Path) -> None:
    run([helm(), "package", CHART, "--destination", tmp_path])
    with tarfile.open(next(tmp_path.glob("*.tgz"))) as package:
        names = {name.removeprefix("agentfleet/") for name in package.getnames()}
    assert {"README.md", "values.schema.json", "argocd/health.lua", "templates/crds/modelservers.yaml"} <= names
    assert not [name for name in names if "test" in name]
