"""Who is calling, signed with the namespace's key: the header x-agentfleet-identity. Pure, but for reading the key.

Gateways write it (gateway/haproxy_access.py), and agents that call other agents or a route for somebody: claims
{"sub", "groups", "mode", "exp"} as JSON in base64url without padding, a dot, and the HMAC-SHA256 of that text in
hexadecimal. access.py verifies it.
"""

import base64
import binascii
import hashlib
import hmac
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast, get_args

from agentfleet.runtime.types import Caller, Mode

HEADER = "x-agentfleet-identity"
MODE_HEADER = "x-agentfleet-mode"
"""Beside a service account's token: the privacy mode of who asks. Anybody may ask for a stricter one."""
ANONYMOUS = "anonymous"
"""Who calls where nobody has to say who they are: a gateway of a route without auth signs an empty subject."""
LEEWAY = 30.0
"""Seconds by which the clocks of two nodes may differ."""
_LONGEST = 16_384
_MODES = get_args(Mode)


class IdentityError(Exception):
    """The header is not believed; the message may be told to the client."""


def keys(path: Path) -> tuple[bytes, ...]:
    """As mounted now. While a key is replaced, NAME.previous lies beside it, and both hold; the first one signs."""
    previous = path.with_name(f"{path.name}.previous")
    found = (path.read_bytes(), previous.read_bytes() if previous.is_file() else b"")
    return tuple(key for key in found if key)


def sign(key: bytes, caller: Caller, now: float, ttl: float = 60.0) -> str:
    """The header's value."""
    if not key:
        raise ValueError("the key that signs identities is empty")
    claims = {
        "sub": caller.subject,
        "groups": sorted(caller.groups),
        "mode": caller.mode,
        "exp": int(now + ttl),
    }
    text = base64.urlsafe_b64encode(json.dumps(claims, separators=(",", ":")).encode()).rstrip(b"=")
    return f"{text.decode()}.{_mac(key, text)}"


def verify(valid: Sequence[bytes], value: str, now: float) -> Caller:
    """By any of the valid keys. The claims are not read before the signature has been found right."""
    text, _, given = value.strip().partition(".")
    if len(value) > _LONGEST or not _signed(valid, text, given):
        raise IdentityError(f"The signature of {HEADER} is wrong.")
    claims = _claims(text)
    expires = claims.get("exp")
    if isinstance(expires, bool) or not isinstance(expires, int | float) or not math.isfinite(expires):
        raise IdentityError(f"{HEADER} has no exp.")
    if expires + LEEWAY <= now:
        raise IdentityError(f"{HEADER} has run out.")
    subject, groups, mode = claims.get("sub"), claims.get("groups", []), claims.get("mode")
    if not isinstance(subject, str):
        raise IdentityError(f"{HEADER} has no sub.")
    if not isinstance(groups, list) or not all(isinstance(group, str) for group in groups):
        raise IdentityError(f"The groups in {HEADER} are no list of names.")
    if mode not in _MODES:
        raise IdentityError(f"The mode in {HEADER} is none of {', '.join(_MODES)}.")
    return Caller(subject or ANONYMOUS, frozenset(groups), cast(Mode, mode))


def _signed(valid: Sequence[bytes], text: str, given: str) -> bool:
    if not (text.isascii() and given.isascii()):
        return False
    # every key is tried, in a time that does not tell which one fits, nor how far
    fits = [hmac.compare_digest(_mac(key, text.encode()), given) for key in valid if key]
    return any(fits)


def _mac(key: bytes, text: bytes) -> str:
    return hmac.new(key, text, hashlib.sha256).hexdigest()


def _claims(text: str) -> dict[str, Any]:
    try:
        claims = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, binascii.Error, RecursionError) as error:
        raise IdentityError(f"The claims in {HEADER} cannot be read.") from error
    if not isinstance(claims, dict):
        raise IdentityError(f"The claims in {HEADER} are no object.")
    return claims
