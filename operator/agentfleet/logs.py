"""JSON logs of all programs: one object a line with ts, level, logger, msg, and where known key, reason and exc.

Set up before anything logs; kopf's and aiohttp's loggers pass through it as well. Only named fields of a record are
written, so that no library can add a header or an object to a line.
"""

import json
import logging
import re
import sys
from datetime import UTC, datetime

_FIELDS = ("key", "reason")
_QUIETER = {
    "kopf.objects": logging.WARNING,  # a line for each event otherwise
    "aiohttp.access": logging.WARNING,
    "asyncio": logging.WARNING,
    # httpx logs every request: a line for each probe in the sidecar, and signed download addresses in the loader
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "httpx2": logging.WARNING,  # under the clients of models and of MCP servers in an agent's process
    "httpcore2": logging.WARNING,
    "agent_framework": logging.WARNING,  # calls of tools, which it takes for successes when a rule refused them
    "a2a": logging.WARNING,  # whole cards of other agents
    "uvicorn.error": logging.WARNING,  # says where it listens as if at a terminal
}
_CREDENTIAL = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}|\bhf_\w{8,}")


class JsonFormatter(logging.Formatter):
    """One record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Credentials that an error message quotes are masked."""
        line = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "msg": _masked(record.getMessage()),
        }
        line.update({name: str(value) for name in _FIELDS if (value := _field(record, name))})
        if record.exc_info:
            line["exc"] = _masked(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


def configure(level: str) -> None:
    """Log to stderr from `level` (DEBUG, INFO, WARNING, ERROR) on; warnings of Python go there too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    for name, quieter in _QUIETER.items():
        logging.getLogger(name).setLevel(
            max(quieter, logging.getLevelName(level)) if level != "DEBUG" else logging.DEBUG
        )


def _field(record: logging.LogRecord, name: str) -> object:
    if name == "key" and hasattr(record, "k8s_ref"):  # kopf's way to say which object
        reference = record.k8s_ref
        return "/".join(str(reference[part]) for part in ("kind", "namespace", "name") if reference.get(part))
    return getattr(record, name, None)


def _masked(text: str) -> str:
    return _CREDENTIAL.sub("***", text)
