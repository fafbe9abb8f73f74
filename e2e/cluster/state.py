"""What an embedded cluster on this machine was asked to be, and whether it was ever finished.

Kept on disk beside the cluster, so that any later command (or test process) can work on it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from e2e.cluster import layout

_FILE = layout.STATE / "cluster.json"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class State:
    """The record of a cluster."""

    programs: str
    """Folder of its Kubernetes executables."""
    nodes: int
    gpus: dict[str, int] = field(default_factory=dict)
    """Fake GPUs by node; a kubelet forgets them when it restarts, so they are remembered here."""
    images: dict[str, str] = field(default_factory=dict)
    """Image archives in the nodes, with what tells a new archive of the same name."""
    fake_nodes: int = 0
    kwok: str | None = None
    """Folder of the kwok program once fake nodes were asked for."""
    boot_id: str = ""
    complete: bool = False
    """Whether the cluster was once up in full; before that a rebuild is quicker and surer than a repair."""

    @classmethod
    def load(cls) -> State | None:
        """The recorded state, None when there is no cluster."""
        try:
            return cls(**json.loads(_FILE.read_text(encoding="utf-8")))
        except (FileNotFoundError, json.JSONDecodeError):
            return None

    @classmethod
    def new(cls, programs: Path, nodes: int) -> State:
        return cls(programs=str(programs), nodes=nodes, boot_id=boot_id())

    @property
    def usable(self) -> bool:
        """Whether this cluster was up in full since the machine was started."""
        return self.complete and self.boot_id == boot_id()

    def save(self) -> State:
        unfinished = _FILE.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        unfinished.rename(_FILE)
        return self

    def changed(self, **changes: object) -> State:
        """A saved copy with ``changes``."""
        return replace(self, **changes).save()  # type: ignore[arg-type]


def boot_id() -> str:
    """Identity of this run of the machine: namespaces and processes of an earlier one are gone."""
    return _BOOT_ID.read_text(encoding="utf-8").strip()
