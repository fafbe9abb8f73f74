"""Who may ask the agent: from a request's headers to a Caller, or to 401, 403, 503.

server.py asks this first of all, for every protocol. A caller is believed by the signature of a gateway or of another
agent (identity.py), or by the token of a service account that the API server vouches for (token_review.py).

Sessions, approvals and audit have an owner, so callers of a route without auth are one caller, who is `anonymous`:
`default: Allow` lets that one in. So it does where nothing is set up by which a caller could be known (no key, no
TokenReview).
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from agentfleet.runtime import identity
from agentfleet.runtime.config import Access, Grant
from agentfleet.runtime.types import Caller, Mode, RunError

log = logging.getLogger(__name__)

ANONYMOUS = identity.ANONYMOUS
_SERVICE_ACCOUNT = "system:serviceaccount:"
_STRICTNESS: tuple[Mode, ...] = ("Standard", "Private", "Offline")

Refused = Callable[[int, str, str | None, str], None]
"""Told of each refusal: status, code, subject where it was proved, request id."""


class Reviewer(Protocol):
    """Judges tokens."""

    async def review(self, token: str) -> Caller | None:
        """Whose it is; None where it is not believed. RunError 503 where that cannot be told now."""
        ...

    async def close(self) -> None:
        """Give connections back."""


def stricter(one: Mode, other: Mode) -> Mode:
    """Of two privacy modes."""
    return max(one, other, key=_STRICTNESS.index)


def effective_mode(own: Mode, caller: Caller) -> Mode:
    """The mode of a run: the agent's, or the caller's if that is stricter."""
    return stricter(own, caller.mode)


def allowed(access: Access, caller: Caller) -> bool:
    """Whether the rules let this caller in."""
    return access.default == "Allow" or any(_granted(grant, caller) for grant in access.allow)


def _granted(grant: Grant, caller: Caller) -> bool:
    account = caller.subject.removeprefix(_SERVICE_ACCOUNT)
    is_account = account != caller.subject
    return not caller.groups.isdisjoint(grant.groups) or (is_account and account in grant.service_accounts)


def _asked_mode(headers: Mapping[str, str]) -> Mode:
    asked = headers.get(identity.MODE_HEADER, _STRICTNESS[0])
    for mode in _STRICTNESS:
        if mode == asked:
            return mode
    raise RunError(400, "invalid_mode", f"{identity.MODE_HEADER} is none of {', '.join(_STRICTNESS)}.")


class AccessCheck:
    """hooks.Access."""

    def __init__(
        self, access: Access, *, reviewer: Reviewer | None, refused: Refused, clock: Callable[[], float]
    ) -> None:
        if access.token_review and reviewer is None:
            raise ValueError("access: token_review is on, and there is nobody to review tokens")
        self._access = access
        self._reviewer = reviewer if access.token_review else None
        self._refused = refused
        self._clock = clock

    async def caller(self, headers: Mapping[str, str], request: str) -> Caller:
        """Headers by their names in small letters."""
        try:
            caller = await self._proved(headers)
        except RunError as error:
            self._refused(error.status, error.code, None, request)
            raise
        if not allowed(self._access, caller):
            self._refused(403, "forbidden", caller.subject, request)
            raise RunError(403, "forbidden", "You may not ask this agent: none of its access rules lets you in.")
        return caller

    async def close(self) -> None:
        """Give connections back."""
        if self._reviewer:
            await self._reviewer.close()

    async def _proved(self, headers: Mapping[str, str]) -> Caller:
        signed = headers.get(identity.HEADER)
        if signed is not None:
            return self._by_signature(signed)
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if self._reviewer and scheme.lower() == "bearer" and token.strip():
            caller = await self._reviewer.review(token.strip())
            if caller is None:
                raise RunError(401, "invalid_token", f"The token is not one for audience {self._access.audience}.")
            return replace(caller, mode=_asked_mode(headers))
        if self._access.default == "Allow" and not self._reviewer and self._access.identity_key_file is None:
            return Caller(ANONYMOUS)
        raise RunError(401, "unauthorized", self._how())

    def _by_signature(self, value: str) -> Caller:
        if self._access.identity_key_file is None:
            raise RunError(401, "invalid_identity", f"{identity.HEADER} is not believed here.")
        try:
            valid = identity.keys(Path(self._access.identity_key_file))
        except OSError as error:
            # closed, and said apart from a wrong signature: the caller may have done everything right
            log.error("the key that identities are signed with cannot be read: %s", error)
            raise RunError(
                503, "identity_key_unavailable", "Who is calling cannot be told now.", retry_after=5
            ) from error
        try:
            return identity.verify(valid, value, self._clock())
        except identity.IdentityError as error:
            raise RunError(401, "invalid_identity", str(error)) from error

    def _how(self) -> str:
        ways = []
        if self._access.identity_key_file is not None:
            ways.append("ask through an AgentRoute")
        if self._reviewer:
            ways.append(f"send a service account's token for audience {self._access.audience} (Authorization: Bearer)")
        if not ways:
            return "This agent knows no way to tell callers."
        told = " or ".join(ways)
        return f"Who is calling? {told[0].upper()}{told[1:]}."
