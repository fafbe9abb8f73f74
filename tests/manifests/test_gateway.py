"""The objects of an AgentRoute's gateways. That they work is judged in e2e; here, what they say."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from agentfleet.errors import InvalidSpec
from agentfleet.gateway.compile_layout import layout
from agentfleet.manifests.gateway import gateway_workload
from agentfleet.manifests.gateway_config import MOST_BYTES, config_map
from agentfleet.manifests.gateway_identity import identity_secret
from agentfleet.manifests.gateway_names import config_name, members
from agentfleet.manifests.gateway_pod import gateway_template
from agentfleet.manifests.gateway_policy import gateway_budget, gateway_policy
from agentfleet.manifests.gateway_services import gateway_services
from agentfleet.manifests.httproute import http_route
from agentfleet.manifests.inferencepool import inference_pool, wants_pool
from agentfleet.objects import Manifest
from agentfleet.resources.agentroute import AgentRoute
from agentfleet.settings import Settings
from tests.builders import manifest, server
from tests.routes import AUTH, CLOUD, SETTINGS, Held, cloud, resolved, route, to

GOLDEN = Path(__file__).with_name("gateway.yaml")
"""Every object of `FULL`; `python -m tests.manifests.test_gateway` writes it anew."""

HELD = Held().server().server("keyed", expose={"apiKeySecretName": "keyed-key"})
PRIVATE = CLOUD | {"auth": {"secretName": "cloud-key", "caBundle": {"configMapName": "ca"}}}
FULL = route(
    to("phi", maxConcurrent=4),
    to("keyed"),
    {"name": "cloud", "external": PRIVATE},
    auth=AUTH | {"jwt": {"issuer": "https://id.example.com", "publicKeySecretName": "jwt-keys"}},
    budgets=[{"scope": "Route", "tokens": 9, "window": "Day", "onExceeded": "Reject"}],
    classify={"intentMethod": "Model", "modelRef": {"name": "keyed"}},
    gateway={
        "service": {"type": "LoadBalancer", "annotations": {"example.com/lb": "internal"}},
        "tls": {"secretName": "front-tls"},
        "resources": {"requests": {"cpu": "1000m"}, "limits": {"memory": "2048Mi"}},
        "placement": {
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "edge", "operator": "Exists"}],
            "priorityClassName": "high",
            "sites": ["b", "a"],
        },
    },
    parentRefs=[{"name": "edge", "namespace": "gateways", "sectionName": "https"}],
    hostnames=["ai.example.com"],
)


def sets(of: AgentRoute, sites: tuple[str, ...] = (), settings: Settings = SETTINGS) -> list[Manifest]:
    """The workload of each gateway, with an invented revision."""
    found = resolved(of, HELD)
    where = layout(of, found, settings)
    gateways = members(of, sites)
    return [
        gateway_workload(
            of,
            member,
            1,
            gateway_template(of, found, where, member, settings, config=config_name(of, "rev"), revision="rev"),
        )
        for member in gateways
    ]


def pod(of: AgentRoute, sites: tuple[str, ...] = ()) -> dict[str, Any]:
    spec: dict[str, Any] = sets(of, sites)[0]["spec"]["template"]["spec"]
    return spec


def containers(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in (*spec["initContainers"], *spec["containers"])}


def everything(of: AgentRoute) -> list[Manifest]:
    found = resolved(of, HELD)
    gateways = members(of, ())
    made = [
        *gateway_services(of, gateways, found, SETTINGS),
        gateway_policy(of, found, SETTINGS),
        gateway_budget(of, gateways),
        http_route(of),
        config_map(of, "rev", {"haproxy.cfg": "global\n"}),
        sets(of)[0],
    ]
    return [each for each in made if each is not None]


def test_all_objects_of_a_full_route() -> None:
    assert everything(FULL) == list(yaml.safe_load_all(GOLDEN.read_text()))


def test_pods_are_hardened() -> None:
    spec = pod(FULL)
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(spec).values():
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]


def test_haproxy_sees_no_key_and_no_credential_as_users_wrote_them() -> None:
    spec = pod(FULL)
    secrets = {volume["name"] for volume in spec["volumes"] if "secret" in volume}
    mounts = {name: {m["name"] for m in each["volumeMounts"]} for name, each in containers(spec).items()}
    assert mounts["haproxy"] & secrets == {"tls"}, "which HAProxy alone can use"
    assert mounts["prepare"] == mounts["decider"] >= secrets
    writable = {m["name"] for each in containers(spec).values() for m in each["volumeMounts"] if not m.get("readOnly")}
    assert writable == {"run"}


def test_what_may_come_later_does_not_keep_pods_from_starting() -> None:
    optional = {
        volume["name"]: next(iter(source.values())).get("optional", False)
        for volume in pod(FULL)["volumes"]
        if (source := {kind: volume[kind] for kind in ("secret", "configMap") if kind in volume})
    }
    assert optional == {
        "budgets": True,
        "ca-t2": False,
        "config": False,
        "credentials-intent": True,
        "credentials-t1": True,
        "credentials-t2": True,
        "identity": False,
        "jwt": False,
        "keys": True,
        "tls": False,
    }


def test_requests_in_flight_have_their_time() -> None:
    assert pod(route())["terminationGracePeriodSeconds"] == 15 + 630 + 15
    rules = [{"name": "r", "targets": ["phi"], "timeouts": {"request": "1h"}}]
    assert pod(route(rules=rules))["terminationGracePeriodSeconds"] == 15 + 3630 + 15


def test_the_decider_never_keeps_the_gateway_from_being_ready() -> None:
    every = containers(pod(route()))
    assert "readinessProbe" not in every["decider"]
    assert "startupProbe" not in every["decider"]
    assert every["decider"]["restartPolicy"] == "Always"
    assert every["haproxy"]["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": 8404}
    assert every["haproxy"]["command"] == ["haproxy", "-db", "-f", "/etc/agentroute/haproxy.cfg"]


def test_defaults_of_resources_and_image() -> None:
    haproxy = containers(pod(route()))["haproxy"]
    assert haproxy["resources"] == {"requests": {"cpu": "200m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}}
    assert haproxy["image"] == SETTINGS.haproxy_image
    assert containers(pod(route(gateway={"image": "me/haproxy:1"})))["haproxy"]["image"] == "me/haproxy:1"


def test_pods_tell_demand_and_their_revision() -> None:
    labels = sets(route())[0]["spec"]["template"]["metadata"]["labels"]
    assert labels["agentfleet.dev/demand-source"] == "8091"
    assert labels["agentfleet.dev/agentroute"] == "front"
    assert labels["agentfleet.dev/revision"] == "rev"
    assert sets(route())[0]["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_a_site_keeps_its_gateway() -> None:
    one, two = sets(route(gateway={"perSite": True}), ("a", "b"))
    spec = one["spec"]["template"]["spec"]
    terms = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert terms == [{"matchExpressions": [{"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["a"]}]}]
    assert {toleration["effect"] for toleration in spec["tolerations"]} == {"NoExecute"}
    words = [
        next(
            env["value"]
            for env in containers(each["spec"]["template"]["spec"])["haproxy"]["env"]
            if env["name"] == "SITE"
        )
        for each in (one, two)
    ]
    assert [each["metadata"]["name"] for each in (one, two)] == [f"front-route-{word}" for word in words]


@pytest.mark.parametrize("gateway", [{"replicas": 1}, {"perSite": True}])
def test_one_that_is_alone_has_its_successor_before_it_goes(gateway: dict[str, Any]) -> None:
    made = sets(route(gateway=gateway), ("a", "b"))
    assert {each["kind"] for each in made} == {"Deployment"}
    assert made[0]["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    for each in made:
        spec = each["spec"]["template"]["spec"]
        names = [env for c in containers(spec).values() for env in c["env"] if env["name"] == "HOSTNAME"]
        assert names == [{"name": "HOSTNAME", "value": f"{each['metadata']['name']}-0"}] * 3, "not its pod's"
    two = sets(route())[0]
    assert (two["kind"], two["spec"]["replicas"]) == ("StatefulSet", 1)


@pytest.mark.parametrize("sites", [("a",), ("a", "b")])
def test_a_site_is_reached_by_the_service_of_its_gateway(sites: tuple[str, ...]) -> None:
    asked = route(gateway={"perSite": True})
    services = gateway_services(asked, members(asked, sites), resolved(asked, HELD), SETTINGS)
    own = [each for each in services if each["metadata"]["name"].endswith("-0")]
    for service, workload in zip(own, sets(asked, sites), strict=True):
        labels = workload["spec"]["template"]["metadata"]["labels"]
        assert service["spec"]["selector"].items() <= labels.items()
        assert service["spec"]["ports"][0] == {"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}
        assert "publishNotReadyAddresses" not in service["spec"], "in a rollout it is the one that serves"


def test_names_fit_into_labels() -> None:
    long = route(name="a" * 40, gateway={"perSite": True})
    found = resolved(long, HELD)
    gateways = members(long, ("x" * 63,))
    names = [each["metadata"]["name"] for each in gateway_services(long, gateways, found, SETTINGS)]
    assert max(map(len, names)) <= 63
    # The StatefulSet's controller adds a dash and ten digits for a label of its pods.
    assert all(len(member.workload) + 11 <= 63 for member in gateways)


@pytest.mark.parametrize(
    ("label", "expected"),
    [("topology.kubernetes.io/zone", "PreferClose"), ("kubernetes.io/hostname", "PreferSameNode"), ("shop", None)],
)
def test_clients_stay_at_their_site(label: str, expected: str | None) -> None:
    of = route(gateway={"perSite": True})
    settings = Settings(site_label=label)
    service = gateway_services(of, members(of, ("a",)), resolved(of, HELD), settings)[0]
    assert service["spec"].get("trafficDistribution") == expected


def policy(of: AgentRoute) -> dict[str, Any]:
    made = gateway_policy(of, resolved(of, HELD), SETTINGS)
    assert made is not None
    spec: dict[str, Any] = made["spec"]
    return spec


@pytest.mark.parametrize(
    ("spec", "peers"),
    [
        ({}, [{"podSelector": {}}]),
        ({"allowedNamespaces": {"from": "All"}}, [{"namespaceSelector": {}}]),
        ({"parentRefs": [{"name": "edge"}]}, [{"namespaceSelector": {}}]),
        ({"gateway": {"service": {"type": "NodePort"}}}, None),
    ],
)
def test_who_may_knock(spec: dict[str, Any], peers: list[Any] | None) -> None:
    rule = policy(route(**spec))["ingress"][0]
    assert rule.get("from") == peers
    assert [port["port"] for port in rule["ports"]] == [8080]


def test_ports_of_gateways_are_for_gateways_and_watchers() -> None:
    _, own, watchers = policy(route())["ingress"]
    assert own["from"] == [{"podSelector": {"matchLabels": {"agentfleet.dev/agentroute": "front"}}}]
    assert [port["port"] for port in own["ports"]] == [8081, 8091, 8404, 10000]
    assert watchers["from"][0]["namespaceSelector"]["matchExpressions"][0]["values"] == ["ops", "watch"]
    assert [port["port"] for port in watchers["ports"]] == [8091, 8404]


def test_gateways_reach_their_targets_and_nothing_else() -> None:
    egress = policy(route(to("phi"), cloud(), auth=AUTH))["egress"][2:]
    inside, outside = egress
    assert inside == {
        "to": [{"podSelector": {"matchLabels": {"agentfleet.dev/modelserver": "phi"}}}],
        "ports": [{"port": 8080, "protocol": "TCP"}],
    }
    assert [port["port"] for port in outside["ports"]] == [443]
    assert policy(route(cloud()))["egress"][2:] == [], "without auth no cloud is reached"


def test_targets_of_other_namespaces_are_reached_there() -> None:
    held = Held().server("phi", "models", allowedNamespaces={"from": "All"})
    of = route({"name": "phi", "modelServerRef": {"name": "phi", "namespace": "models"}})
    made = gateway_policy(of, resolved(of, held), SETTINGS)
    assert made is not None
    peer = made["spec"]["egress"][2]["to"][0]
    assert peer["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "models"}}


def test_no_policy_where_the_operator_makes_none() -> None:
    assert gateway_policy(route(), resolved(route(), HELD), Settings(network_policies=False)) is None


def test_a_config_map_has_an_end() -> None:
    with pytest.raises(InvalidSpec) as error:
        config_map(route(), "rev", {"a": "x", "route.json": "x" * MOST_BYTES})
    assert error.value.reason == "TooLarge"
    assert "1048588 bytes, route.json most of them" in error.value.message


def test_the_identity_belongs_to_the_namespace() -> None:
    secret = identity_secret("demo", "00ff")
    assert secret["data"] == {"key": "MDBmZg=="}
    assert "ownerReferences" not in secret["metadata"]
    assert secret["immutable"] is True


def test_an_inference_pool_lists_pods_that_serve() -> None:
    assert not wants_pool(server())
    of = server(expose={"inferencePool": True})
    assert wants_pool(of)
    made = inference_pool(of, 8080)
    assert (made["apiVersion"], made["metadata"]["name"]) == ("inference.networking.k8s.io/v1", "phi-model")
    assert made["spec"] == {
        "selector": {"matchLabels": {"agentfleet.dev/modelserver": "phi", "agentfleet.dev/serving": "true"}},
        "targetPorts": [{"number": 8080}],
        "endpointPickerRef": {
            "group": "",
            "kind": "Service",
            "name": "phi-model-epp",
            "port": {"number": 9002},
            "failureMode": "FailOpen",
        },
    }
    outside = manifest()
    outside["spec"] = {"engine": "External", "external": {"url": "https://x.example.com/v1"}}
    outside["spec"]["expose"] = {"inferencePool": True}
    assert not wants_pool(type(of).from_manifest(outside))


if __name__ == "__main__":
    GOLDEN.write_text(yaml.safe_dump_all(json.loads(json.dumps(everything(FULL))), sort_keys=True))
