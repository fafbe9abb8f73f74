"""The generated CRDs: in sync with their files, within what a CRD can say, and readable by `kubectl explain`."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from kubernetes import client
from pydantic import ConfigDict, Field

from agentfleet.crds import files, render
from agentfleet.resources.base import Contract
from agentfleet.resources.crd import DEFINITIONS, crd, schema_of

ROOT = Path(__file__).parents[2]
CRDS = [crd(definition) for definition in DEFINITIONS]
YAML_11_BOOLEANS = {"y", "n", "yes", "no", "on", "off", "true", "false"}


def root_schema(definition: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from nodes(schema[key], f"{path}[]")


ALL_NODES = [
    (f"{definition['spec']['names']['kind']}{path}", node)
    for definition in CRDS
    for path, node in nodes(root_schema(definition))
]
KINDS = {definition["spec"]["names"]["kind"] for definition in CRDS}
CONDITION_STATUS = ["True", "False", "Unknown"]
"""Words that all of Kubernetes has."""


def test_files_are_what_the_models_say() -> None:
    for path, text in files(ROOT).items():
        assert path.read_text() == text, f"run `agentfleet crds --write .`: {path}"


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.kind)
def test_rendered_yaml_is_read_back_alike(definition: Any) -> None:
    assert yaml.safe_load(render(definition)) == crd(definition)


@pytest.mark.parametrize("definition", CRDS, ids=lambda definition: definition["metadata"]["name"])
def test_nothing_is_lost_in_the_api_servers_own_types(definition: dict[str, Any]) -> None:
    """The client's types are generated from the API: what they drop, the API server would drop as silently."""
    stored = client.V1CustomResourceDefinition.from_dict(json.loads(json.dumps(definition)))
    assert json.loads(stored.to_json()) == definition


@pytest.mark.parametrize("word", ["$ref", "const", "title", "oneOf", "patternProperties", "propertyNames", "examples"])
def test_no_schema_word_that_a_crd_does_not_know(word: str) -> None:
    assert not [path for path, node in ALL_NODES if word in node]


def test_every_field_is_documented() -> None:
    undocumented = {path for path, node in ALL_NODES if not path.endswith("[]") and not node.get("description")}
    assert undocumented == {f"{kind}.metadata" for kind in KINDS}


def test_every_list_map_and_string_is_bounded() -> None:
    unbounded = []
    for path, node in ALL_NODES:
        if path.count(".") < 2 or "x-kubernetes-int-or-string" in node:
            continue
        if node.get("type") == "array" and "maxItems" not in node:
            unbounded.append(path)
        if node.get("type") == "string" and "enum" not in node and "maxLength" not in node:
            unbounded.append(path)
        if "additionalProperties" in node and "maxProperties" not in node:
            unbounded.append(path)
    assert unbounded == []


def test_every_list_has_a_type() -> None:
    assert not [
        path for path, node in ALL_NODES if node.get("type") == "array" and "x-kubernetes-list-type" not in node
    ]


def test_no_key_and_no_enum_value_is_a_yaml_boolean() -> None:
    words = {name for _, node in ALL_NODES for name in node.get("properties", {})}
    enums = [(path, node["enum"]) for path, node in ALL_NODES if "enum" in node]
    words |= {value for path, enum in enums if ".status." not in path or enum != CONDITION_STATUS for value in enum}
    assert not {word for word in words if word.lower() in YAML_11_BOOLEANS}


def test_enums_are_camel_case() -> None:
    words = {value for _, node in ALL_NODES for value in node.get("enum", ())}
    assert not {word for word in words if not re.fullmatch(r"[A-Z][A-Za-z0-9]*", word)}


def test_rules_have_messages_on_one_line() -> None:
    rules = [rule for _, node in ALL_NODES for rule in node.get("x-kubernetes-validations", ())]
    assert len(rules) > 20
    for rule in rules:
        assert rule["message"]
        assert "\n" not in rule["message"]


def test_fields_that_an_engine_or_a_scenario_may_set_have_no_default() -> None:
    """Else nobody could tell an explicit value from a default, and "explicit fields win" would be a guess."""
    defaults = {path: node["default"] for path, node in ALL_NODES if "default" in node}
    born = {f"{kind}.status": {"observedGeneration": -1} for kind in KINDS}
    assert defaults == born | {
        "Agent.spec.drain.timeout": "120s",
        "ModelServer.spec.drain.timeout": "120s",
        "ModelServer.spec.replicas": 1,
        "ModelServer.spec.vllm.speculative.tokens": 5,
        "AgentRoute.spec.classify.sensitivity.custom[].class": "Confidential",
        "AgentRoute.spec.targets[].cost.inputPerMillion": "0",
        "AgentRoute.spec.targets[].cost.outputPerMillion": "0",
        "AgentRoute.status.parents[].sectionName": "",
    }


def test_scale_and_printer_columns_point_at_fields_that_exist() -> None:
    for definition in CRDS:
        version = definition["spec"]["versions"][0]
        known = {path for path, _ in nodes(root_schema(definition))}
        paths = [
            *version["subresources"].get("scale", {}).values(),
            *(c["jsonPath"] for c in version["additionalPrinterColumns"]),
        ]
        paths += [field["jsonPath"] for field in version.get("selectableFields", ())]
        for path in paths:
            plain = re.sub(r"\[\?.*?\]", "[]", path)
            assert plain in known or plain.startswith(".metadata."), path


def test_an_object_whose_content_would_be_pruned_is_an_error() -> None:
    class Loses(Contract):
        anything: dict[str, Any]

    with pytest.raises(ValueError, match=r"Loses\.anything"):
        schema_of(Loses)


def test_a_schema_word_that_would_be_dropped_is_an_error() -> None:
    class Drops(Contract):
        model_config = ConfigDict(json_schema_extra={"x-kubernetes-validation": []})
        even: Annotated[int, Field(multiple_of=2)]

    with pytest.raises(ValueError, match="x-kubernetes-validation"):
        schema_of(Drops)
