"""How another agent learns who asks it: the headers that go with a call. Used by members.py's callers.

Within a namespace it is the identity of the caller, signed with the key that all agents there have. An agent of another
namespace has another key: to it this pod shows the token of its own service account, so the agent itself is the caller
there. The privacy mode goes along, as otherwise a private conversation would be a common one there.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from agentfleet.runtime import identity
from agentfleet.runtime.access import effective_mode
from agentfleet.runtime.types import Caller, Mode, ToolError

Proof = Callable[[Caller], Mapping[str, str]]
"""Headers for a call in the name of a caller."""


def signed(sign: Callable[[Caller], str] | None) -> Proof:
    """By the key of the namespace; nothing where it has none."""
    return lambda caller: {identity.HEADER: sign(caller)} if sign else {}


def by_token(file: Path, own: Mode) -> Proof:
    """By the pod's own token, which the kubelet renews, so it is read for each call."""

    def headers(caller: Caller) -> Mapping[str, str]:
        try:
            token = file.read_text(encoding="ascii").strip()
        except OSError as error:
            raise ToolError("the token that it is asked with cannot be read") from error
        return {"authorization": f"Bearer {token}", identity.MODE_HEADER: effective_mode(own, caller)}

    return headers
