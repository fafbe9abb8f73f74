"""The pod that an engine runs in: safe by default, merged with what users ask for, refused where that is too much."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentfleet.engines import ENGINES
from agentfleet.errors import InvalidSpec
from agentfleet.manifests.kinds import Extent, workload_manifest
from agentfleet.manifests.merge import contains, overlay, shape_problems
from agentfleet.manifests.pod import LEAVE_SECONDS
from agentfleet.manifests.service import files_config_map, services
from agentfleet.manifests.workload import workload
from agentfleet.settings import Settings
from agentfleet.sidecar.server import STOP_HEADER
from tests.builders import server
from tests.manifests.pods import SETTINGS, container, pod, template


@pytest.mark.parametrize("engine", ENGINES)
def test_every_container_is_confined(engine: str) -> None:
    body = pod(engine)
    assert body["securityContext"]["runAsNonRoot"] is True
    assert body["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert body["automountServiceAccountToken"] is False
    assert body["enableServiceLinks"] is False
    for item in (*body["initContainers"], *body["containers"]):
        assert item["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }


@pytest.mark.parametrize("engine", ENGINES)
def test_the_engine_is_stopped_only_after_the_sidecar_has_seen_it_idle(engine: str) -> None:
    body = pod(engine, drain={"timeout": "90s"})
    engine_container = container(body, "engine")
    stop = {"path": "/drain", "port": 9901, "httpHeaders": [{"name": STOP_HEADER, "value": server().uid}]}
    assert engine_container["lifecycle"]["preStop"]["httpGet"] == stop
    assert f"--stop-token={server().uid}" in container(body, "sidecar")["args"]
    assert container(body, "sidecar")["restartPolicy"] == "Always"
    assert "--drain-timeout=90" in container(body, "sidecar")["args"]
    assert f"--leave-delay={LEAVE_SECONDS}" in container(body, "sidecar")["args"]
    assert body["terminationGracePeriodSeconds"] >= SETTINGS.dns_delay + LEAVE_SECONDS + 90


def test_everybody_has_learnt_that_a_pod_goes_before_its_engine_is_stopped() -> None:
    probe = container(pod("LlamaCpp"), "sidecar")["readinessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] < LEAVE_SECONDS


def test_the_sidecar_starts_before_the_loader_so_that_progress_can_be_seen() -> None:
    assert [item["name"] for item in pod("VLLM")["initContainers"]] == ["sidecar", "loader"]
    assert [item["name"] for item in pod("LlamaCpp")["initContainers"]] == ["sidecar"]


def test_gpus_are_requested_tolerated_and_limited() -> None:
    body = pod(
        "VLLM",
        parallelism={"tensor": 2},
        gpu={"resource": "amd.com/gpu", "runtimeClassName": "amd"},
        resources={"requests": {"cpu": "2000m"}, "limits": {"memory": "16384Mi"}},
    )
    assert container(body, "engine")["resources"] == {
        "requests": {"cpu": "2", "amd.com/gpu": "2"},
        "limits": {"memory": "16Gi", "amd.com/gpu": "2"},
    }
    assert body["tolerations"] == [{"key": "amd.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert body["runtimeClassName"] == "amd"


def test_placement() -> None:
    body = pod(
        placement={
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "edge", "operator": "Exists"}],
            "priorityClassName": "high",
            "schedulerName": "other",
            "sites": ["store-2", "store-1"],
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "a", "operator": "Exists"}]},
                {"matchExpressions": [{"key": "b", "operator": "Exists"}]},
            ]}}, "podAntiAffinity": {"x": 1}},
        }
    )  # fmt: skip
    sites = {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["store-1", "store-2"]}
    required = body["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert [term["matchExpressions"][-1] for term in required["nodeSelectorTerms"]] == [sites, sites]
    assert body["affinity"]["podAntiAffinity"]["x"] == 1
    assert (body["nodeSelector"], body["priorityClassName"], body["schedulerName"]) == (
        {"disk": "ssd"},
        "high",
        "other",
    )
    assert body["tolerations"] == [{"key": "edge", "operator": "Exists"}]


def test_files_are_a_config_map_named_by_content() -> None:
    files = [{"path": "/etc/chat.jinja", "content": "{{ x }}"}]
    first, second = (files_config_map(server(files=wish)) for wish in (files, [files[0] | {"content": "y"}]))
    assert first is not None
    assert second is not None
    assert first["metadata"]["name"] != second["metadata"]["name"]
    body = pod(files=files)
    mount = {"mountPath": "/etc/chat.jinja", "name": "files", "readOnly": True, "subPath": "file-0"}
    assert mount in container(body, "engine")["volumeMounts"]
    assert {"name": "files", "configMap": {"name": first["metadata"]["name"]}} in body["volumes"]


def test_services_select_serving_pods_and_workloads_do_not() -> None:
    client, headless = services(server(), 8080)
    made = workload_manifest(server(), workload(server(), SETTINGS), "sidecar:1", Extent(replicas=1))
    assert client["spec"]["selector"] == {"agentfleet.dev/modelserver": "phi", "agentfleet.dev/serving": "true"}
    assert headless["spec"]["clusterIP"] == "None"
    assert "agentfleet.dev/serving" not in made["spec"]["selector"]["matchLabels"]
    assert made["spec"]["template"]["metadata"]["labels"]["agentfleet.dev/serving"] == "true"


def test_revision_changes_with_the_pod_and_with_nothing_else() -> None:
    same = [server(), server(replicas=7), server(drain=None)]
    assert len({workload(subject, SETTINGS).revision for subject in same}) == 1
    newer = Settings(host_path_root="/srv/models", sidecar_image="agentfleet/operator:2", dns_delay=35)
    assert workload(server(), newer).revision == workload(server(), SETTINGS).revision
    assert workload(server(llamaCpp={"threads": 2}), SETTINGS).revision != workload(server(), SETTINGS).revision


def test_pod_template_has_the_last_word_but_for_what_the_operator_needs() -> None:
    over = {
        "metadata": {"labels": {"team": "a", "agentfleet.dev/modelserver": "stolen"}, "annotations": {"a": "b"}},
        "spec": {
            "hostname": "x",
            "containers": [
                {"name": "engine", "env": [{"name": "A", "value": "1"}], "ports": [], "lifecycle": None,
                 "readinessProbe": {"httpGet": {"port": 1}, "periodSeconds": 1}},
                {"name": "extra", "image": "busybox"},
            ],
            "initContainers": [{"name": "sidecar", "image": "evil"}],
            "tolerations": [{"operator": "Exists"}],
        },
    }  # fmt: skip
    made = template(podTemplate=over)
    engine = container(made["spec"], "engine")
    assert made["metadata"]["labels"]["team"] == "a"
    assert made["metadata"]["labels"]["agentfleet.dev/modelserver"] == "phi"
    assert made["metadata"]["annotations"] == {"a": "b"}
    assert {"name": "A", "value": "1"} in engine["env"]
    assert engine["ports"][0]["containerPort"] == 8080
    assert engine["lifecycle"]["preStop"]["httpGet"]["path"] == "/drain"
    assert engine["readinessProbe"]["httpGet"]["port"] == "http"
    assert engine["readinessProbe"]["periodSeconds"] == 1
    assert [item["name"] for item in made["spec"]["containers"]] == ["engine", "extra"]
    assert container(made["spec"], "sidecar")["image"] != "evil"
    assert made["spec"]["tolerations"] == [{"operator": "Exists"}]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"podTemplate": {"spec": {"hostNetwork": True}}}, "hostNetwork: host namespaces are never allowed"),
        ({"podTemplate": {"spec": {"hostPID": True}}}, "hostPID"),
        ({"podTemplate": {"spec": {"serviceAccountName": "admin"}}}, "admin is not in the setting"),
        ({"serviceAccountName": "admin"}, r"allowedServiceAccounts \(trusted\)"),
        (
            {"podTemplate": {"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/etc"}}]}}},
            "host path /etc does not lie under /srv/models",
        ),
        (
            {"podTemplate": {"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/srv/models/../x"}}]}}},
            "does not lie under",
        ),
        ({"model": {"uri": "file:///etc/a.gguf"}}, "host path /etc does not lie under /srv/models"),
        (
            {"podTemplate": {"spec": {"containers": [{"name": "engine", "securityContext": {"privileged": True}}]}}},
            "privileged is never allowed",
        ),
        (
            {"podTemplate": {"spec": {"containers": [
                {"name": "x", "securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}]}}},
            "capabilities.add is never allowed",
        ),
        (
            {"podTemplate": {"spec": {"containers": [{"name": "x", "ports": [{"hostPort": 80}]}]}}},
            "hostPort is never allowed",
        ),
        ({"podTemplate": {"spec": {"securityContext": {"runAsUser": 0}}}}, "must not run as root"),
        ({"podTemplate": {"spec": {"securityContext": {"sysctls": [{"name": "a"}]}}}}, "sysctls"),
        (
            {"podTemplate": {"spec": {"securityContext": {"seccompProfile": {"type": "Unconfined"}}}}},
            "Unconfined is never allowed",
        ),
    ],
)  # fmt: skip
def test_more_power_than_the_settings_give_is_refused(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSpec, match=said) as caught:
        template(**spec)
    assert caught.value.reason == "NotAllowed"


def test_host_folders_are_read_only_whatever_the_pod_template_says() -> None:
    mounts = [{"mountPath": "/models", "name": "models", "readOnly": False}, {"mountPath": "/again", "name": "models"}]
    over = {"spec": {"containers": [{"name": "engine", "volumeMounts": mounts}]}}
    body = pod(model={"uri": "file:///srv/models/a.gguf"}, podTemplate=over)
    found = [mount for mount in container(body, "engine")["volumeMounts"] if mount["name"] == "models"]
    assert [mount["readOnly"] for mount in found] == [True, True]


def test_spellings_are_those_that_are_stored() -> None:
    over = {"spec": {"containers": [{"name": "extra", "resources": {"limits": {"memory": "1024Mi", "cpu": 1}}}]}}
    body = pod(env=[{"name": "EMPTY", "value": ""}], podTemplate=over)
    assert {"name": "EMPTY"} in container(body, "engine")["env"]
    assert container(body, "extra")["resources"] == {"limits": {"memory": "1Gi", "cpu": "1"}}


def test_a_deployment_leaves_the_template_that_it_is_made_from_alone() -> None:
    work = workload(server(), SETTINGS)
    before = json.dumps(work.template, sort_keys=True)
    workload_manifest(server(), work, "sidecar:1", Extent(replicas=1))
    assert json.dumps(work.template, sort_keys=True) == before


def test_what_the_settings_allow_is_allowed() -> None:
    assert pod(serviceAccountName="trusted")["serviceAccountName"] == "trusted"


def test_host_paths_are_denied_by_default() -> None:
    with pytest.raises(InvalidSpec, match="the setting hostPathRoot is empty"):
        workload(server(model={"uri": "file:///srv/models/a.gguf"}), Settings())


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"spec": []}, "podTemplate.spec must be a map"),
        ({"spec": {"containers": None}}, "podTemplate.spec.containers cannot be removed"),
        (
            {"spec": {"containers": [{"image": "x"}]}},
            "podTemplate.spec.containers must be a list of maps, each with a name",
        ),
        (
            {"spec": {"containers": [{"name": "engine", "env": {"A": 1}}]}},
            r"containers\[0\].env must be a list of maps",
        ),
        ({"metadata": {"labels": ["a"]}}, "podTemplate.metadata.labels must be a map"),
        ({"spec": {"initContainers": None}}, "initContainers cannot be removed"),
        ({"spec": {"containers": [{"name": "x", "ports": ["80"]}]}}, r"ports must be a list of maps"),
        (
            {"spec": {"containers": [{"name": "x", "resources": {"limits": {"cpu": "lots"}}}]}},
            "is not a quantity",
        ),
    ],
)
def test_a_pod_template_that_is_none_is_refused_by_path(over: dict[str, Any], said: str) -> None:
    if over.get("spec") == []:
        assert list(shape_problems(over)) == [f"{said}, not []"]
        return
    with pytest.raises(InvalidSpec, match=said):
        template(podTemplate=over)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(json_values, json_values)
def test_what_is_laid_over_is_contained_in_the_outcome(base: Any, over: Any) -> None:
    def without_nulls(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: without_nulls(item) for name, item in value.items() if item is not None}
        return [without_nulls(item) for item in value] if isinstance(value, list) else value

    if over is not None:
        assert contains(overlay(base, over), without_nulls(over))


@pytest.mark.parametrize(
    ("live", "wanted", "same"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ({"args": ["x", "y"]}, {"args": ["x"]}, False),
        ({"env": [{"name": "B"}, {"name": "A", "value": "1"}]}, {"env": [{"name": "A", "value": "1"}]}, True),
        ({"env": [{"name": "A", "value": "2"}]}, {"env": [{"name": "A", "value": "1"}]}, False),
        ({}, {"env": []}, False),
        ({"env": None}, {"env": [{"name": "A"}]}, False),
        ({"labels": {"a": "1", "b": "2"}}, {"labels": {"a": "1"}}, True),
        ({"selector": {"a": "1", "b": "2"}}, {"selector": {"a": "1"}}, False),
    ],
)
def test_contains(live: Any, wanted: Any, same: bool) -> None:
    assert contains(live, wanted) is same


@pytest.mark.parametrize(
    "affinity",
    [
        {"nodeAffinity": "x"},
        {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []}},
        {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": "x"}}},
        {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": None}]}
            }
        },
    ],
)
def test_an_affinity_that_is_none_is_refused_by_path(affinity: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpec, match=r"placement\.affinity\.nodeAffinity"):
        template(placement={"sites": ["store-1"], "affinity": affinity})


def test_an_init_container_of_users_may_be_called_loader_where_there_is_none() -> None:
    body = pod(podTemplate={"spec": {"initContainers": [{"name": "loader", "image": "mine:1"}]}})
    assert container(body, "loader")["image"] == "mine:1"
