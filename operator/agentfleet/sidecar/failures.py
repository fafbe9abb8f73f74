"""Why a model could not be had, as the reason and message that users see. Pure.

Reasons are CamelCase and shared by the sidecar (an Ollama pull) and the loader; the operator copies them into
`status.models[].reason`.
"""

from agentfleet.errors import AgentfleetError

MODEL_NOT_FOUND = "ModelNotFound"
MODEL_GATED = "ModelGated"
CHECKSUM_MISMATCH = "ChecksumMismatch"
DISK_FULL = "DiskFull"
REGISTRY_UNREACHABLE = "RegistryUnreachable"
SOURCE_UNREACHABLE = "SourceUnreachable"
SOURCE_CHANGED = "SourceChanged"
TLS_FAILED = "TLSFailed"
BAD_SOURCE = "BadSource"
CACHE_NOT_WRITABLE = "CacheNotWritable"
ENGINE_TOO_OLD = "EngineTooOld"
OUT_OF_MEMORY = "OutOfMemory"
PULL_FAILED = "PullFailed"
LOAD_FAILED = "LoadFailed"
INTERNAL_ERROR = "InternalError"

_PULL_REASONS: tuple[tuple[str, str], ...] = (
    ("file does not exist", MODEL_NOT_FOUND),
    ("manifest unknown", MODEL_NOT_FOUND),
    ("invalid model name", BAD_SOURCE),
    ("insecure protocol http", BAD_SOURCE),
    ("no space left", DISK_FULL),
    ("disk quota exceeded", DISK_FULL),
    ("newer version of ollama", ENGINE_TOO_OLD),
    ("digest mismatch", CHECKSUM_MISMATCH),
    ("unauthorized", MODEL_GATED),
    ("access denied", MODEL_GATED),
    ("dial tcp", REGISTRY_UNREACHABLE),
    ("lookup ", REGISTRY_UNREACHABLE),
    ("no such host", REGISTRY_UNREACHABLE),
    ("connection refused", REGISTRY_UNREACHABLE),
    ("connection reset", REGISTRY_UNREACHABLE),
    ("network is unreachable", REGISTRY_UNREACHABLE),
    ("i/o timeout", REGISTRY_UNREACHABLE),
    ("tls handshake", REGISTRY_UNREACHABLE),
    ("tls: ", REGISTRY_UNREACHABLE),
    ("max retries exceeded", REGISTRY_UNREACHABLE),
)
"""What Ollama writes into a pull's stream, in lower case, and what it means. The first match counts."""

PERMANENT = frozenset({MODEL_NOT_FOUND, MODEL_GATED, DISK_FULL, BAD_SOURCE, ENGINE_TOO_OLD, OUT_OF_MEMORY})
"""Reasons that only somebody else can take away. They are still retried, because somebody may; but not fast."""

SLOWEST_RETRY = 30.0


class ModelFailed(AgentfleetError):
    """A model cannot be served now; `reason` says what has to change."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class SourceUnreachable(ModelFailed):
    """The source did not answer, or stopped in the middle: the one failure of a loader that another try may cure."""

    def __init__(self, message: str) -> None:
        super().__init__(SOURCE_UNREACHABLE, message)


def pull_failure(text: str, status: int | None = None) -> ModelFailed:
    """What an error of Ollama's pull means. `status` is the HTTP status where the answer was no stream."""
    lowered = text.lower()
    for needle, reason in _PULL_REASONS:
        if needle in lowered:
            return ModelFailed(reason, text)
    return ModelFailed(MODEL_NOT_FOUND if status == 404 else PULL_FAILED, text)


def load_failure(text: str) -> ModelFailed:
    """What an error of Ollama's preload means."""
    lowered = text.lower()
    out_of_memory = "memory" in lowered and ("requires more" in lowered or "out of memory" in lowered)
    return ModelFailed(OUT_OF_MEMORY if out_of_memory else LOAD_FAILED, text)


def retry_delay(reason: str, attempt: int) -> float:
    """Seconds until the next try after the `attempt`-th (from 1) failure in a row."""
    if reason in PERMANENT:
        return SLOWEST_RETRY
    return min(SLOWEST_RETRY, 2.0 ** min(attempt - 1, 5))
