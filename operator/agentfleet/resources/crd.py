"""Models of the contract → CustomResourceDefinitions, as structural schemas that a real API server takes.

pydantic's JSON schema is inlined and reduced to what a CRD allows: no $ref, no anyOf with null, no const, no titles.
What the API server would drop silently is an error here.
"""

from dataclasses import dataclass, field
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from agentfleet.objects import GROUP, VERSION
from agentfleet.resources.agent import Agent, AgentSpec
from agentfleet.resources.agent_status import AgentStatus
from agentfleet.resources.agentroute import AgentRoute, AgentRouteSpec
from agentfleet.resources.agentroute_status import AgentRouteStatus
from agentfleet.resources.base import QUANTITY_PATTERN, Contract
from agentfleet.resources.modelserver import ModelServer, ModelServerSpec
from agentfleet.resources.modelserver_status import ModelServerStatus

Schema = dict[str, Any]


@dataclass(frozen=True)
class Definition:
    """One kind of the group: its models and how kubectl shows it."""

    kind: str
    plural: str
    short_names: tuple[str, ...]
    root: type[Contract]
    spec: type[Contract]
    status: type[Contract]
    columns: tuple[dict[str, Any], ...]
    scale: dict[str, str] | None = None
    selectable: tuple[str, ...] = field(default=())


def _column(name: str, path: str, kind: str = "string", *, wide: bool = False, description: str = "") -> dict[str, Any]:
    column: dict[str, Any] = {"name": name, "type": kind, "jsonPath": path}
    return column | ({"description": description} if description else {}) | ({"priority": 1} if wide else {})


DEFINITIONS = (
    Definition(
        kind="ModelServer",
        plural="modelservers",
        short_names=("ms",),
        root=ModelServer,
        spec=ModelServerSpec,
        status=ModelServerStatus,
        columns=(
            _column("Engine", ".spec.engine"),
            _column("Model", ".spec.model.uri"),
            _column("Wanted", ".status.scaling.desired", "integer"),
            _column("Serving", ".status.readyReplicas", "integer"),
            _column("Scaling", ".status.scaling.mode"),
            _column("Ready", '.status.conditions[?(@.type=="Ready")].status'),
            _column("Reason", '.status.conditions[?(@.type=="Ready")].reason'),
            _column("Age", ".metadata.creationTimestamp", "date"),
            _column("Revision", ".status.revision", wide=True),
            _column("URL", ".status.url", wide=True),
            _column("Message", '.status.conditions[?(@.type=="Ready")].message', wide=True),
        ),
        scale={
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        },
        selectable=(".spec.engine",),
    ),
    Definition(
        kind="Agent",
        plural="agents",
        short_names=("ag",),
        root=Agent,
        spec=AgentSpec,
        status=AgentStatus,
        columns=(
            _column("Role", ".spec.role"),
            _column("Model", ".status.model"),
            _column("Wanted", ".status.replicas", "integer"),
            _column("Serving", ".status.readyReplicas", "integer"),
            _column("Privacy", ".status.privacy"),
            _column("Ready", '.status.conditions[?(@.type=="Ready")].status'),
            _column("Reason", '.status.conditions[?(@.type=="Ready")].reason'),
            _column("Age", ".metadata.creationTimestamp", "date"),
            _column("URL", ".status.url", wide=True),
            _column("Message", '.status.conditions[?(@.type=="Ready")].message', wide=True),
        ),
    ),
    Definition(
        kind="AgentRoute",
        plural="agentroutes",
        short_names=("ar",),
        root=AgentRoute,
        spec=AgentRouteSpec,
        status=AgentRouteStatus,
        columns=(
            _column("Wanted", ".status.replicas", "integer"),
            _column("Serving", ".status.readyReplicas", "integer"),
            _column("Targets", ".status.readyTargets"),
            _column("Ready", '.status.conditions[?(@.type=="Ready")].status'),
            _column("Reason", '.status.conditions[?(@.type=="Ready")].reason'),
            _column("URL", ".status.url"),
            _column("Age", ".metadata.creationTimestamp", "date"),
            _column("Message", '.status.conditions[?(@.type=="Ready")].message', wide=True),
        ),
    ),
)


class _CrdSchema(GenerateJsonSchema):
    """Optional is absent, never null; a single literal is an enum of one."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def literal_schema(self, schema: core_schema.LiteralSchema) -> JsonSchemaValue:
        return {"type": "string", "enum": list(schema["expected"])}


_KEPT = {
    "type", "description", "enum", "pattern", "format", "default", "minimum", "maximum", "minLength", "maxLength",
    "minItems", "maxItems", "minProperties", "maxProperties", "items", "properties", "required", "additionalProperties",
    "x-kubernetes-validations", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
    "x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string", "anyOf",
}  # fmt: skip
_DROPPED = {"title", "$defs", "x-agentfleet-quantity"}


def _inline(node: Schema, definitions: Schema, path: str) -> Schema:
    if "$ref" in node:
        target = definitions[node["$ref"].removeprefix("#/$defs/")]
        node = target | {key: value for key, value in node.items() if key != "$ref"}
    if node.get("x-agentfleet-quantity"):
        return _quantity(node)
    if "anyOf" in node:
        node = _union(node, path)
    if node.get("x-kubernetes-preserve-unknown-fields"):
        return {
            "type": "object",
            "description": " ".join(node.get("description", "").split()),
            "x-kubernetes-preserve-unknown-fields": True,
        }
    unknown = node.keys() - _KEPT - _DROPPED
    if unknown:
        raise ValueError(f"{path}: a CRD schema cannot say {sorted(unknown)}")
    result = {key: node[key] for key in node if key in _KEPT}
    if "description" in result:
        result["description"] = " ".join(result["description"].split())
    if result.get("default", 0) in (None, [], ()):
        del result["default"]
    if isinstance(result.get("additionalProperties"), bool):
        del result["additionalProperties"]
    if "properties" in result:
        result["properties"] = {
            name: _inline(child, definitions, f"{path}.{name}") for name, child in result["properties"].items()
        }
    if isinstance(result.get("additionalProperties"), dict):
        result["additionalProperties"] = _inline(result["additionalProperties"], definitions, f"{path}.*")
    if "items" in result:
        result["items"] = _inline(result["items"], definitions, f"{path}[]")
    if result.get("type") == "object" and not result.keys() & {"properties", "additionalProperties"}:
        raise ValueError(f"{path}: an object without properties would lose everything in it")
    return result


def _quantity(node: Schema) -> Schema:
    return {
        "description": " ".join(node.get("description", "An amount such as 500m, 2, 512Mi or 80Gi.").split()),
        "x-kubernetes-int-or-string": True,
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "pattern": QUANTITY_PATTERN.replace("?:", ""),
        "maxLength": node["maxLength"],
    }


def _union(node: Schema, path: str) -> Schema:
    """The two unions of the contract: a number or a word, and a pattern or a word (as a single pattern)."""
    branches = node["anyOf"]
    merged = {key: value for key, value in node.items() if key != "anyOf"}
    if [branch.get("type") for branch in branches] == ["integer", "string"]:
        number, word = branches
        return merged | {
            "x-kubernetes-int-or-string": True,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "minimum": number["minimum"],
            "maximum": number["maximum"],
            "pattern": "|".join(f"^{each}$" for each in word["enum"]),
            "maxLength": 16,
        }
    if not all(branch.get("type") == "string" for branch in branches):
        raise ValueError(f"{path}: a CRD schema cannot say a union of {branches}")
    patterns = [branch["pattern"] for branch in branches if "pattern" in branch]
    words = [word for branch in branches for word in branch.get("enum", ())]
    return merged | {
        "type": "string",
        "maxLength": 64,
        "pattern": "|".join([*patterns, *(f"^{word}$" for word in words)]),
    }


def schema_of(model: type[Contract]) -> Schema:
    """The structural schema of one model."""
    schema = model.model_json_schema(by_alias=True, schema_generator=_CrdSchema, mode="validation")
    return _inline(schema, schema.get("$defs", {}), model.__name__)


def crd(definition: Definition) -> dict[str, Any]:
    """The CustomResourceDefinition of one kind, as plain data."""
    status = schema_of(definition.status)
    # Born with -1, an object is "in progress" to kstatus from the first moment, not "current" until the first write.
    status["default"] = {"observedGeneration": -1}
    root: Schema = {
        "type": "object",
        "description": _text(definition.root),
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": "agentfleet.dev/v1alpha1"},
            "kind": {"type": "string", "description": definition.kind},
            "metadata": {"type": "object"},
            "spec": schema_of(definition.spec),
            "status": status,
        },
        **(definition.root.model_config["json_schema_extra"]),  # type: ignore[dict-item]
    }
    version: dict[str, Any] = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": list(definition.columns),
        "subresources": {"status": {}} | ({"scale": definition.scale} if definition.scale else {}),
        "schema": {"openAPIV3Schema": root},
    }
    if definition.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in definition.selectable]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{definition.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": definition.kind,
                "listKind": f"{definition.kind}List",
                "plural": definition.plural,
                "singular": definition.kind.lower(),
                "shortNames": list(definition.short_names),
                "categories": [CATEGORY],
            },
            "versions": [version],
        },
    }


CATEGORY = "agentfleet"
"""`kubectl get agentfleet` lists all kinds of the group."""


def _text(model: type[Contract]) -> str:
    return " ".join((model.__doc__ or "").split())
