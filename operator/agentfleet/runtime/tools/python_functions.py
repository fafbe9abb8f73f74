"""Tools out of a folder of Python files: each public function with type hints and a docstring is one.

Runs in the container of the functions, never in the agent's. What is broken becomes a Problem that names file and line
and takes nothing else away.
"""

import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.errors import PydanticUserError

_PREFIX = "agentfleet_functions."
"""Of module names: a user's json.py must not become the `json` that libraries import."""
_SECTION = re.compile(r"^(Args|Arguments|Parameters|Returns?|Raises|Yields?|Examples?|Notes?):\s*$", re.MULTILINE)
_PARAMETER = re.compile(r"^\s+\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")


@dataclass(frozen=True)
class Problem:
    """Why something in a file is no tool."""

    file: str
    line: int
    error: str

    def __str__(self) -> str:
        return f"{self.file} line {self.line}: {self.error}"


@dataclass(frozen=True)
class Function:
    """One tool."""

    name: str
    description: str
    call: Callable[..., Any]
    arguments: type[BaseModel]

    @property
    def schema(self) -> dict[str, Any]:
        """JSON Schema of the arguments, without the titles that pydantic makes of names: the model pays for each."""
        schema = self.arguments.model_json_schema()
        for part in (schema, *schema.get("properties", {}).values()):
            part.pop("title", None)
        return schema

    @property
    def is_async(self) -> bool:
        """Whether it runs on the loop."""
        return inspect.iscoroutinefunction(self.call)

    def bind(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Keyword arguments of the types that the hints say; pydantic's ValidationError for others."""
        model = self.arguments.model_validate(dict(arguments))
        return {str(field.alias): getattr(model, name) for name, field in self.arguments.model_fields.items()}


def load(folder: Path) -> tuple[dict[str, Function], list[Problem]]:
    """The functions of all files, by name, and what is broken. Runs the files: they may do anything."""
    _forget(folder)
    functions: dict[str, Function] = {}
    problems: list[Problem] = []
    for file in sorted(folder.glob("[!._]*.py")):
        module = _run(file)
        if isinstance(module, Problem):
            problems.append(module)
            continue
        for name, function in _public(module):
            try:
                tool = _read(name, function)
            except (_NoTool, PydanticUserError, NameError, TypeError) as error:
                problems.append(Problem(file.name, _line(function), f"{name}: {_first_line(error)}"))
                continue
            if name in functions:
                problems.append(
                    Problem(file.name, _line(function), f"{name}: another file has a function of that name")
                )
            else:
                functions[name] = tool
    return functions, problems


def fingerprint(folder: Path) -> tuple[tuple[str, int, int, int], ...]:
    """Changes when a file does; a mounted ConfigMap changes by a symbolic link, so what it points to is looked at."""
    found = []
    for file in sorted(folder.glob("[!.]*.py")):
        try:
            stat = file.stat()
        except FileNotFoundError:  # it goes in this moment; the next look finds the new state
            continue
        found.append((file.name, stat.st_ino, stat.st_mtime_ns, stat.st_size))
    return tuple(found)


class _NoTool(Exception):
    """Something that the owner of a function has to add."""


def _forget(folder: Path) -> None:
    """Files may import each other: what was read before must not be used again."""
    place = str(folder)
    if place not in sys.path:
        sys.path.append(place)  # at the end, so that the standard library wins over a file of the same name
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and Path(file).parent == folder:
            del sys.modules[name]
    importlib.invalidate_caches()


def _run(file: Path) -> ModuleType | Problem:
    name = _PREFIX + file.stem
    try:
        source = file.read_text()
        module = ModuleType(name)
        module.__file__ = str(file)
        sys.modules[name] = module  # dataclasses and hints look their module up
        exec(compile(source, str(file), "exec", dont_inherit=True), module.__dict__)  # noqa: S102  what this program is for
    except BaseException as error:  # SystemExit, too: one file must not end the others
        sys.modules.pop(name, None)
        return Problem(file.name, _line_of(error, file), f"{type(error).__name__}: {_first_line(error)}")
    return module


def _public(module: ModuleType) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Functions that the file itself defines, in its order."""
    for name, value in vars(module).items():
        if not name.startswith("_") and inspect.isfunction(value) and value.__module__ == module.__name__:
            yield name, value


def _read(name: str, function: Callable[..., Any]) -> Function:
    docstring = inspect.getdoc(function)
    if not docstring:
        raise _NoTool("it has no docstring, which tells the model what it is for")
    description, told = _docstring(docstring)
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for index, parameter in enumerate(inspect.signature(function).parameters.values()):
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY}:
            raise _NoTool(f"its parameter {parameter.name} cannot be given by name")
        if parameter.name not in hints:
            raise _NoTool(f"its parameter {parameter.name} has no type hint")
        default = ... if parameter.default is parameter.empty else parameter.default
        field = Field(default, alias=parameter.name, description=told.get(parameter.name))
        fields[f"field{index}"] = (hints[parameter.name], field)  # its own name might be one of pydantic's methods
    model = create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
    tool = Function(name, description, function, model)
    tool.schema  # noqa: B018  a type without a JSON form shows here
    return tool


def _docstring(text: str) -> tuple[str, dict[str, str]]:
    """The description, and the parameters' own from a section Args (Google's form)."""
    sections = _SECTION.split(text)
    told: dict[str, str] = {}
    for title, body in zip(sections[1::2], sections[2::2], strict=True):
        if title in {"Args", "Arguments", "Parameters"}:
            told = _parameters(body)
    return sections[0].strip(), told


def _parameters(body: str) -> dict[str, str]:
    told: dict[str, str] = {}
    lines = [line for line in body.splitlines() if line.strip()]
    indent = min((len(line) - len(line.lstrip()) for line in lines), default=0)
    name = ""
    for line in lines:
        match = _PARAMETER.match(line)
        if match and len(line) - len(line.lstrip()) == indent:
            name = match.group(1)
            told[name] = match.group(2).strip()
        elif name:
            told[name] = f"{told[name]} {line.strip()}"
    return told


def _line(function: Callable[..., Any]) -> int:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code.co_firstlineno if code else 1


def _line_of(error: BaseException, file: Path) -> int:
    """The last line of this file that had to do with it."""
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return error.lineno or 1
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno or 1 for frame in reversed(frames) if frame.filename == str(file)), 1)


def place_of(error: BaseException) -> str:
    """File and line where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name} line {frames[-1].lineno}" if frames else "an unknown place"


def _first_line(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return (text.splitlines() or [type(error).__name__])[0][:300]
