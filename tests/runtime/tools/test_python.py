"""Python functions as tools: files in a folder, the server of the other container, and the agent that calls them."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from agentfleet.runtime.config_tools import PythonTool, ToolEntry
from agentfleet.runtime.tools import python_functions
from agentfleet.runtime.tools.python_host import Host
from agentfleet.runtime.types import ToolError
from tests.runtime.tools.support import Records, call, config, free_port, has_tools, is_ready, serve, toolbox, until

SUPPORT = '''
"""Functions of the document's technical support."""
from dataclasses import dataclass
from typing import Annotated, Literal
import asyncio, time
from pydantic import Field
from helpers import shout

@dataclass
class Ticket:
    id: int
    title: str

def create_support_ticket(
    title: str, description: str, priority: Literal["low", "medium", "high"] = "medium", schema: int | None = None
) -> Ticket:
    """Creates a ticket.

    It is seen by the team at once.

    Args:
        title: What it is about,
            in one line.
        description (str): All that is known.
        priority: How soon.

    Returns:
        The ticket.
    """
    return Ticket(7, shout(title) + "/" + priority)

async def run_diagnostics(checks: list[Annotated[str, Field(max_length=10)]]) -> dict[str, bool]:
    """Runs checks."""
    await asyncio.sleep(0)
    return {check: True for check in checks}

def fails() -> str:
    """Always."""
    raise ValueError("the printer is on fire")

def leaves() -> str:
    """Calls exit."""
    raise SystemExit(3)

def hangs() -> str:
    """Blocks its thread."""
    time.sleep(3)
    return ""

def odd() -> object:
    """Has no JSON form."""
    return object()

def _private() -> str:
    return ""
'''
BROKEN = {
    "syntax.py": ("def f(:\n    pass\n", "syntax.py line 1: SyntaxError"),
    "imports.py": ("x = 1\nimport no_such_module\n", "imports.py line 2: ModuleNotFoundError: No module named"),
    "exits.py": ("import sys\n\nsys.exit(1)\n", "exits.py line 3: SystemExit: 1"),
    "hintless.py": (
        'def first(a) -> str:\n    """A."""\n    return ""\n\n'
        'def good(a: str) -> str:\n    """Good."""\n    return a\n',
        "hintless.py line 1: first: its parameter a has no type hint",
    ),
    "docless.py": ("\n\ndef second(a: str) -> str:\n    return a\n", "docless.py line 3: second: it has no docstring"),
    "hints.py": (
        'def third(a: "Nowhere") -> str:\n    """A."""\n    return ""\n',
        "hints.py line 1: third: name 'Nowhere'",
    ),
    "rest.py": (
        'def fourth(*a: str) -> str:\n    """A."""\n    return ""\n',
        "its parameter a cannot be given by name",
    ),
    "twice.py": ('def good(a: str) -> str:\n    """B."""\n    return a\n', "twice.py line 1: good: another file has"),
    "noform.py": (
        'import threading\ndef fifth(a: threading.Lock) -> str:\n    """A."""\n    return ""\n',
        "noform.py line 2: fifth: ",
    ),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "functions"
    place.mkdir()
    (place / "support.py").write_text(SUPPORT)
    (place / "helpers.py").write_text('"""No tools."""\n\ndef _x() -> None: ...\n\nshout = str.upper\n')
    yield place
    sys.path[:] = [each for each in sys.path if each != str(place)]


def test_schema_and_descriptions_come_from_hints_and_docstring(folder: Path) -> None:
    functions, problems = python_functions.load(folder)
    assert problems == []
    assert sorted(functions) == ["create_support_ticket", "fails", "hangs", "leaves", "odd", "run_diagnostics"]
    tool = functions["create_support_ticket"]
    assert tool.description == "Creates a ticket.\n\nIt is seen by the team at once."
    assert tool.schema == {
        "type": "object",
        "properties": {
            "title": {"type": "string", "description": "What it is about, in one line."},
            "description": {"type": "string", "description": "All that is known."},
            "priority": {
                "type": "string",
                "enum": ["low", "medium", "high"],
                "default": "medium",
                "description": "How soon.",
            },
            "schema": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
        },
        "required": ["title", "description"],
        "additionalProperties": False,
    }


def test_what_is_broken_is_named_and_takes_nothing_else_away(folder: Path) -> None:
    for name, (source, _) in BROKEN.items():
        (folder / name).write_text(source)
    functions, problems = python_functions.load(folder)
    assert {"good", "create_support_ticket"} <= set(functions)
    told = [str(problem) for problem in problems]
    assert len(told) == len(BROKEN)
    for _, expected in BROKEN.values():
        assert any(expected in problem for problem in told), (expected, told)


def test_a_file_named_as_a_module_of_the_standard_library_hides_none(folder: Path) -> None:
    (folder / "json.py").write_text('def dumps(a: str) -> str:\n    """Not that one."""\n    return a\n')
    functions, problems = python_functions.load(folder)
    assert "dumps" in functions
    assert problems == []
    assert json.dumps({}) == "{}"


async def test_calls_through_the_agent(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    port, records = free_port(), Records()
    host = Host(folder, timeout=3, look=0.05)
    async with (
        serve(host.app(), port) as url,
        toolbox(config(tmp_path, ToolEntry("local", PythonTool(port)), tool_timeout=60), records) as box,
        httpx.AsyncClient() as client,
    ):
        await until(lambda: len(box.tools) == 6)
        await until(lambda: is_ready(box))
        ticket = await box.call(call("create_support_ticket", title="fire", description="x"))
        assert '{"id":7,"title":"FIRE/medium"}' in ticket
        assert '{"a":true}' in await box.call(call("run_diagnostics", checks=["a"]))
        for tool, arguments, error in [
            ("fails", {}, "failed: ValueError: the printer is on fire"),
            ("leaves", {}, "failed: RuntimeError: SystemExit"),
            ("hangs", {}, "failed: it did not end within 3 s"),
            ("odd", {}, "returns object, which has no JSON form"),
            ("run_diagnostics", {"checks": ["x" * 11]}, "do not fit|at most 10 characters"),
        ]:
            with pytest.raises(ToolError, match=error) as told:
                await box.call(call(tool, **arguments))
            assert "Traceback" not in str(told.value)
        assert "function fails: ValueError at support.py line" in caplog.text
        assert "on fire" not in caplog.text

        (folder / "syntax.py").write_text("def f(:\n")
        (folder / "support.py").write_text('def only(a: str) -> str:\n    """The one."""\n    return a\n')
        await has_tools(box, "only")
        await until(lambda: any("local: syntax.py line 1: SyntaxError" in problem for problem in box.problems()))
        await box.ready()
        found = (await client.get(f"{url}/problems")).json()
        assert [(each["file"], each["line"]) for each in found] == [("syntax.py", 1)]
        assert (await client.get(f"{url}/readyz")).json()["functions"] == ["only"]
        await asyncio.gather(*(_same(box, str(number)) for number in range(40)))


async def _same(box: Any, text: str) -> None:
    assert text in await box.call(call("only", a=text))


async def test_a_configmap_that_is_swapped_by_its_link_is_seen(tmp_path: Path) -> None:
    for version in ("one", "two"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "f.py").write_text(f'def {version}(a: str) -> str:\n    """A."""\n    return a\n')
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    (mounted / "..data").symlink_to(tmp_path / "one")
    (mounted / "f.py").symlink_to("..data/f.py")
    before = python_functions.fingerprint(mounted)
    assert sorted(python_functions.load(mounted)[0]) == ["one"]
    (mounted / "..new").symlink_to(tmp_path / "two")
    (mounted / "..new").rename(mounted / "..data")
    assert python_functions.fingerprint(mounted) != before
    assert sorted(python_functions.load(mounted)[0]) == ["two"]
    sys.path.remove(str(mounted))
