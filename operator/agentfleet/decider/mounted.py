"""Reads mounted Secrets: API keys of clients and keys of external targets. It keeps hashes of clients' keys alone, and
no value ever comes into a message.

A Secret's files are links into `..data`, which the kubelet replaces at once when the Secret has changed: so all files
of one reading are taken from where `..data` leads at its start.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agentfleet.decider.paths import Paths
from agentfleet.gateway.layout import KEYS

LARGEST = 16 * 2**10
"""Bytes of an entry that are looked at; more than any key has."""
CREDENTIAL = "apiKey"

_HASH = re.compile(r"[0-9A-Fa-f]{64}")
_KEY = re.compile(r"[!-~]{1,4096}")
_GROUP = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,62}[A-Za-z0-9])?")
_TARGET = re.compile(r"t[0-9]+")


@dataclass(frozen=True)
class Mounted:
    """What HAProxy's maps shall hold. `skipped` names each entry that was left out, and why, without its value."""

    keys: dict[str, str]
    """SHA-256 of an API key → client."""
    groups: dict[str, str]
    """Client → groups, joined by commas."""
    credentials: dict[str, str]
    """Target's id → the key that is sent there."""
    skipped: tuple[str, ...] = ()


def read(paths: Paths) -> Mounted:
    """All mounted entries; those that make no sense are skipped. OSError where a Secret has just changed: try again."""
    keys: dict[str, str] = {}
    groups: dict[str, str] = {}
    skipped: list[str] = []
    for client, value in _entries(paths.keys):
        try:
            digest, own = parse_key(value)
        except ValueError as error:
            skipped.append(f"API key of client {client}: {error}")
            continue
        if digest in keys:
            skipped.append(f"API key of client {client}: client {keys[digest]} has the same key; give each its own")
            continue
        keys[digest] = client
        if own:
            groups[client] = ",".join(own)
    credentials, wrong = _credentials(paths.credentials)
    return Mounted(keys, groups, credentials, (*skipped, *wrong))


def lacking(paths: Paths) -> list[str]:
    """Mounted Secrets without any usable key, by their folders: KEYS, or the target's. One that is not there looks
    like that, too: its volume is optional, and empty. OSError where one has just changed: try again."""
    found = [KEYS] if paths.keys.is_dir() and not read(paths).keys else []
    return found + [folder.name for folder in _folders(paths.credentials) if _credential(folder) is None]


def parse_key(value: str) -> tuple[str, tuple[str, ...]]:
    """SHA-256 in lower case, and groups, of an entry `KEY` or `sha256:HEX`, then `groups=a,b` or nothing.

    ValueError says what is wrong without the value.
    """
    words = value.split()
    if not words:
        raise ValueError("it is empty; write the key, or sha256: and its hash")
    rest = words[1:]
    if len(rest) > 1 or (rest and not rest[0].startswith("groups=")):
        raise ValueError("after the key only `groups=a,b` may follow, after one space")
    groups = tuple(sorted(set(rest[0].removeprefix("groups=").split(",")))) if rest else ()
    if not all(_GROUP.fullmatch(group) for group in groups):
        raise ValueError("groups are names of at most 64 letters, digits, '-', '_' and '.', joined by commas")
    return _digest(words[0]), groups


def _digest(key: str) -> str:
    if key.startswith("sha256:"):
        digest = key.removeprefix("sha256:")
        if not _HASH.fullmatch(digest):
            raise ValueError("sha256: must be followed by 64 hexadecimal digits")
        return digest.lower()
    if not _KEY.fullmatch(key):
        raise ValueError("a key has 1 to 4,096 printable ASCII characters, without spaces")
    return hashlib.sha256(key.encode()).hexdigest()


def _credentials(folder: Path) -> tuple[dict[str, str], list[str]]:
    found: dict[str, str] = {}
    skipped: list[str] = []
    for target in (each for each in _folders(folder) if _TARGET.fullmatch(each.name)):
        value = _credential(target)
        if value is not None:
            found[target.name] = value
        else:
            skipped.append(
                f"key of target {target.name}: its Secret must have the key {CREDENTIAL} with 1 to 4,096 printable "
                "ASCII characters, without spaces"
            )
    return found, skipped


def _credential(folder: Path) -> str | None:
    """The key that lies in the folder of a target or of a model that classifies; None where there is no usable one."""
    value = next((text for name, text in _entries(folder) if name == CREDENTIAL), "").strip()
    return value if _KEY.fullmatch(value) else None


def _folders(parent: Path) -> list[Path]:
    return sorted(parent.iterdir()) if parent.is_dir() else []


def _entries(folder: Path) -> Iterator[tuple[str, str]]:
    """Keys and values of one mounted Secret, by key; none where it is not mounted."""
    if not folder.is_dir():
        return
    data = folder / "..data"
    root = data.resolve() if data.exists() else folder
    for file in sorted(root.iterdir()):
        if not file.name.startswith("..") and file.is_file():
            with file.open("rb") as opened:
                # Bytes that are no UTF-8 become characters that no key may have: such an entry is skipped by name.
                yield file.name, opened.read(LARGEST + 1).decode("utf-8", errors="replace")
