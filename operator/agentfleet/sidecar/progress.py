"""The loader's progress, as a file that the sidecar reads: `<state-dir>/progress.json`.

The loader ends before the engine starts and has no port of its own; a file on the shared volume is all there is between
the two. Writes are atomic (rename), so a reader never sees half a file.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FILE = "progress.json"
STATES = ("Pending", "Downloading", "Verifying", "Complete", "Failed")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the loader is. `state` is one of STATES."""

    state: str
    bytes: int = 0
    total: int | None = None
    percent: int | None = None
    reason: str | None = None
    message: str | None = None
    digest: str | None = None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Replaces `path` by `content` in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.new")
    staged.write_text(json.dumps(content, sort_keys=True) + "\n", encoding="utf-8")
    staged.chmod(0o644)
    staged.replace(path)


def path_of(state_dir: Path) -> Path:
    """Where the progress of a state folder is."""
    return state_dir / FILE


def write(state_dir: Path, progress: Progress) -> None:
    """Publishes `progress`."""
    write_json(path_of(state_dir), asdict(progress))


def read(state_dir: Path) -> Progress | None:
    """What the loader said last; None while it said nothing. ValueError when the file is none of ours."""
    path = path_of(state_dir)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        loading = Progress(**content)
    except FileNotFoundError:
        return None
    except (TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not the loader's progress: {error}") from error
    if loading.state not in STATES:
        raise ValueError(f"{path}: state {loading.state!r} is none of {', '.join(STATES)}")
    return loading
