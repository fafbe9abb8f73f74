"""Signed identities: what is believed, and what is not."""

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentfleet.runtime.identity import HEADER, IdentityError, keys, sign, verify
from agentfleet.runtime.types import Caller, Mode
from tests.gateway.dataplane import gateway

KEY, OLD, NOW = b"the namespace's key", b"the one before", 1_800_000_000.0
ERIN = Caller("erin", frozenset({"red", "blue"}), "Private")


def _signed(claims: Any, key: bytes = KEY) -> str:
    text = base64.urlsafe_b64encode(claims if isinstance(claims, bytes) else json.dumps(claims).encode()).rstrip(b"=")
    return f"{text.decode()}.{hmac.new(key, text, hashlib.sha256).hexdigest()}"


@given(st.text(min_size=1, max_size=20), st.frozensets(st.text(max_size=10)), st.sampled_from(["Private", "Offline"]))
def test_what_is_signed_is_believed(subject: str, groups: frozenset[str], mode: Mode) -> None:
    caller = Caller(subject, groups, mode)
    value = sign(KEY, caller, NOW)
    assert value.isascii()
    assert verify([KEY], value, NOW) == caller


def test_it_has_the_form_that_gateways_write_and_read() -> None:
    text, mac = sign(KEY, ERIN, NOW, ttl=90).split(".")
    assert mac == hmac.new(KEY, text.encode(), hashlib.sha256).hexdigest()
    assert "=" not in text
    claims = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    assert claims == {"sub": "erin", "groups": ["blue", "red"], "mode": "Private", "exp": int(NOW) + 90}


def test_what_a_real_gateway_takes_is_taken_here() -> None:
    caller = verify([gateway.IDENTITY_KEY], gateway.identity()[HEADER], time.time())
    assert caller == Caller("erin", frozenset({"red"}), "Private")


def test_who_calls_a_route_without_auth_is_anonymous() -> None:
    signed = _signed({"sub": "", "groups": [], "mode": "Standard", "exp": NOW + 60})
    assert verify([KEY], signed, NOW) == Caller("anonymous")


def test_both_keys_hold_while_one_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(KEY)
    assert keys(path) == (KEY,)
    (tmp_path / "key.previous").write_bytes(OLD)
    assert keys(path) == (KEY, OLD)
    for key in (KEY, OLD):
        assert verify(keys(path), sign(key, ERIN, NOW), NOW) == ERIN
    with pytest.raises(IdentityError):
        verify([KEY], sign(OLD, ERIN, NOW), NOW)


def test_it_holds_until_it_runs_out_give_or_take_what_clocks_differ() -> None:
    value = sign(KEY, ERIN, NOW, ttl=60)
    assert verify([KEY], value, NOW + 89)
    with pytest.raises(IdentityError, match="has run out"):
        verify([KEY], value, NOW + 91)


CLAIMS = {"sub": "erin", "groups": ["red"], "mode": "Private", "exp": NOW + 60}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sub": None}, "no sub"),
        ({"sub": ["erin"]}, "no sub"),
        ({"groups": "red"}, "no list"),
        ({"groups": [1]}, "no list"),
        ({"mode": "Open"}, "none of Standard, Private, Offline"),
        ({"mode": None}, "none of"),
        ({"mode": ["Private"]}, "none of"),
        ({"exp": None}, "no exp"),
        ({"exp": True}, "no exp"),
        ({"exp": "9999999999"}, "no exp"),
        ({"exp": float("inf")}, "no exp"),
        ({"exp": 1}, "has run out"),
    ],
)
def test_claims_that_are_signed_but_wrong(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(IdentityError, match=message):
        verify([KEY], _signed(CLAIMS | changes), NOW)


@pytest.mark.parametrize("claims", [b"no JSON", b"[]", b"\xff", b"[" * 5000])
def test_what_is_signed_but_no_claims(claims: bytes) -> None:
    with pytest.raises(IdentityError, match=HEADER):
        verify([KEY], _signed(claims), NOW)


@pytest.mark.parametrize(
    "value",
    [
        "", ".", "a.b", "a.", _signed(CLAIMS, b"another"), _signed(CLAIMS)[:-1], _signed(CLAIMS).upper(), "é.é",
        _signed(CLAIMS) + "0", _signed(CLAIMS).split(".")[0], "x" * 100_000, _signed(CLAIMS).replace(".", ".."),
    ],
)  # fmt: skip
def test_what_is_not_signed(value: str) -> None:
    with pytest.raises(IdentityError, match="signature"):
        verify([KEY, OLD], value, NOW)


def test_without_a_key_nothing_is_believed_or_signed() -> None:
    for valid in ([], [b""]):
        with pytest.raises(IdentityError):
            verify(valid, _signed(CLAIMS, b""), NOW)
    with pytest.raises(ValueError, match="empty"):
        sign(b"", ERIN, NOW)
