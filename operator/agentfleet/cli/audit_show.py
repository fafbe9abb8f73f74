"""`audit show`: what an agent did, for whom, and how it was decided."""

import json
import sys
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from agentfleet.cli.agents import agent
from agentfleet.cli.api import Api
from agentfleet.cli.audit_source import audit_lines
from agentfleet.cli.output import answer
from agentfleet.cli.table import NOTHING, table

_HEADERS = ("TIME", "KIND", "DECISION", "CALLER", "WHAT", "TOOK", "TOKENS", "REQUEST")


async def run(arguments: Namespace, api: Api) -> int:
    """With -o json the lines as they are, for `audit verify` and for collectors."""
    found = await agent(api, arguments.namespace or api.namespace, arguments.agent)
    texts = await audit_lines(api, found, arguments)
    lines = [(text, line) for text in texts if _wanted(line := json.loads(text), arguments)]
    if arguments.output == "json":
        sys.stdout.writelines(f"{text}\n" for text, _ in lines)
        sys.stdout.flush()
    else:
        rows = sorted((_row(line) for _, line in lines), key=lambda row: row[0])
        answer("table", table(_HEADERS, rows) if rows else "No audit lines.", None)
    return 0


def _wanted(line: Mapping[str, Any], arguments: Namespace) -> bool:
    return (not arguments.kinds or line.get("kind") in arguments.kinds) and (
        arguments.request is None or line.get("request") == arguments.request
    )


def _row(line: Mapping[str, Any]) -> tuple[str, ...]:
    taken = line.get("duration_ms")
    tokens = (line.get("input_tokens"), line.get("output_tokens"))
    return (
        str(line.get("ts", NOTHING)),
        str(line.get("kind", NOTHING)),
        str(line.get("decision") or NOTHING),
        str(line.get("caller") or NOTHING),
        ": ".join(str(line[name]) for name in ("tool", "reason") if line.get(name)) or NOTHING,
        NOTHING if taken is None else f"{taken} ms",
        NOTHING if tokens[0] is None else f"{tokens[0]} + {tokens[1]}",
        str(line.get("request") or NOTHING),
    )
