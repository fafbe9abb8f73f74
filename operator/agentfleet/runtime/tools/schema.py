"""Schemas of tools: which may be used at all, and whether arguments fit. Pure.

Schemas come from servers that nobody may have checked. So nothing is fetched for a $ref, no pattern of theirs is ever
run (Python's `re` has no bound on time), and the number of references followed in one check is bounded.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator, SchemaError, ValidationError, validators
from referencing import Registry
from referencing.exceptions import Unresolvable

MAX_SCHEMA = 64 * 1024
"""Characters of one schema: the model reads it with each request."""
MAX_ARGUMENTS = 256 * 1024
_MAX_REFERENCES = 2000
_MAX_TEXT = 400

Check = Callable[[Mapping[str, Any]], str | None]
"""What is wrong with some arguments, in words for the model; None where they fit."""


class _TooDeep(Exception):
    pass


def unusable(parameters: object) -> str | None:
    """Why a tool with this schema cannot be offered; None where it can."""
    if not isinstance(parameters, Mapping):
        return f"its schema is no object but {type(parameters).__name__}"
    if parameters.get("type") != "object":
        return f'its schema describes {parameters.get("type", "anything")!r}, and arguments are an "object"'
    try:
        size = len(json.dumps(parameters))
        if size > MAX_SCHEMA:
            return f"its schema has {size} characters, at most {MAX_SCHEMA} are read"
        # the metaschema's own patterns run here, over names and references; they are linear
        Draft202012Validator.check_schema(parameters)
    except (SchemaError, TypeError, ValueError, RecursionError) as error:
        return f"its schema is no JSON Schema: {_short(getattr(error, 'message', None) or str(error))}"
    return None


def checker(parameters: Mapping[str, Any]) -> Check:
    """The check of arguments against `parameters`, which is usable."""
    followed = [0]
    original = Draft202012Validator.VALIDATORS["$ref"]

    def counted(validator: Any, reference: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
        followed[0] += 1
        if followed[0] > _MAX_REFERENCES:
            raise _TooDeep
        yield from original(validator, reference, instance, schema) or ()

    bounded = validators.extend(Draft202012Validator, {**_NOT_RUN, "$ref": counted})  # type: ignore[no-untyped-call]
    # an empty registry fetches nothing; the default one would ask the network for an unknown $ref
    validator = bounded(parameters, registry=Registry())

    def check(arguments: Mapping[str, Any]) -> str | None:
        followed[0] = 0
        if len(json.dumps(arguments)) > MAX_ARGUMENTS:
            return f"they have more than {MAX_ARGUMENTS} characters"
        try:
            error = next(iter(validator.iter_errors(dict(arguments))), None)
        except (_TooDeep, RecursionError, Unresolvable):
            return None  # a schema that cannot be judged: the server judges its arguments itself
        if error is None:
            return None
        place = ".".join(str(part) for part in error.absolute_path)
        return _short(f"{place}: {error.message}" if place else error.message)

    return check


def _not_run(_validator: Any, _value: Any, _instance: Any, _schema: Any) -> Iterator[ValidationError]:
    """A keyword that runs a server's regular expression, or depends on one that does."""
    return iter(())


def _additional(validator: Any, allowed: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if "patternProperties" not in schema:
        yield from Draft202012Validator.VALIDATORS["additionalProperties"](validator, allowed, instance, schema) or ()


_NOT_RUN: dict[str, Any] = {
    "pattern": _not_run,
    "patternProperties": _not_run,
    "unevaluatedProperties": _not_run,
    "additionalProperties": _additional,
}


def _short(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "…"
