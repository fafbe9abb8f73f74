"""Who is let in, by which proof, and what those are told who are not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agentfleet.runtime.access import AccessCheck, allowed, effective_mode, stricter
from agentfleet.runtime.config import Access, Grant
from agentfleet.runtime.identity import sign
from agentfleet.runtime.types import Caller, Mode, RunError

KEY, NOW = b"the namespace's key", 1_800_000_000.0
ROBOT = Caller("system:serviceaccount:shop:robot", frozenset({"system:serviceaccounts"}))
ERIN = Caller("erin", frozenset({"red"}), "Private")


class Reviewer:
    """Believes one token; anything called `away` finds no API server."""

    closed = False

    async def review(self, token: str) -> Caller | None:
        if token == "away":
            raise RunError(503, "token_review_unavailable", "later", retry_after=5)
        return ROBOT if token == "good" else None

    async def close(self) -> None:
        self.closed = True


Refusals = list[tuple[int, str, str | None, str]]


@pytest.fixture
def key(tmp_path: Path) -> str:
    path = tmp_path / "key"
    path.write_bytes(KEY)
    return str(path)


def _check(refusals: Refusals | None = None, **settings: Any) -> AccessCheck:
    return AccessCheck(
        Access(**settings),
        reviewer=Reviewer(),
        refused=lambda *told: (refusals if refusals is not None else []).append(told),
        clock=lambda: NOW,
    )


async def test_by_signature_and_by_token(key: str) -> None:
    grants = (Grant(groups=("red",)), Grant(service_accounts=("shop:robot",)))
    check = _check(allow=grants, identity_key_file=key)
    assert await check.caller({"x-agentfleet-identity": sign(KEY, ERIN, NOW)}, "r1") == ERIN
    assert await check.caller({"authorization": "bearer  good"}, "r1") == ROBOT
    # a client's own key, which the gateway passes on, does not count beside what the gateway signs
    both = {"x-agentfleet-identity": sign(KEY, ERIN, NOW), "authorization": "Bearer sk-client"}
    assert await check.caller(both, "r1") == ERIN


async def test_with_a_token_a_stricter_mode_may_be_asked_for() -> None:
    check = _check(allow=(Grant(service_accounts=("shop:robot",)),))
    asking = {"authorization": "Bearer good", "x-agentfleet-mode": "Private"}
    assert await check.caller(asking, "r1") == replace(ROBOT, mode="Private")
    with pytest.raises(RunError, match="x-agentfleet-mode is none of Standard, Private, Offline"):
        await check.caller(asking | {"x-agentfleet-mode": "private"}, "r1")


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "unauthorized"),
        ({"authorization": "Bearer "}, 401, "unauthorized"),
        ({"authorization": "Basic Z29vZA=="}, 401, "unauthorized"),
        ({"authorization": "Bearer bad"}, 401, "invalid_token"),
        ({"authorization": "Bearer away"}, 503, "token_review_unavailable"),
        ({"x-agentfleet-identity": ""}, 401, "invalid_identity"),
        ({"x-agentfleet-identity": sign(b"another", ERIN, NOW)}, 401, "invalid_identity"),
        ({"x-agentfleet-identity": sign(KEY, ERIN, NOW - 100)}, 401, "invalid_identity"),
        # a wrong signature is not made good by a token
        ({"x-agentfleet-identity": "a.b", "authorization": "Bearer good"}, 401, "invalid_identity"),
    ],
)
@pytest.mark.parametrize("default", ["Deny", "Allow"])
async def test_nobody_is_let_in_unproved(
    key: str, default: str, headers: dict[str, str], status: int, code: str
) -> None:
    refusals: Refusals = []
    check = _check(refusals, default=default, allow=(Grant(groups=("red",)),), identity_key_file=key)
    with pytest.raises(RunError) as raised:
        await check.caller(headers, "r1")
    assert (raised.value.status, raised.value.code) == (status, code)
    assert refusals == [(status, code, None, "r1")]


async def test_who_is_known_but_not_meant_is_forbidden(key: str) -> None:
    refusals: Refusals = []
    check = _check(refusals, allow=(Grant(groups=("blue",)),), identity_key_file=key)
    with pytest.raises(RunError) as raised:
        await check.caller({"x-agentfleet-identity": sign(KEY, ERIN, NOW)}, "r1")
    assert (raised.value.status, raised.value.code) == (403, "forbidden")
    assert refusals == [(403, "forbidden", "erin", "r1")]


@pytest.mark.parametrize(
    ("access", "caller", "expected"),
    [
        (Access(), ERIN, False),
        (Access(allow=(Grant(),)), ERIN, False),
        (Access(default="Allow"), ERIN, True),
        (Access(allow=(Grant(groups=("green", "red")),)), ERIN, True),
        (Access(allow=(Grant(groups=("system:serviceaccounts",)),)), ROBOT, True),
        (Access(allow=(Grant(service_accounts=("shop:robot",)),)), ROBOT, True),
        (Access(allow=(Grant(service_accounts=("shop:other",)),)), ROBOT, False),
        # somebody with a key of that name is no service account
        (Access(allow=(Grant(service_accounts=("shop:robot",)),)), Caller("shop:robot"), False),
    ],
)
def test_rules(access: Access, caller: Caller, expected: bool) -> None:
    assert allowed(access, caller) is expected


async def test_where_nobody_can_be_known_allow_means_everybody_and_deny_nobody() -> None:
    assert await _check(default="Allow", token_review=False).caller({}, "r1") == Caller("anonymous")
    with pytest.raises(RunError, match="knows no way"):
        await _check(token_review=False).caller({}, "r1")
    with pytest.raises(RunError, match="is not believed here"):
        await _check(default="Allow", token_review=False).caller({"x-agentfleet-identity": "a.b"}, "r1")


async def test_a_key_that_cannot_be_read_is_503(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    check = _check(identity_key_file=str(tmp_path / "none"))
    with pytest.raises(RunError) as raised:
        await check.caller({"x-agentfleet-identity": sign(KEY, ERIN, NOW)}, "r1")
    assert raised.value.status == 503
    assert "cannot be read" in caplog.text


def test_tokens_without_a_reviewer_are_a_mistake_at_the_start() -> None:
    with pytest.raises(ValueError, match="nobody to review"):
        AccessCheck(Access(), reviewer=None, refused=lambda *_: None, clock=lambda: NOW)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [("Standard", "Private", "Private"), ("Offline", "Private", "Offline"), ("Standard", "Standard", "Standard")],
)
def test_the_stricter_mode_wins(one: Mode, other: Mode, expected: Mode) -> None:
    assert stricter(one, other) == stricter(other, one) == effective_mode(one, Caller("a", mode=other)) == expected
