"""Hypothesis strategies for ModelServers, drawn from the CRD's own schema: they grow with the contract by themselves.

`specs()` gives specs that the API server takes, as far as a schema can tell and with engine and source as CEL wants
them; `garbage()` gives anything at all.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

from hypothesis import strategies as st

from agentfleet.resources.crd import DEFINITIONS, crd

JsonSchema = dict[str, Any]

_FIELDS_OF = {"VLLM": "vllm", "LlamaCpp": "llamaCpp", "Ollama": "ollama"}
_SOURCES = {
    "VLLM": (
        "hf://acme/chat-7b",
        "hf://acme/chat-7b@v1.0",
        "s3://models/chat-7b",
        "oci://registry.example:5000/models/chat:7b",
        "pvc://models/chat",
        "file:///var/lib/agentfleet/models/chat",
    ),
    "LlamaCpp": ("hf://acme/chat/q4.gguf", "pvc://models/tiny.gguf", "file:///var/lib/agentfleet/models/tiny.gguf"),
    "Ollama": ("ollama://qwen2.5:0.5b", "ollama://registry.example/library/tiny:latest"),
}
_MOST_ITEMS = 3
_LONGEST = 24
_QUANTITIES = ("0", "1", "500m", "0.5", "1000m", "64Mi", "0.25Gi", "1e3", "12345678901234567890", "-1", "1Zi", "", "Mi")
_QUANTITIES_FIELD = "x-kubernetes-int-or-string"
_FREE_FORM = "x-kubernetes-preserve-unknown-fields"

_words = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=_LONGEST)
_scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _words
_json = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words, inner, max_size=3), max_leaves=6
)


@cache
def spec_schema() -> JsonSchema:
    """The OpenAPI schema of a ModelServer's spec, as in the CRD."""
    definition = next(definition for definition in DEFINITIONS if definition.kind == "ModelServer")
    schema = crd(definition)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    spec: JsonSchema = schema["properties"]["spec"]
    return spec


def of_schema(schema: JsonSchema) -> st.SearchStrategy[Any]:
    """Values that `schema` admits; small ones, for it is their variety that finds mistakes."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema.get(_QUANTITIES_FIELD) and "minimum" in schema:
        return _integers(schema) | st.sampled_from(schema["pattern"].strip("^$").split("$|^"))
    if schema.get(_QUANTITIES_FIELD):
        return st.sampled_from(_QUANTITIES) | st.integers(0, 10**6)
    if schema.get(_FREE_FORM) and "properties" not in schema:
        return st.dictionaries(_words, _json, max_size=2)
    return _OF_TYPE.get(schema.get("type", ""), _texts)(schema)


def _lists(schema: JsonSchema) -> st.SearchStrategy[list[Any]]:
    return st.lists(of_schema(schema["items"]), max_size=min(schema.get("maxItems", _MOST_ITEMS), _MOST_ITEMS))


def _objects(schema: JsonSchema) -> st.SearchStrategy[dict[str, Any]]:
    if "properties" not in schema:
        values = of_schema(schema.get("additionalProperties", {"type": "string"}))
        keys = st.sampled_from(("cpu", "memory", "nvidia.com/gpu", "disk", "a", "B.c-d"))
        return st.dictionaries(keys, values, max_size=_MOST_ITEMS)
    properties = {name: of_schema(part) for name, part in schema["properties"].items()}
    required = set(schema.get("required", ()))
    return st.fixed_dictionaries(
        {name: value for name, value in properties.items() if name in required},
        optional={name: value for name, value in properties.items() if name not in required},
    )


def _integers(schema: JsonSchema) -> st.SearchStrategy[int]:
    low, high = schema.get("minimum", -(2**31)), schema.get("maximum", 2**31 - 1)
    return st.sampled_from((low, high)) | st.integers(low, high)


def _texts(schema: JsonSchema) -> st.SearchStrategy[str]:
    longest = min(schema.get("maxLength", _LONGEST), 4 * _LONGEST)
    if "pattern" in schema:
        return st.from_regex(schema["pattern"], fullmatch=True, alphabet=st.characters(codec="ascii")).filter(
            lambda text: schema.get("minLength", 0) <= len(text) <= longest
        )
    return st.text(
        st.characters(codec="utf-8", exclude_characters="\x00"),
        min_size=schema.get("minLength", 0),
        max_size=longest,
    )


_OF_TYPE: dict[str, Callable[[JsonSchema], st.SearchStrategy[Any]]] = {
    "object": _objects,
    "array": _lists,
    "integer": _integers,
    "boolean": lambda _: st.booleans(),
}


@cache
def _field(*path: str) -> st.SearchStrategy[Any]:
    """Values of one field of the spec; made once, for making a strategy costs more than drawing from it."""
    schema = spec_schema()
    for name in path:
        schema = schema["properties"][name]
    return of_schema(schema)


@st.composite
def specs(draw: st.DrawFn) -> dict[str, Any]:
    """A spec whose engine, source and engine options belong together; the rest is whatever the schema admits."""
    engine = draw(st.sampled_from(sorted(_FIELDS_OF)))
    foreign = {field for name, field in _FIELDS_OF.items() if name != engine} | {"engine", "model", "external"}
    if engine != "VLLM":
        foreign |= {"parallelism", "scenario", "adapters"}
    if engine == "Ollama":
        foreign.add("extraArgs")
    # Few fields at a time: with all of them at once hardly any spec would pass the rules between fields.
    fields = sorted(set(spec_schema()["properties"]) - foreign)
    chosen = draw(st.lists(st.sampled_from(fields), max_size=5, unique=True))
    spec = {name: draw(_field(name)) for name in chosen}
    model: dict[str, Any] = {"uri": draw(st.sampled_from(_SOURCES[engine]))}
    for name in draw(st.lists(st.sampled_from(("name", "task", "facts", "update")), max_size=2, unique=True)):
        model[name] = draw(_field("model", name))
    return {**spec, "engine": engine, "model": model}


def garbage() -> st.SearchStrategy[Any]:
    """Anything: whole specs of the wrong shape, and right ones with one part replaced."""

    @st.composite
    def damaged(draw: st.DrawFn) -> Any:
        spec = draw(specs())
        spec[draw(st.sampled_from([*spec, "engine", "replicas", "unknown"]))] = draw(_json)
        return spec

    return damaged() | _json | _field()
