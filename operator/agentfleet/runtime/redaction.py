"""Keeps secrets, personal data and, in Private and Offline, all content out of the log. Put in place at the start.

agentfleet.logs writes the lines; this changes what they say. Three layers:
- secrets always: values of the mounted files, tokens and keys by their looks, passwords in addresses;
- personal data (pii.py) where privacy.redact_logs asks for it;
- in Private and Offline, of libraries only who warned, and where, as their messages may quote anything; of exceptions,
  ours too, only types and places, never messages. Our own messages hold no content: that is a rule of this code,
  for which an exception goes into a message as an argument, never as text.
"""

import base64
import logging
import re
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

from agentfleet.logs import JsonFormatter
from agentfleet.runtime import pii
from agentfleet.runtime.config import AgentConfig
from agentfleet.runtime.config_tools import HttpTool, McpTool

MASK = "***"
_MAX_MESSAGE = 32_768
_SHORTEST = 6
"""Characters of a mounted value that is worth masking: shorter ones would blank out ordinary words."""
_LOOK_AGAIN = 1.0
"""Seconds between looks at the mounted files."""
_KEPT = 100
"""Values that are masked though no file holds them any more: a log line may come late."""
_OURS = "agentfleet"
_LIBRARIES = (
    *("httpx", "httpcore", "httpx2", "httpcore2", "openai", "mcp", "client", "a2a", "agent_framework"),
    *("uvicorn", "starlette", "sse_starlette", "redis", "opentelemetry", "asyncio", "py.warnings"),
)
_QUOTING = ("mcp", "client", "a2a")
"""Loggers whose tracebacks quote what was sent: in Private they are silent but for CRITICAL."""

_SECRETS = re.compile(
    r"""(?ix)
    (?P<before>
        \b(?:proxy-)?authorization["']?\s{0,3}[:=]\s{0,3}["']?(?:(?:bearer|basic)\s)?
      | \b(?:bearer|basic)\s
      | \b(?:api[-_ ]?key|access[-_ ]?key|secret|passw(?:or)?d|token|signature|sig|x-agentfleet-identity)["']?
        \s{0,3}[:=]\s{0,3}["']?
      | ://[^\s/:@]{0,64}:
    )
    (?P<value>(?<=["'])[^"'\n]{4,2048} | (?<=:)[^\s/@"']{1,128}(?=@) | [^\s"',;&}\])]{6,2048})
  | \b(?:sk-|sk_live_|sk_test_|rk_live_|ghp_|gho_|ghs_|ghu_|github_pat_|glpat-|hf_|xox[abeoprs]-|npm_|pypi-|AIza)
    [\w-]{8,512}
  | \beyJ[\w-]{8,4096}\.[\w.-]{4,4096}
  | \b(?:AKIA|ASIA)[A-Z0-9]{12,20}
    """
)


def install(config: AgentConfig) -> None:
    """On all handlers of the root logger: after agentfleet.logs.configure, before anything is read that is secret."""
    private = config.privacy.mode != "Standard"
    redactor = Redactor(secret_files(config), personal=config.privacy.redact_logs or private, private=private)
    for handler in logging.getLogger().handlers:
        handler.addFilter(redactor.filter)
        handler.setFormatter(RedactingFormatter(redactor))
    for name in _LIBRARIES if private else ():
        logger = logging.getLogger(name)
        logger.setLevel(max(logger.level, logging.CRITICAL if name in _QUOTING else logging.WARNING))


def secret_files(config: AgentConfig) -> tuple[Path, ...]:
    """The mounted files whose values must not be logged."""
    names = [config.access.identity_key_file, config.session.redis_password_file]
    if config.model:
        names.append(config.model.key_file)
    for entry in config.tools:
        if isinstance(entry.use, McpTool | HttpTool):
            names += [header.file for header in entry.use.headers]
    return tuple(Path(name) for name in names if name)


class Values:
    """What the mounted files hold, and held before."""

    def __init__(self, files: Sequence[Path], clock: Callable[[], float] = time.monotonic) -> None:
        self._files = dict.fromkeys(files, -1.0)
        self._clock = clock
        self._next = float("-inf")
        self._values: dict[str, None] = {}
        self._pattern: re.Pattern[str] | None = None

    def masked(self, text: str) -> str:
        """The text without any of them."""
        self._look()
        return self._pattern.sub(MASK, text) if self._pattern else text

    def _look(self) -> None:
        now = self._clock()
        if now < self._next:
            return
        self._next = now + _LOOK_AGAIN
        changed = False
        for file, seen in self._files.items():
            try:
                at = file.stat().st_mtime
                if at != seen:
                    self._files[file] = at
                    self._add(_forms(file.read_text(encoding="utf-8", errors="replace")))
                    changed = True
            except OSError:
                continue  # not mounted yet, or just being replaced
        if changed:
            # the longest first: one may be part of another
            found = sorted(self._values, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, found))) if found else None

    def _add(self, values: Iterable[str]) -> None:
        for value in values:
            self._values.pop(value, None)
            self._values[value] = None
        while len(self._values) > _KEPT:
            self._values.pop(next(iter(self._values)))


def _forms(content: str) -> Iterator[str]:
    """A value as it may be quoted: as it is, each of its lines, without its scheme, in base64, as Python shows it."""
    value = content.strip()
    scheme, _, rest = value.partition(" ")
    candidates = {value, *value.splitlines(), repr(value)[1:-1], base64.b64encode(value.encode()).decode().rstrip("=")}
    if scheme.lower() in ("bearer", "basic"):
        candidates.add(rest)
    yield from (each for each in candidates if len(each) >= _SHORTEST)


class Redactor:
    """Changes what a record says."""

    def __init__(
        self, files: Sequence[Path], *, personal: bool, private: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._values = Values(files, clock)
        self._personal = personal
        self._private = private

    def filter(self, record: logging.LogRecord) -> bool:
        """Always lets the record through; its arguments are gone afterwards, so nobody can format it anew."""
        record.msg = self._message(record)
        record.args = None
        for name in ("key", "reason"):
            if isinstance(getattr(record, name, None), str):
                setattr(record, name, self.text(getattr(record, name)))
        return True

    def text(self, text: str) -> str:
        """Without secrets, and without personal data if that is asked for."""
        text = text if len(text) <= _MAX_MESSAGE else f"{text[:_MAX_MESSAGE]}… ({len(text)} characters)"
        text = _SECRETS.sub(_hidden, self._values.masked(text))
        return pii.masked(text) if self._personal else text

    def exception(
        self, info: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None], full: str
    ) -> str:
        """`full` is what the formatter would write; in Private only types and places are."""
        if not self._private:
            return self.text(full)
        return "\n".join(_places(info[1])) if info[1] else ""

    def _message(self, record: logging.LogRecord) -> str:
        if self._private and record.name.partition(".")[0] != _OURS:
            return f"{record.levelname.lower()} of {record.module}:{record.lineno}; its text is withheld"
        if self._private and isinstance(record.args, tuple):
            record.args = tuple(map(_quiet, record.args))
        try:
            message = record.getMessage()
        except (TypeError, ValueError) as error:
            # logging would print the arguments as they are on stderr
            message = f"a message of {record.module}:{record.lineno} that cannot be formatted: {type(error).__name__}"
        return self.text(message)


class RedactingFormatter(JsonFormatter):
    """Tracebacks are made after filters have seen a record."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def formatException(self, ei) -> str:  # type: ignore[no-untyped-def]
        """Masked, or places alone."""
        return self._redactor.exception(ei, super().formatException(ei))


def _quiet(argument: object) -> object:
    """An exception of a library may quote what was said; our own, and those of the system, tell what to do."""
    ours = isinstance(argument, OSError) or type(argument).__module__.partition(".")[0] == _OURS
    return argument if ours or not isinstance(argument, BaseException) else type(argument).__name__


def _hidden(found: re.Match[str]) -> str:
    return f"{found['before'] or ''}{MASK}"


def _places(error: BaseException | None) -> Iterator[str]:
    """Types and places of an exception and of what caused it; a cycle of causes cannot be built by raising."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield f"{type(error).__module__}.{type(error).__qualname__}"
        yield from (
            f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in traceback.extract_tb(error.__traceback__)
        )
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
