"""Public keys of tokens: the mounted Secret → the files that HAProxy reads as it starts, and whether they still agree.

HAProxy cannot be given others while it runs. So the decider tells the operator, which replaces the pods one by one.
"""

import hashlib
import logging
from collections.abc import Iterator

from agentfleet.decider import pem
from agentfleet.decider.files import write_private
from agentfleet.decider.paths import JWT_SLOTS, Paths

log = logging.getLogger(__name__)


def write_slots(paths: Paths) -> None:
    """One file for each slot of HAProxy. ValueError where there is no sound key at all."""
    if not paths.jwt.is_dir():
        return
    sound = []
    for name, text, problem in _mounted(paths):
        if problem:
            log.warning("skipped: public key %s of auth.jwt: %s", name, problem)
        else:
            sound.append(text)
    if not sound:
        raise ValueError(
            "auth.jwt: its Secret has no sound public key, so no token could be checked; give it a key that ends in "
            ".pem with an RSA (at least 2,048 bits) or EC public key in PEM"
        )
    if len(sound) > JWT_SLOTS:
        log.warning("auth.jwt: of %d public keys the first %d by name are used", len(sound), JWT_SLOTS)
    for slot, text in enumerate(_slots(sound)):
        write_private(paths.jwt_slot(slot), text)


def told(paths: Paths) -> dict[str, str]:
    """Digests: of the keys that HAProxy has read (`loaded`), and of those that a new pod would read (`mounted`), which
    is left out where no pod could start with them. Nothing where tokens are not checked."""
    if not paths.jwt.is_dir():
        return {}
    loaded = [paths.jwt_slot(slot).read_text(encoding="utf-8") for slot in range(JWT_SLOTS)]
    sound = [text for _, text, problem in _mounted(paths) if not problem]
    digests = {"loaded": _digest(loaded)}
    return digests | {"mounted": _digest(_slots(sound))} if sound else digests


def _mounted(paths: Paths) -> Iterator[tuple[str, str, str]]:
    """Name, text, and what is wrong with it, of each key."""
    for file in sorted(paths.jwt.glob("*.pem")):
        text = file.read_text(encoding="utf-8", errors="replace")
        try:
            pem.check(text)
        except ValueError as error:
            yield file.name, text, str(error)
        else:
            yield file.name, text, ""


def _slots(sound: list[str]) -> list[str]:
    """Slots without a key of their own repeat the first."""
    return [sound[slot] if slot < len(sound) else sound[0] for slot in range(JWT_SLOTS)]


def _digest(texts: list[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode("utf-8")).hexdigest()[:12]
