"""CRDs of others that the operator works with, out of the Go modules that their authors publish.

Only the CRD, not its controller: what is tested with it is what the operator writes and reads.
"""

from __future__ import annotations

from pathlib import Path

from e2e.cluster.shell import run
from e2e.cluster.toolchain import go

_MODULE = Path(__file__).with_name("crds")
_LWS = "sigs.k8s.io/lws"
LEADER_WORKER_SET = "leaderworkersets.leaderworkerset.x-k8s.io"


def leader_worker_set() -> Path:
    """The file with the CRD of LeaderWorkerSet, in the version that crds/go.mod pins; downloaded once."""
    run([go(), "mod", "download", _LWS], cwd=_MODULE, timeout=120)
    folder = run([go(), "list", "-m", "-f", "{{.Dir}}", _LWS], cwd=_MODULE).strip()
    return Path(folder, "config", "crd", "bases", "leaderworkerset.x-k8s.io_leaderworkersets.yaml")
