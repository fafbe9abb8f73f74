"""A body of JSON → a model of pydantic, with errors that name the field as the client wrote it. Pure."""

import re
from collections.abc import Sequence
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from agentfleet.runtime.wire_errors import BadRequest


class Strict(BaseModel):
    """No field is bent into another type; fields that are not known here are ignored, as OpenAI adds some weekly."""

    model_config = ConfigDict(strict=True, extra="ignore")


M = TypeVar("M", bound=BaseModel)


def parse(model: type[M], body: bytes) -> M:
    """BadRequest names the first field that is wrong."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = _first(error.errors(include_url=False, include_input=False, include_context=False))
        if first["type"] == "json_invalid":
            raise BadRequest("The body is not valid JSON.", code="invalid_json") from None
        field = path(first["loc"])
        raise BadRequest(f"{field}: {first['msg']}." if field else f"{first['msg']}.", field or None) from None


def _first(errors: Sequence[ErrorDetails]) -> ErrorDetails:
    """The first one; of the branches of a union the one that got furthest, as that is the one that was meant."""
    where = path(errors[0]["loc"])
    return max((each for each in errors if path(each["loc"]).startswith(where)), key=lambda each: len(each["loc"]))


def path(location: Sequence[int | str]) -> str:
    """messages[0].content, without pydantic's words for the branch of a union."""
    told = ""
    for part in location:
        if isinstance(part, int):
            told += f"[{part}]"
        elif re.fullmatch(r"[a-z_]+", part) and part not in ("str", "list"):
            told += f".{part}" if told else part
    return told
