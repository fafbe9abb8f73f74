"""Variables from Secrets and ConfigMaps are mounted as well, so that a pod sees that they have changed."""

from typing import Any

import pytest

from agentfleet.manifests.agent_pod import agent_template
from agentfleet.manifests.agent_uses import ModelUse, Uses
from agentfleet.settings import Settings
from tests.agents import agent

KEY = {"name": "API_KEY", "valueFrom": {"secretKeyRef": {"name": "crm", "key": "token"}}}
URL = {"name": "URL", "valueFrom": {"configMapKeyRef": {"name": "places", "key": "crm"}}}
PLAIN = {"name": "TZ", "value": "Asia/Kuala_Lumpur"}
OWN = {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}


def template(*, renewed: str | None = None, **runtime: Any) -> dict[str, Any]:
    uses = Uses(ModelUse("http://m/v1", "m"))
    return agent_template(agent(runtime=runtime), uses, Settings(), config_map="c", revision="r", renewed=renewed)


def files(made: dict[str, Any]) -> dict[str, Any]:
    """Variable → the source of its file; what the agent's container does not mount is none."""
    [container] = made["spec"]["containers"]
    mounted = {mount["name"] for mount in container["volumeMounts"] if mount.get("readOnly")}
    return {
        items["path"]: (kind, source["name"], items["key"], source["optional"])
        for volume in made["spec"]["volumes"]
        if volume["name"] == "agentfleet-environment" and volume["name"] in mounted
        for each in volume["projected"]["sources"]
        for kind, source in each.items()
        for items in source["items"]
    }


def test_each_variable_that_can_change_has_a_file() -> None:
    made = template(env=[KEY, PLAIN, URL, OWN])
    assert files(made) == {"API_KEY": ("secret", "crm", "token", True), "URL": ("configMap", "places", "crm", True)}


def test_variables_of_the_pod_template_count() -> None:
    over = {"spec": {"containers": [{"name": "agent", "env": [KEY]}, {"name": "other", "image": "x", "env": [URL]}]}}
    made = template(podTemplate=over)
    [volume] = [each for each in made["spec"]["volumes"] if each["name"] == "agentfleet-environment"]
    [source] = volume["projected"]["sources"]
    assert source["secret"]["name"] == "crm", "other containers are the user's own"


@pytest.mark.parametrize("env", [[], [PLAIN, OWN]])
def test_without_such_variables_there_is_nothing(env: list[dict[str, Any]]) -> None:
    made = template(env=env, renewed="2026-11-22T05:00:00Z")
    assert files(made) == {}
    assert "annotations" not in made["metadata"]


@pytest.mark.parametrize("ref", [{"name": "crm"}, {"key": "token"}, "crm", None])
def test_what_is_no_reference_is_for_the_api_server_to_refuse(ref: Any) -> None:
    made = template(env=[{"name": "API_KEY", "valueFrom": {"secretKeyRef": ref}}])
    assert files(made) == {}
    assert made["spec"]["containers"][0]["env"][0]["name"] == "API_KEY"


@pytest.mark.parametrize("name", ["a/b", "..a", "1", ".b"])
def test_a_name_that_is_none_of_a_file_has_none(name: str) -> None:
    """Pod templates may have them; the variable is the API server's to judge."""
    over = {"spec": {"containers": [{"name": "agent", "env": [KEY | {"name": name}]}]}}
    assert files(template(podTemplate=over)) == {}


def test_a_renewal_is_an_annotation_of_the_pods() -> None:
    made = template(env=[KEY], renewed="2026-11-22T05:00:00Z")
    assert made["metadata"]["annotations"] == {"agentfleet.dev/environment-renewed": "2026-11-22T05:00:00Z"}
