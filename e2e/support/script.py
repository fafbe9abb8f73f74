"""What a scripted server is asked, and how it answers: `NAME=VALUE` pairs with commas, such as `status=503,delay=0.2`.

Pure, and of the standard library alone, because `scripted.py` runs in pods with these files only.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Script:
    """How a request is answered; the names of the fields are those of the pairs."""

    status: int = 200
    """Anything from 400 is answered with an error in OpenAI's form."""
    retry_after: int = 0
    """Seconds in the header Retry-After; none for 0."""
    delay: float = 0.0
    """Seconds before the first byte of the answer, its status included."""
    gap: float = 0.0
    """Seconds between two chunks; an answer that is not streamed takes as long in all."""
    chunks: int = 0
    """Chunks, and so tokens, of an answer; 0 is as many as the request allows with max_tokens, or 4."""
    close_after: int = -1
    """The connection is closed after so many chunks: for 0 before the first byte, for -1 never."""
    tool: bool = False
    """Calls the first tool of the request instead of saying something."""
    health: int = 200
    """Status of /health."""
    times: int = 0
    """Requests for which a script that was PUT is good, after them all is well; 0 is all."""

    def changed(self, text: str) -> Script:
        """This script but for what `text` says; ValueError where that makes no sense."""
        known = dataclasses.asdict(self)
        values: dict[str, Any] = {}
        for pair in filter(None, (part.strip() for part in text.split(","))):
            name, _, value = pair.partition("=")
            if name not in known:
                raise ValueError(f"{pair!r} is not of a script: there are {', '.join(known)}")
            try:
                values[name] = type(known[name])(float(value))
            except ValueError:
                raise ValueError(f"{pair!r}: a number is wanted, such as {name}=1") from None
        return dataclasses.replace(self, **values)


@dataclasses.dataclass(frozen=True)
class Received:
    """A request that arrived."""

    path: str
    model: str
    headers: dict[str, str]
    """By their names in small letters."""
    size: int
    sha256: str

    @classmethod
    def of(cls, path: str, headers: Mapping[str, str], raw: bytes, body: Any) -> Received:
        """ValueError where it is none that a model could answer."""
        if not isinstance(body, dict) or not isinstance(body.get("model"), str):
            raise ValueError("the body is no JSON object with a model")
        named = {name.lower(): value for name, value in headers.items()}
        return cls(path, body["model"], named, len(raw), hashlib.sha256(raw).hexdigest())
