"""The two ends of ``bench gateway``, in C (gateway_traffic.c says why), compiled once for each version of it."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster.errors import ClusterError
from e2e.cluster.layout import cache_home
from e2e.cluster.shell import exclusive, run

_SOURCE = Path(__file__).with_suffix(".c")
_GRACE = 60.0


@dataclass(frozen=True)
class Traffic:
    """What the client of one run saw."""

    answered: int
    failed: int
    seconds: float
    p50_ms: float
    """From when the request was due to the end of its answer."""
    p99_ms: float
    first_p50_ms: float
    """The same, to the first byte of the answer's body."""
    first_p99_ms: float

    @classmethod
    def parse(cls, text: str) -> Traffic:
        """From what the client prints."""
        found = json.loads(text)
        times = {f"{name}_ms": found[f"{name}_us"] / 1000 for name in ("p50", "p99", "first_p50", "first_p99")}
        return cls(found["answered"], found["failed"], found["seconds"], **times)


def program() -> Path:
    """The compiled program."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        raise ClusterError(
            "`bench gateway` needs a C compiler for its client, and there is none: apt-get install gcc libc6-dev"
        )
    version = hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:12]
    built = cache_home() / "bench" / f"gateway_traffic-{version}"
    with exclusive(cache_home() / "bench.lock"):
        if not built.exists():
            built.parent.mkdir(parents=True, exist_ok=True)
            unfinished = built.with_suffix(".new")
            run([compiler, "-O2", "-Wall", "-Wextra", "-o", unfinished, _SOURCE])
            unfinished.replace(built)
    return built


def load(port: int, requests: Path, *, connections: int, seconds: float, rate: float = 0, core: int) -> Traffic:
    """Send requests to ``port`` for so long; ``rate`` in a second, or as many as are answered."""
    words = [program(), "load", port, requests, connections, seconds, rate]
    text = run(["taskset", "-c", str(core), *map(str, words)], timeout=seconds + _GRACE)
    return Traffic.parse(text)
