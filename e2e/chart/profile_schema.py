"""The part of values.schema.json about hardware profiles, made from the operator's own model of them.

`python -m e2e.chart.profile_schema` writes it into the chart; a test compares. Texts are left out: `kubectl explain`
has those of the same fields.
"""

from __future__ import annotations

import json
import re
from typing import Any

from agentfleet.resources.crd import schema_of
from agentfleet.resources.profile import Profile
from e2e.chart.rendering import CHART

Schema = dict[str, Any]
PATH = CHART / "values.schema.json"
_BLOCK = re.compile(r'^    "profile": \{\n.*?^    \},?\n', re.MULTILINE | re.DOTALL)


def profile_schema() -> Schema:
    """JSON Schema of one profile, closed: a misspelt field is refused by helm, before any operator sees it."""
    schema: Schema = _plain(schema_of(Profile))
    return schema


def _plain(node: Any) -> Any:
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {
        name: {key: _plain(child) for key, child in value.items()} if name == "properties" else _plain(value)
        for name, value in node.items()
        if name not in ("description", "default") and not name.startswith("x-kubernetes-")
    }
    return kept | ({"additionalProperties": False} if "properties" in kept else {})


def text(schema: Schema) -> str:
    """As it stands in the file: a line for each field of a profile."""
    fields = [
        f"        {json.dumps(name)}: {json.dumps(field)}" for name, field in sorted(schema["properties"].items())
    ]
    head = '    "profile": {\n      "type": "object",\n      "additionalProperties": false,\n      "properties": {\n'
    return head + ",\n".join(fields) + "\n      }\n    },\n"


def main() -> None:
    """Write the block into the chart's schema."""
    before = PATH.read_text(encoding="utf-8")
    PATH.write_text(_BLOCK.sub(lambda _: text(profile_schema()), before), encoding="utf-8")


if __name__ == "__main__":
    main()
