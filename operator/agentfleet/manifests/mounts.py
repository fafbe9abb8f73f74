"""A volume of a pod and the folder that it is mounted at, as one thing. Pure."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Mounted:
    """One volume, and its folder."""

    name: str
    folder: str
    source: dict[str, Any]
    read_only: bool = True

    def mount(self) -> dict[str, Any]:
        """As an entry of volumeMounts."""
        mount: dict[str, Any] = {"mountPath": self.folder, "name": self.name}
        return mount | {"readOnly": True} if self.read_only else mount

    def volume(self) -> dict[str, Any]:
        """As an entry of volumes."""
        return {"name": self.name, **self.source}
