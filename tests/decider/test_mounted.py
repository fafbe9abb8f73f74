"""Mounted Secrets: forms of entries, what is skipped, and the kubelet's swap of folders."""

import hashlib
import logging
import stat
from pathlib import Path

import pytest

from agentfleet.decider import mounted
from agentfleet.decider.files import map_text, write_map
from agentfleet.decider.mounted import parse_key
from agentfleet.decider.paths import Paths
from agentfleet.decider.prepare import NotPrepared, prepare
from agentfleet.decider.public_keys import told

SECRET = "sk-very-secret-1"
DIGEST = hashlib.sha256(SECRET.encode()).hexdigest()
RSA_PEM = """-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAu1SU1LfVLPHCozMxH2Mo
4lgOEePzNm0tRgeLezV6ffAt0gunVTLw7onLRnrq0/IzW7yWR7QkrmBL7jTKEn5u
+qKhbwKfBstIs+bMY2Zkp18gnTxKLxoS2tFczGkPLPgizskuemMghRniWaoLcyeh
kd3qqGElvW/VDL5AaWTg0nLVkjRo9z+40RQzuVaE8AkAFmxZzow3x+VJYKdjykkJ
0iT9wCS0DRTXu269V264Vf/3jvredZiKRkgwlL9xNAwxXFg0x/XFw005UWVRIkdg
cKWTjpBP2dPwVZ4WWC+9aGVd+Gyn1o0CLelf4rEjGoXbAAEgAqeGUxrcIlbjXfbc
mwIDAQAB
-----END PUBLIC KEY-----
"""


@pytest.mark.parametrize(
    ("value", "groups"),
    [
        (SECRET, ()),
        (f"{SECRET}\n", ()),
        (f"sha256:{DIGEST}", ()),
        (f"sha256:{DIGEST.upper()}\n", ()),
        (f"{SECRET} groups=staff", ("staff",)),
        (f"sha256:{DIGEST} groups=b,a,b\n", ("a", "b")),
    ],
)
def test_forms_of_a_key(value: str, groups: tuple[str, ...]) -> None:
    assert parse_key(value) == (DIGEST, groups)


@pytest.mark.parametrize(
    "value",
    ["", " \n", "sha256:abc", f"sha256:{DIGEST}0", f"{SECRET} other", f"{SECRET} groups=a b", f"{SECRET} groups=",
     f"{SECRET} groups=a,,b", f"{SECRET} groups=a;b", "schlüssel", "a\x00b"],
)  # fmt: skip
def test_what_is_no_key_is_refused_without_its_value(value: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_key(value)
    assert SECRET not in str(refused.value)
    assert DIGEST not in str(refused.value)


def mount(folder: Path, version: str, entries: dict[str, str]) -> None:
    """As the kubelet does it: a new folder, then one link is replaced."""
    root = folder / f"..{version}"
    root.mkdir(parents=True)
    for name, value in entries.items():
        (root / name).write_text(value)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    link = folder / "..data_tmp"
    link.symlink_to(root.name)
    link.replace(folder / "..data")


def test_a_mounted_secret_is_read_and_bad_entries_are_named_by_client(paths: Paths) -> None:
    mount(paths.keys, "1", {"alice": f"{SECRET} groups=b,a", "bob": "sha256:nonsense", "carl": SECRET, ".dot": "other"})
    mount(paths.credentials / "t1", "1", {"apiKey": "sk-cloud\n"})
    mount(paths.credentials / "t2", "1", {"wrong": "sk-cloud"})
    found = mounted.read(paths)
    other = hashlib.sha256(b"other").hexdigest()
    assert found.keys == {DIGEST: "alice", other: ".dot"}
    assert found.groups == {"alice": "a,b"}
    assert found.credentials == {"t1": "sk-cloud"}
    said = "\n".join(found.skipped)
    assert "client bob" in said
    assert "client carl: client alice has the same key" in said
    assert "target t2" in said
    assert "nonsense" not in said


def test_secrets_that_are_not_there_or_have_no_usable_key_are_named(paths: Paths) -> None:
    paths.keys.rmdir()
    assert mounted.lacking(paths) == [], "none is mounted"
    for folder in ("keys", "t0", "t1", "intent"):  # as the kubelet mounts an optional Secret that is not there
        mount(paths.keys if folder == "keys" else paths.credentials / folder, "1", {})
    assert mounted.lacking(paths) == ["keys", "intent", "t0", "t1"]
    mount(paths.keys, "2", {"alice": "two words", "bob": SECRET})
    mount(paths.credentials / "t1", "2", {"apiKey": "two words"})
    mount(paths.credentials / "intent", "2", {"apiKey": SECRET})
    assert mounted.lacking(paths) == ["t0", "t1"]
    mount(paths.credentials / "t0", "2", {"apiKey": f"{SECRET}\n"})
    mount(paths.credentials / "t1", "3", {"apiKey": SECRET})
    assert mounted.lacking(paths) == []


def test_a_swap_by_the_kubelet_is_seen(paths: Paths) -> None:
    mount(paths.keys, "1", {"alice": "one"})
    before = mounted.read(paths)
    mount(paths.keys, "2", {"bob": "two"})
    assert set(before.keys.values()) == {"alice"}
    assert set(mounted.read(paths).keys.values()) == {"bob"}


def test_a_map_is_private_sorted_and_replaced_at_once(paths: Paths) -> None:
    path = paths.keys_map
    path.with_name(".keys.map.new").write_text("left by a process that was killed")
    write_map(path, {"b": "2", "a": "1"})
    assert path.read_text() == map_text({"a": "1", "b": "2"}) == "a 1\nb 2\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["keys.map"]


def test_prepare_writes_every_map_also_empty_ones(paths: Paths, caplog: pytest.LogCaptureFixture) -> None:
    mount(paths.keys, "1", {"alice": f"{SECRET} groups=a", "bob": f"{SECRET}-2 nonsense"})
    paths.identity.write_bytes(b"\x00key\n")
    with caplog.at_level(logging.INFO):
        prepare(paths, {"route": "spent"})
    assert paths.keys_map.read_text() == f"{DIGEST} alice\n"
    assert paths.groups_map.read_text() == "alice a\n"
    assert paths.credentials_map.read_text() == ""
    assert paths.budgets_map.read_text() == "route spent\n"
    assert paths.identity_map.read_text() == "key AGtleQo=\n"
    paths.identity.with_name(f"{paths.identity.name}.previous").write_bytes(b"old")
    prepare(paths, {})
    assert paths.identity_map.read_text() == "key AGtleQo=\nprevious b2xk\n"
    password = paths.decider_map.read_text()
    assert len(password) == len("decider") + 66
    prepare(paths, {})
    assert paths.decider_map.read_text() == password
    assert "client bob" in caplog.text
    assert "1 entries skipped" in caplog.text
    assert SECRET not in caplog.text


def test_public_keys_fill_all_slots(paths: Paths) -> None:
    paths.jwt.mkdir()
    (paths.jwt / "a.pem").write_text("nonsense")
    (paths.jwt / "b.pem").write_text(RSA_PEM)
    prepare(paths, {})
    assert [paths.jwt_slot(slot).read_text() for slot in range(4)] == [RSA_PEM] * 4


def test_tokens_without_a_sound_public_key_keep_haproxy_from_starting(paths: Paths) -> None:
    paths.jwt.mkdir()
    (paths.jwt / "a.pem").write_text(RSA_PEM.replace("MIIB", "MIIC"))
    with pytest.raises(NotPrepared, match=r"\.pem with an RSA"):
        prepare(paths, {})


def test_what_is_told_of_public_keys(paths: Paths) -> None:
    assert told(paths) == {}
    paths.jwt.mkdir()
    (paths.jwt / "a.pem").write_text(RSA_PEM)
    prepare(paths, {})
    before = told(paths)
    assert before["loaded"] == before["mounted"]
    (paths.jwt / "b.pem").write_text("nonsense")
    assert told(paths) == before, "what is skipped changes nothing"
    (paths.jwt / "b.pem").write_text(RSA_PEM + "\n")
    after = told(paths)
    assert (after["loaded"], after["mounted"] != before["mounted"]) == (before["loaded"], True)
    for name in ("a", "b"):
        (paths.jwt / f"{name}.pem").unlink()
    assert told(paths) == {"loaded": before["loaded"]}, "no pod could start: no reason to replace what runs"
