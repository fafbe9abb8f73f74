"""`explain route`: what a route does with a request and why, and what a changed route would do with recorded ones.

    route (API or file) ─ explain_source ─▶ policy ─┬─ request's file ─ explain_reading ─▶ gateway/explain.py ─▶ text
                                                    └─ audit lines ─ explain_audit ─▶ table of what goes elsewhere

It decides nothing itself and sends nothing to the route: reading, classifying, compiling and deciding are the code of
the operator and of the gateways.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from agentfleet.cli import explain_audit, explain_source, explain_text
from agentfleet.cli.api import Api
from agentfleet.cli.explain_audit import Replay
from agentfleet.cli.explain_reading import Caller, reading
from agentfleet.cli.explain_source import NoRoute, Source, with_loads
from agentfleet.cli.output import answer, remark
from agentfleet.errors import AgentfleetError
from agentfleet.gateway.explain import explain
from agentfleet.gateway.types import Load

_STDIN = "-"


class NoFile(AgentfleetError):
    """A file cannot be read."""


async def run(arguments: Namespace, api: Api) -> int:
    """Of the live route; with -f of the one in the file, whose references are looked up."""
    if arguments.against:
        return await _replay(arguments, api)
    namespace = arguments.namespace or api.namespace
    if arguments.file:
        return _explain(
            arguments, await explain_source.from_file(arguments.file, arguments.name, arguments.namespace, api)
        )
    if not arguments.name:
        raise NoRoute("name an AgentRoute, or a file with one by -f")
    return _explain(arguments, await explain_source.live(api, namespace, arguments.name))


async def offline(arguments: Namespace) -> int:
    """Of the route in a file, against what may be assumed of the cluster."""
    if arguments.against:
        raise NoRoute("--against compares with the live route: leave --offline out")
    if not arguments.file:
        raise NoRoute("--offline needs a route from a file: name it by -f")
    return _explain(
        arguments, await explain_source.from_file(arguments.file, arguments.name, arguments.namespace, None)
    )


def _explain(arguments: Namespace, source: Source) -> int:
    source = with_loads(source, {name: Load(*numbers) for name, numbers in arguments.loads})
    caller = Caller(arguments.as_caller, arguments.groups, arguments.privacy_mode)
    headers = _headers(arguments.headers, source.policy.sensitivity_header)
    read = reading(source, arguments.endpoint, headers, _bytes(arguments.request), caller, arguments.intent)
    found = explain(source.policy, read.request, source.loads)
    title = f"{source.title}, {arguments.request} to /v1/{arguments.endpoint}"
    answer(arguments.output, explain_text.text(title, source, read, found), explain_text.data(source, read, found))
    for line in explain_text.remarks(source, read):
        remark(line)
    return 0


def _headers(pairs: Sequence[tuple[str, str]], sensitivity_header: str) -> dict[str, str]:
    """As types.Request has them: the last of each name, but of the sensitivity header all."""
    said = [value for name, value in pairs if name == sensitivity_header]
    return {**dict(pairs), **({sensitivity_header: ",".join(said)} if said else {})}


async def _replay(arguments: Namespace, api: Api) -> int:
    if not arguments.file:
        raise NoRoute("--against needs the changed route: name its file by -f")
    namespace = arguments.namespace or api.namespace
    changed = await explain_source.from_file(arguments.file, arguments.name, arguments.namespace, api)
    live = await explain_source.live(api, namespace, changed.route.name)
    found = _replayed(arguments.against, live, changed)
    notes = explain_audit.remarks(live, changed)
    title = f"{live.title} as it is and as in {arguments.file}"
    answer(arguments.output, explain_text.replay_text(title, found, notes), explain_text.replay_data(found, notes))
    return 0


def _replayed(path: str, live: Source, changed: Source) -> Replay:
    try:
        # what is not UTF-8 is not JSON, and told as that
        with Path(path).open(encoding="utf-8", errors="replace") as lines:
            return explain_audit.replay(lines, live.policy, changed.policy)
    except OSError as error:
        raise NoFile(f"{path}: {error.strerror}") from error


def _bytes(path: str) -> bytes:
    if path == _STDIN:
        return sys.stdin.buffer.read()
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise NoFile(f"{path}: {error.strerror}") from error
