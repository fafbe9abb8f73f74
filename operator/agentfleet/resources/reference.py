"""The CRDs as a reference page for people who read rather than `kubectl explain`. Pure."""

from collections.abc import Iterator
from typing import Any

from agentfleet.resources.conditions import HINTS
from agentfleet.resources.crd import Definition, Schema, crd

_INTRODUCTION = """\
# {kind} reference

Generated from the models by `agentfleet crds --write .`; the same words are in `kubectl explain {name} --recursive`.
Every field of `spec` can be changed at any time; a change that needs other pods is rolled out as a new revision.
"""


def reference(definition: Definition) -> str:
    """Markdown: every field with type, bounds and text, every rule between fields, every reason."""
    root = crd(definition)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    parts = [_INTRODUCTION.format(kind=definition.kind, name=definition.kind.lower())]
    for section in ("spec", "status"):
        parts.append(f"## {section}\n\n| field | type | what it is |\n|---|---|---|")
        parts += [_row(*field) for field in _fields(root["properties"][section], section)]
        parts.append("")
    parts.append("## Rules between fields\n\nChecked by the API server when an object is applied.\n")
    parts += sorted({f"- {message}" for message in _rules(root)})
    parts.append("\n## Reasons\n\nWords in conditions and Events, stable from release to release.\n")
    parts.append("| reason | what to do |\n|---|---|")
    parts += [f"| `{reason}` | {_cell(hint) or 'nothing'} |" for reason, hint in sorted(HINTS.items())]
    return "\n".join(parts) + "\n"


def _fields(schema: Schema, path: str) -> Iterator[tuple[str, Schema, bool]]:
    required = schema.get("required", ())
    for name, child in sorted(schema.get("properties", {}).items()):
        here = f"{path}.{name}"
        yield here, child, name in required
        yield from _fields(child, here)
        if isinstance(child.get("items"), dict):
            yield from _fields(child["items"], f"{here}[]")


def _row(path: str, schema: Schema, required: bool) -> str:
    return f"| `{path}` | {_type(schema)}{', required' if required else ''} | {_cell(schema.get('description', ''))} |"


def _type(schema: Schema) -> str:
    if "enum" in schema:
        return "one of " + ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("x-kubernetes-int-or-string"):
        return "quantity"
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return "free form"
    if "items" in schema:
        return f"list of {_type(schema['items'])}, at most {schema['maxItems']}"
    if "additionalProperties" in schema:
        return f"map of {_type(schema['additionalProperties'])}, at most {schema['maxProperties']}"
    bounds = [f"{word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in schema]
    return " ".join([str(schema.get("type", "object")), *bounds])


def _rules(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from (rule["message"] for rule in node.get("x-kubernetes-validations", ()))
        for child in node.values():
            yield from _rules(child)
    elif isinstance(node, list):
        for child in node:
            yield from _rules(child)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
