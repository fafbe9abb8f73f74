"""`audit verify`: whether the audit lines of agents are whole: those of a file, or those of an agent's pods."""

import sys
from argparse import Namespace
from pathlib import Path

from agentfleet.cli.agents import agent
from agentfleet.cli.api import Api, Refused
from agentfleet.cli.audit_source import audit_lines, identity_keys, metrics_pages
from agentfleet.cli.output import answer, remark
from agentfleet.errors import AgentfleetError
from agentfleet.runtime.audit_chain import Head, Report, heads, verify


class BadInput(AgentfleetError):
    """A file that cannot be read."""


async def offline(arguments: Namespace) -> int:
    """Exit code 3 where a line was changed or is missing."""
    keys = [_key(Path(name)) for name in arguments.keys]
    known = _heads(arguments.metrics)
    report = verify(sys.stdin, keys, known) if arguments.file == "-" else _verified(Path(arguments.file), keys, known)
    answer(arguments.output, _text(report), _data(report))
    return 0 if report.whole else 3


async def run(arguments: Namespace, api: Api) -> int:
    """The same of what the pods of an agent have, with the key of its namespace where the user may read it."""
    namespace = arguments.namespace or api.namespace
    found = await agent(api, namespace, arguments.file.removeprefix("agent/"))
    keys = [_key(Path(name)) for name in arguments.keys]
    try:
        keys += await identity_keys(api, namespace)
    except Refused as error:
        if error.status != 403:
            raise
        remark(f"warning: the key of {namespace} may not be read, so only the order of lines is looked at: {error}")
    # before the lines, which may become more meanwhile
    pages = await metrics_pages(api, found, arguments)
    known = [*_heads(arguments.metrics), *(head for page in pages for head in heads(page))]
    report = verify(await audit_lines(api, found, arguments), keys, known)
    answer(arguments.output, _text(report), _data(report))
    return 0 if report.whole else 3


def _verified(path: Path, keys: list[bytes], known: list[Head]) -> Report:
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            return verify(lines, keys, known)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from error


def _heads(names: list[str]) -> list[Head]:
    """How far chains were when pages of /metrics were saved."""
    try:
        return [head for name in names for head in heads(Path(name).read_text(encoding="utf-8"))]
    except (OSError, ValueError) as error:
        raise BadInput(f"a page of /metrics cannot be read: {error}") from error


def _key(path: Path) -> bytes:
    """As in the Secret, to the last byte."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from error


def _text(report: Report) -> str:
    found = [f"line {each.line}: {each.text}" for each in (*report.problems, *report.notes)]
    chains = [f"chain {name} reaches line {last}" for name, last in sorted(report.chains.items())]
    verdict = "whole" if report.whole else f"NOT whole, {len(report.problems)} problems"
    return "\n".join([*found, *chains, f"{report.lines} lines of {len(report.chains)} chains: {verdict}"])


def _data(report: Report) -> dict[str, object]:
    return {
        "whole": report.whole,
        "lines": report.lines,
        "chains": report.chains,
        "problems": [{"line": each.line, "text": each.text} for each in report.problems],
        "notes": [{"line": each.line, "text": each.text} for each in report.notes],
    }
