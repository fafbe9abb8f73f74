"""The keys of a mounted Secret, each a file. They reach a source's requests and nothing else: no log, no message."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

SECRET = "the Secret in spec.model.auth.secretName"  # noqa: S105 - what users call it


@dataclass(frozen=True, slots=True)
class Credentials:
    """Key → value. Which keys count depends on the source; others are let be, since a Secret may serve many."""

    values: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, folder: Path | None) -> "Credentials":
        """All keys of the Secret that is mounted at `folder`; none without one. OSError where it is not mounted."""
        if folder is None:
            return cls()
        # kubelet keeps the versions of a Secret in hidden folders beside the keys, which are links into them.
        files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith("..")]
        return cls({path.name: path.read_text(encoding="utf-8").strip() for path in files})

    def get(self, key: str) -> str | None:
        """The value of `key`; None where it is absent or empty."""
        return self.values.get(key) or None

    def basic(self) -> tuple[str, str] | None:
        """Keys username and password, where both are there."""
        username, password = self.get("username"), self.get("password")
        return (username, password) if username and password else None

    def hint(self, *keys: str) -> str:
        """What to do when a source refuses access: correct the keys that are there, or add them."""
        names = " and ".join(repr(key) for key in keys)
        where = f"key{'s' if len(keys) > 1 else ''} {names} of {SECRET}"
        what = keys[0] if len(keys) == 1 else "credentials"
        if any(self.get(key) for key in keys):
            return f"replace the {what} in {where}: access was refused with them"
        return f"put {what} into {where}"
