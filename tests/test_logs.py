"""logs.py: one line of JSON for each record, with an object's key and without credentials."""

import json
import logging
import subprocess
import sys
from typing import Any

import pytest

from agentfleet.logs import JsonFormatter


def line(message: str, *arguments: object, **extra: Any) -> dict[str, str]:
    record = logging.LogRecord(
        "agentfleet.x", logging.WARNING, "x.py", 1, message, arguments, extra.pop("exc_info", None)
    )
    vars(record).update(extra)
    text = JsonFormatter().format(record)
    assert "\n" not in text
    parsed: dict[str, str] = json.loads(text)
    return parsed


def test_a_line_has_what_is_needed() -> None:
    found = line("retried in %.1f s\nsoon", 2.0, key="ModelServer/default/llama", reason="NotYet", headers={"a": "b"})
    assert found.pop("ts").endswith("+00:00")
    assert found == {
        "level": "WARNING",
        "logger": "agentfleet.x",
        "msg": "retried in 2.0 s\nsoon",
        "key": "ModelServer/default/llama",
        "reason": "NotYet",
    }


def test_of_libraries_what_nobody_can_use_is_left_out() -> None:
    names = ("agent_framework", "agent_framework._workflows._runner", "a2a.client.card_resolver", "uvicorn.error")
    program = f"""
import logging
from agentfleet import logs
logs.configure("INFO")
for name in {names}:
    logging.getLogger(name).info("Function pay succeeded.")
    logging.getLogger(name).warning("%s", name)
logging.getLogger("agentfleet.x").info("ours")
"""
    done = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True, check=True)
    assert [json.loads(line)["msg"] for line in done.stderr.splitlines()] == [*names, "ours"]


def test_a_traceback_is_one_field() -> None:
    try:
        raise ZeroDivisionError("a bug")
    except ZeroDivisionError as error:
        found = line("failed", exc_info=(type(error), error, error.__traceback__))
    assert found["exc"].endswith("ZeroDivisionError: a bug")


def test_kopfs_objects_have_a_key() -> None:
    reference = {"apiVersion": "v1", "kind": "Pod", "name": "p", "namespace": "default", "uid": "u"}
    assert line("seen", k8s_ref=reference)["key"] == "Pod/default/p"


@pytest.mark.parametrize(
    "text",
    [
        "headers: {'Authorization': 'Bearer eyJhbGciOi.J9-_x=='}",
        "sent bearer abcdefgh12345",
        "Basic dXNlcjpwYXNz",
        "token hf_abcdefghij is gated",
    ],
)
def test_credentials_are_masked(text: str) -> None:
    message = line("%s", text)["msg"]
    assert "***" in message
    assert not any(secret in message for secret in ("eyJ", "abcdefgh", "dXNl"))
