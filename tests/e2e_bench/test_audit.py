import json
from pathlib import Path

import pytest

from e2e.bench.audit import AuditLog

USER = "system:serviceaccount:agentfleet-system:agentfleet"


def line(name: str, *, resource: str = "services", subresource: str = "", code: int = 201, second: int = 1) -> bytes:
    reference = {"resource": resource, "namespace": "demo", "name": name, "apiVersion": "v1"}
    if subresource:
        reference["subresource"] = subresource
    event = {
        "kind": "Event",
        "level": "Metadata",
        "stage": "ResponseComplete",
        "verb": "patch",
        "user": {"username": USER},
        "objectRef": reference,
        "responseStatus": {"metadata": {}, "code": code},
        "requestReceivedTimestamp": f"2026-11-21T10:00:0{second}.000000Z",
        "stageTimestamp": f"2026-11-21T10:00:0{second}.250000Z",
    }
    return json.dumps(event).encode() + b"\n"


@pytest.fixture
def log(tmp_path: Path) -> tuple[Path, AuditLog]:
    path = tmp_path / "audit.log"
    return path, AuditLog(path)


def append(path: Path, text: bytes) -> None:
    with path.open("ab") as file:
        file.write(text)


def test_a_log_that_is_not_there_yet_is_empty(log: tuple[Path, AuditLog]) -> None:
    assert log[1].writes(USER, "demo") == []
    assert log[1].first(USER, "demo") == {}


def test_a_line_counts_once_it_is_whole(log: tuple[Path, AuditLog]) -> None:
    path, audit = log
    text = line("a") + line("b")
    append(path, text[:-20])
    assert [write.name for write in audit.writes(USER, "demo")] == ["a"]
    append(path, text[-20:])
    assert [write.name for write in audit.writes(USER, "demo")] == ["a", "b"]


def test_sub_resources_are_resources_of_their_own(log: tuple[Path, AuditLog]) -> None:
    path, audit = log
    append(path, line("a", resource="modelservers", subresource="status"))
    (write,) = audit.writes(USER, "demo")
    assert write.resource == "modelservers/status"
    assert write.completed - write.received == pytest.approx(0.25)


def test_the_first_success_is_what_makes_an_object_present(log: tuple[Path, AuditLog]) -> None:
    path, audit = log
    append(path, line("a", code=409, second=1) + line("a", second=2) + line("a", code=200, second=3))
    assert len(audit.writes(USER, "demo")) == 3
    first = audit.first(USER, "demo")["services", "a"]
    assert first.code == 201


def test_users_and_namespaces_are_kept_apart(log: tuple[Path, AuditLog]) -> None:
    path, audit = log
    append(path, line("a"))
    assert audit.writes("bench", "demo") == []
    assert audit.writes(USER, "other") == []
