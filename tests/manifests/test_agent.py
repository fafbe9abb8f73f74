"""What an Agent's spec becomes: the pod and its containers, and the objects beside it."""

from typing import Any

import pytest

from agentfleet.errors import InvalidSpec
from agentfleet.manifests.agent import (
    agent_budget,
    agent_config_map,
    agent_deployment,
    agent_services,
    service_account,
    sessions_claim,
)
from agentfleet.manifests.agent_pod import agent_template
from agentfleet.manifests.agent_policy import agent_policy
from agentfleet.manifests.agent_uses import ModelUse, ToolUse, Uses
from agentfleet.objects import Manifest
from agentfleet.settings import Settings
from tests.agents import agent

SETTINGS = Settings()
USES = Uses(ModelUse("http://phi-model.demo.svc/v1", "phi"), judges_tokens=True)
PYTHON = {"name": "stock", "python": {"configMapName": "functions"}}
HEADERS = [{"name": "Authorization", "secretName": "crm", "key": "bearer"}]
CRM = {"name": "crm", "mcp": {"url": "http://crm.support.svc:8080/mcp", "headersFrom": HEADERS}}


def template(uses: Uses = USES, settings: Settings = SETTINGS, **spec: Any) -> dict[str, Any]:
    return agent_template(agent(**spec), uses, settings, config_map="helper-agent-abc", revision="abc")


def pod(uses: Uses = USES, settings: Settings = SETTINGS, **spec: Any) -> dict[str, Any]:
    found: dict[str, Any] = template(uses, settings, **spec)["spec"]
    return found


def container(pod: dict[str, Any], name: str = "agent") -> dict[str, Any]:
    [found] = [each for each in (*pod["containers"], *pod.get("initContainers", ())) if each["name"] == name]
    assert isinstance(found, dict)
    return found


def sources(pod: dict[str, Any]) -> dict[str, Any]:
    return {volume["name"]: volume for volume in pod["volumes"]}


def folders(container: dict[str, Any]) -> dict[str, str]:
    return {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}


def test_the_runtime_runs_with_its_configuration() -> None:
    made = container(pod())
    assert made["image"] == SETTINGS.runtime_image
    assert made["args"] == ["runtime", "--config", "/etc/agentfleet/agent.json"]
    assert sources(pod())["config"]["configMap"] == {"name": "helper-agent-abc"}
    assert made["ports"] == [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]
    assert made["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert made["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert made["resources"] == {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}}


@pytest.mark.parametrize(
    ("spec", "missing"),
    [
        ({"monitoring": {"alerts": [{"metric": "CPU", "thresholdPercent": 90}]}}, "limits.cpu[.]"),
        (
            {
                "monitoring": {"alerts": [{"metric": "Memory", "thresholdPercent": 90}]},
                "runtime": {"resources": {"requests": {"memory": "1Gi"}}},
            },
            "limits.memory[.]",
        ),
        ({"runtime": {"memorySoftLimitPercent": 70, "resources": {"limits": {"cpu": "1"}}}}, "limits.memory[.]"),
    ],
)
def test_what_is_measured_in_shares_of_a_limit_needs_one(spec: dict[str, Any], missing: str) -> None:
    with pytest.raises(InvalidSpec, match=missing):
        pod(**spec)
    runtime = {**spec.get("runtime", {}), "resources": {"limits": {"cpu": "1", "memory": "2Gi"}}}
    assert pod(**{**spec, "runtime": runtime})["containers"]


def test_an_image_of_the_users_own_knows_what_to_run() -> None:
    made = container(pod(runtime={"image": "acme/agent:2", "imagePullPolicy": "Always"}))
    assert (made["image"], made["imagePullPolicy"]) == ("acme/agent:2", "Always")
    assert "args" not in made


def test_a_pod_is_hardened_and_writes_to_its_own_volumes_alone() -> None:
    made = pod()
    assert made["securityContext"]["runAsNonRoot"]
    assert container(made)["securityContext"]["readOnlyRootFilesystem"]
    writable = {mount["name"] for mount in container(made)["volumeMounts"] if not mount.get("readOnly")}
    assert writable == {"data", "tmp"}
    assert all("sizeLimit" in sources(made)[name]["emptyDir"] for name in writable)


def test_it_leaves_when_nobody_finds_it_any_more_and_its_runs_have_ended() -> None:
    made = pod(settings=Settings(dns_delay=7.5), drain={"timeout": "90s"})
    assert container(made)["lifecycle"] == {"preStop": {"sleep": {"seconds": 8}}}
    assert made["terminationGracePeriodSeconds"] == 8 + 90 + 15
    assert "lifecycle" not in container(pod(settings=Settings(dns_delay=0)))


def test_it_runs_as_an_account_of_its_own_with_a_token_for_reviews_alone() -> None:
    made = pod()
    assert made["serviceAccountName"] == "helper-agent"
    assert made["automountServiceAccountToken"] is False
    assert folders(container(made))["api-access"] == "/var/run/secrets/kubernetes.io/serviceaccount"
    assert "api-access" not in sources(pod(Uses(USES.model)))
    account = service_account(agent())
    assert account is not None
    assert account["automountServiceAccountToken"] is False


def test_another_account_has_to_be_allowed() -> None:
    spec: dict[str, Any] = {"runtime": {"serviceAccountName": "builder"}}
    with pytest.raises(InvalidSpec, match="allowedServiceAccounts"):
        pod(**spec)
    assert pod(settings=Settings(allowed_service_accounts=("builder",)), **spec)["serviceAccountName"] == "builder"
    assert service_account(agent(**spec)) is None


def test_the_account_of_another_agent_cannot_be_taken() -> None:
    with pytest.raises(InvalidSpec, match="boss-agent"):
        pod(runtime={"podTemplate": {"spec": {"serviceAccountName": "boss-agent"}}})


def test_secrets_are_mounted_and_of_each_the_one_key_that_is_used() -> None:
    model = ModelUse("https://x/v1", "m", key_secret="cloud", ca_config_map="ca")
    made = pod(
        Uses(model),
        tools=[CRM],
        instructionsFrom={"secretKeyRef": {"name": "words", "key": "prompt"}},
        session={"store": "Redis", "redis": {"url": "redis://r/0", "secretName": "redis"}},
    )
    found = sources(made)
    assert found["model-key"]["secret"] == {"secretName": "cloud", "items": [{"key": "apiKey", "path": "apiKey"}]}
    assert found["model-ca"]["configMap"]["name"] == "ca"
    assert found["instructions"]["secret"]["items"] == [{"key": "prompt", "path": "text"}]
    assert found["headers"]["projected"]["sources"] == [
        {"secret": {"name": "crm", "items": [{"key": "bearer", "path": "crm/0"}]}}
    ]
    assert found["identity"]["secret"] == {"secretName": "agentfleet-identity"}
    assert found["redis"]["secret"] == {"secretName": "redis"}
    assert not any("subPath" in mount for mount in container(made)["volumeMounts"]), "they follow changes"


# --- Python functions ----------------------------------------------------------------------------------------------


def test_who_asks_agents_of_other_namespaces_has_a_token_for_them() -> None:
    tools = [{"name": "boss", "agent": {"name": "boss", "namespace": "elsewhere"}}]
    made = pod(Uses(USES.model, {"boss": ToolUse("http://boss")}), tools=tools)
    assert folders(container(made))["token"] == "/var/run/agentfleet/token"
    [token] = sources(made)["token"]["projected"]["sources"]
    assert token["serviceAccountToken"]["audience"] == "agentfleet"
    assert "token" not in sources(pod())


def test_functions_run_in_a_container_that_has_nothing_of_the_agents() -> None:
    model = ModelUse("https://x/v1", "m", key_secret="cloud")
    made = pod(Uses(model, judges_tokens=True), tools=[CRM, PYTHON], runtime={"env": [{"name": "A", "value": "b"}]})
    host = container(made, "toolhost-stock")
    assert host["args"] == ["toolhost", "--folder", "/functions", "--port", "8100", "--timeout", "35"]
    assert folders(host) == {"functions-stock": "/functions", "tmp-stock": "/tmp"}
    assert "env" not in host
    assert sources(made)["functions-stock"]["configMap"] == {"name": "functions"}
    assert host["securityContext"]["readOnlyRootFilesystem"]
    assert host["restartPolicy"] == "Always", "a native sidecar, which outlives the runs in flight"
    assert "tmp-stock" not in folders(container(made))


def test_each_entry_has_its_own_container_port_and_image() -> None:
    other = {"name": "mail", "python": {"configMapName": "mail", "image": "acme/mail:1"}}
    made = pod(tools=[PYTHON, other])
    assert container(made, "toolhost-mail")["args"][3:5] == ["--port", "8101"]
    assert container(made, "toolhost-mail")["image"] == "acme/mail:1"
    assert container(made, "toolhost-stock")["image"] == SETTINGS.runtime_image


def test_a_function_may_take_as_long_as_the_agent_waits_for_it() -> None:
    made = pod(tools=[PYTHON], limits={"timeout": "3m", "toolTimeout": "1m30s"})
    assert container(made, "toolhost-stock")["args"][-2:] == ["--timeout", "95"]


def test_an_image_of_the_agent_is_not_that_of_its_functions() -> None:
    """It may be of another make, and know no `toolhost`."""
    made = pod(tools=[PYTHON], runtime={"image": "acme/agent:2", "imagePullPolicy": "Always"})
    assert container(made)["image"] == "acme/agent:2"
    host = container(made, "toolhost-stock")
    assert (host["image"], host["imagePullPolicy"]) == (SETTINGS.runtime_image, "Always")


def test_nothing_can_be_merged_into_their_containers() -> None:
    stolen = {"name": "toolhost-stock", "env": [{"name": "KEY", "value": "x"}], "args": ["sh"]}
    template = {
        "spec": {"initContainers": [stolen], "shareProcessNamespace": True, "automountServiceAccountToken": True}
    }
    made = pod(tools=[PYTHON], runtime={"podTemplate": template})
    assert container(made, "toolhost-stock") == container(pod(tools=[PYTHON]), "toolhost-stock")
    assert made["automountServiceAccountToken"] is False
    assert "shareProcessNamespace" not in made


# --- merging and placing -------------------------------------------------------------------------------------------


def test_the_pod_template_is_laid_over_but_for_what_others_rely_on() -> None:
    over = {
        "metadata": {"labels": {"team": "a", "agentfleet.dev/agent": "boss"}},
        "spec": {
            "containers": [
                {
                    "name": "agent",
                    "ports": [{"containerPort": 1}],
                    "lifecycle": {},
                    "env": [{"name": "A", "value": "b"}],
                },
                {"name": "beside", "image": "acme/beside:1"},
            ]
        },
    }
    made = template(runtime={"podTemplate": over})
    assert made["metadata"]["labels"]["team"] == "a"
    assert made["metadata"]["labels"]["agentfleet.dev/agent"] == "helper"
    assert container(made["spec"])["ports"][0]["containerPort"] == 8080
    assert "preStop" in container(made["spec"])["lifecycle"]
    assert container(made["spec"])["env"] == [{"name": "A", "value": "b"}]
    assert container(made["spec"], "beside")["image"] == "acme/beside:1"


@pytest.mark.parametrize("delay", [0, 5])
@pytest.mark.parametrize(
    "over", [None, {"metadata": {"labels": {"a": "b"}}}, {"spec": {"containers": [{"name": "agent"}]}}]
)
def test_nothing_in_a_template_is_empty(delay: float, over: dict[str, Any] | None) -> None:
    """The API server stores no empty list or map, so one would be applied again and again."""
    runtime = {"podTemplate": over} if over else {}
    made = template(settings=Settings(dns_delay=delay), runtime=runtime)

    def check(value: Any, path: str) -> None:
        assert value not in ({}, [], None), path
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for name, item in items:
            check(item, f"{path}.{name}")

    check(made, "template")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"hostNetwork": True}, "hostNetwork"),
        ({"containers": [{"name": "agent", "securityContext": {"privileged": True}}]}, "privileged"),
        ({"volumes": [{"name": "v", "hostPath": {"path": "/etc"}}]}, "hostPathRoot"),
        ({"containers": "agent"}, "must be a list"),
    ],
)
def test_what_is_not_allowed_is_refused(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSpec, match=words):
        pod(runtime={"podTemplate": {"spec": spec}})


def test_role_is_a_label_of_pods() -> None:
    assert template(role="customer-service")["metadata"]["labels"]["agentfleet.dev/role"] == "customer-service"


def test_nodes_take_so_many_agents_as_the_settings_say() -> None:
    settings = Settings(agents_per_node=3)
    [cap] = [each for each in pod(settings=settings)["topologySpreadConstraints"] if "minDomains" in each]
    assert (cap["maxSkew"], cap["topologyKey"]) == (3, "kubernetes.io/hostname")
    assert cap["whenUnsatisfiable"] == "DoNotSchedule"
    labels = template(settings=settings)["metadata"]["labels"]
    assert cap["labelSelector"]["matchLabels"].items() <= labels.items(), "every agent of the namespace counts"
    assert "helper" not in cap["labelSelector"]["matchLabels"].values()
    rolling = deployment(settings=settings)["spec"]["strategy"]["rollingUpdate"]
    assert rolling == {"maxSurge": 0, "maxUnavailable": 1}, "a full node has no place for a successor"


def test_sites_and_lost_nodes_are_as_for_model_servers() -> None:
    made = pod(placement={"sites": ["store-17"], "edge": {"notReadyGrace": "15m"}, "nodeSelector": {"disk": "ssd"}})
    required = made["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert required["nodeSelectorTerms"][0]["matchExpressions"][0]["values"] == ["store-17"]
    assert {each["tolerationSeconds"] for each in made["tolerations"]} == {900}
    assert made["nodeSelector"] == {"disk": "ssd"}


# --- beside the pod ------------------------------------------------------------------------------------------------


def deployment(settings: Settings = SETTINGS, **spec: Any) -> Manifest:
    return agent_deployment(agent(**spec), template(settings=settings, **spec), 1, settings)


def test_a_changed_agent_is_surged_and_its_successor_serves_first() -> None:
    assert deployment()["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_one_pod_at_a_time_writes_a_volume_that_is_nobody_elses() -> None:
    spec: dict[str, Any] = {"session": {"store": "PersistentVolume", "volume": {"size": "2Gi"}}}
    assert deployment(**spec)["spec"]["strategy"] == {"type": "Recreate"}
    claim = sessions_claim(agent(**spec))
    assert claim is not None
    assert claim["spec"] == {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}
    assert folders(container(pod(**spec)))["data"] == "/var/lib/agent"
    assert sources(pod(**spec))["data"]["persistentVolumeClaim"] == {"claimName": "helper-agent-sessions"}


def test_of_a_shared_volume_only_the_sessions_are_shared() -> None:
    spec: dict[str, Any] = {
        "session": {"store": "PersistentVolume", "volume": {"accessMode": "ReadWriteMany"}},
        "scaling": {"minReplicas": 2, "maxReplicas": 2},
    }
    assert deployment(**spec)["spec"]["strategy"]["type"] == "RollingUpdate"
    made = pod(**spec)
    assert "emptyDir" in sources(made)["data"]
    assert folders(container(made))["sessions"] == "/var/lib/agent/sessions"
    assert sessions_claim(agent()) is None


def test_services_lead_to_the_port_that_routes_look_for() -> None:
    clients, pods = agent_services(agent())
    assert clients["metadata"]["name"] == "helper-agent"
    assert clients["spec"]["ports"] == [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}]
    assert pods["metadata"]["name"] == "helper-agent-pods"
    assert pods["spec"]["clusterIP"] == "None"
    assert pods["spec"]["ports"][0]["port"] == 8080
    assert pods["spec"]["selector"] == {"agentfleet.dev/agent": "helper"}


def test_of_two_pods_one_may_be_evicted() -> None:
    budget = agent_budget(agent(), 2)
    assert budget is not None
    assert budget["spec"]["minAvailable"] == 1
    assert agent_budget(agent(), 1) is None


def test_the_policy_lets_allowed_namespaces_in_and_what_is_used_out() -> None:
    rule = {"to": [{"podSelector": {}}], "ports": [{"port": 1, "protocol": "TCP"}]}
    uses = Uses(egress=(rule,))
    policy = agent_policy(agent(allowedNamespaces={"from": "All"}), uses, Settings(monitoring_namespaces=("prom",)))
    assert policy is not None
    clients, watchers = policy["spec"]["ingress"]
    assert clients == {"from": [{"namespaceSelector": {}}], "ports": [{"port": 8080, "protocol": "TCP"}]}
    [peer] = watchers["from"]
    assert peer["namespaceSelector"]["matchExpressions"][0]["values"] == ["agentfleet-system", "prom"]
    assert policy["spec"]["egress"][1:] == [rule]
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert agent_policy(agent(), uses, Settings(network_policies=False)) is None


def test_offline_reaches_dns_of_the_cluster_alone() -> None:
    sealed = agent(privacy={"mode": "Offline"})
    policy = agent_policy(sealed, Uses(), Settings(agents_dns_cidrs=("10.0.0.2/32",)))
    assert policy is not None
    [dns] = policy["spec"]["egress"]
    assert {port["port"] for port in dns["ports"]} == {53}
    blocks = [{"ipBlock": {"cidr": cidr}} for cidr in ("169.254.20.10/32", "10.0.0.2/32")]
    assert dns["to"] == [{"namespaceSelector": {}}, *blocks]


def test_a_configuration_that_no_config_map_holds_is_refused() -> None:
    with pytest.raises(InvalidSpec) as error:
        agent_config_map(agent(), "abc", "x" * (2**20 + 1))
    assert error.value.reason == "TooLarge"


def test_pods_of_all_children_belong_to_the_agent() -> None:
    for child in (*agent_services(agent()), deployment()):
        assert child["metadata"]["labels"]["agentfleet.dev/agent"] == "helper"
        [owner] = child["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["controller"]) == ("Agent", "helper", True)
