"""The pod that watches an endpoint outside the cluster."""

from typing import Any

import pytest

from agentfleet.__main__ import COMMANDS
from agentfleet.errors import InvalidSpec
from agentfleet.manifests.limits import violations
from agentfleet.manifests.names import SERVING_LABEL
from agentfleet.manifests.prober import prober_template
from agentfleet.objects import MODEL_SERVER_LABEL
from agentfleet.resources.modelserver import ModelServer
from agentfleet.settings import Settings
from agentfleet.sidecar import prober
from tests.builders import manifest

URL = "https://api.example.com/v1"


def watched(external: dict[str, Any] | None = None, **spec: Any) -> ModelServer:
    body = manifest()
    body["spec"] = {"engine": "External", "external": {"url": URL} | (external or {})} | spec
    return ModelServer.from_manifest(body)


def template(of: ModelServer, settings: Settings | None = None) -> dict[str, Any]:
    return prober_template(of, settings or Settings(), "example/operator:1")


def arguments(of: ModelServer, settings: Settings | None = None) -> list[str]:
    args: list[str] = template(of, settings)["spec"]["containers"][0]["args"]
    return args


def test_it_asks_the_endpoint_and_is_ready_when_that_is() -> None:
    container = template(watched({"model": "gpt"}))["spec"]["containers"][0]
    asked = ["probe", "--kind=OpenAI", f"--url={URL}", "--port=9901", "--model=gpt"]
    assert container["args"] == [*asked, "--deny-cidr=$(KUBERNETES_SERVICE_HOST)"]
    assert container["image"] == "example/operator:1"
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": 9901}
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": 9901}


@pytest.mark.parametrize(
    "external",
    [{}, {"model": "gpt", "discover": True, "auth": {"secretName": "cloud", "caBundle": {"configMapName": "roots"}}}],
)
def test_the_prober_takes_its_arguments(external: dict[str, Any]) -> None:
    command, *options = arguments(watched(external), Settings(denied_cidrs=("10.1.2.3/8",)))
    assert COMMANDS[command][0] == prober.__name__
    parsed = prober.parse([option.replace("$(KUBERNETES_SERVICE_HOST)", "10.96.0.1") for option in options])
    assert [str(network) for network in parsed.deny_cidr] == ["10.96.0.1/32", "10.0.0.0/8"]


def test_no_service_selects_it() -> None:
    labels = template(watched())["metadata"]["labels"]
    assert labels[MODEL_SERVER_LABEL] == "phi"
    assert SERVING_LABEL not in labels


def test_it_is_confined() -> None:
    body = template(watched())["spec"]
    assert body["automountServiceAccountToken"] is False
    assert body["enableServiceLinks"] is False
    assert body["securityContext"]["runAsNonRoot"] is True
    assert body["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    assert list(violations({"spec": body}, Settings())) == []


@pytest.mark.parametrize(
    ("external", "discovers"),
    [({}, True), ({"model": "gpt"}, False), ({"model": "gpt", "discover": True}, True), ({"discover": False}, False)],
)
def test_models_are_discovered_where_none_is_named(external: dict[str, Any], discovers: bool) -> None:
    assert ("--discover" in arguments(watched(external))) is discovers


def test_the_model_of_foundry_local_is_the_alias_of_its_uri() -> None:
    of = watched(engine="FoundryLocal", model={"uri": "foundry://phi-4-mini"})
    assert {"--kind=FoundryLocal", "--model=phi-4-mini"} <= set(arguments(of))
    named = watched({"model": "phi-4-mini-instruct"}, engine="FoundryLocal", model={"uri": "foundry://phi-4-mini"})
    assert "--model=phi-4-mini-instruct" in arguments(named)


def test_the_key_and_the_certificates_alone_are_mounted() -> None:
    of = watched({"auth": {"secretName": "cloud", "caBundle": {"configMapName": "roots"}}})
    body = template(of)["spec"]
    assert body["volumes"] == [
        {"name": "ca", "configMap": {"name": "roots", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"name": "credentials", "secret": {"secretName": "cloud", "items": [{"key": "apiKey", "path": "apiKey"}]}},
    ]
    mounts = {mount["name"]: mount for mount in body["containers"][0]["volumeMounts"]}
    assert all(mount["readOnly"] for mount in mounts.values())
    assert f"--credentials-dir={mounts['credentials']['mountPath']}" in arguments(of)
    assert f"--ca-bundle={mounts['ca']['mountPath']}/ca.crt" in arguments(of)
    assert "volumes" not in template(watched())["spec"]


def test_denied_networks_are_handed_on() -> None:
    args = arguments(watched(), Settings(denied_cidrs=("10.1.2.3/8", "fd00::/8")))
    assert args[-2:] == ["--deny-cidr=10.0.0.0/8", "--deny-cidr=fd00::/8"]


def test_it_runs_where_the_endpoint_is_near() -> None:
    placement = {"sites": ["store-17"], "nodeSelector": {"disk": "ssd"}, "tolerations": [{"operator": "Exists"}]}
    body = template(watched(placement=placement, imagePullSecrets=[{"name": "registry"}]))["spec"]
    assert body["nodeSelector"] == {"disk": "ssd"}
    assert body["tolerations"] == [{"operator": "Exists"}]
    assert body["imagePullSecrets"] == [{"name": "registry"}]
    assert "store-17" in str(body["affinity"])


def test_an_object_without_an_endpoint_is_refused() -> None:
    body = manifest()
    body["spec"] = {"engine": "External"}
    with pytest.raises(InvalidSpec, match="is required for engine External"):
        template(ModelServer.from_manifest(body))
