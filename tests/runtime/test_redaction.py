"""What the log says, and what it never says: secrets, personal data, and in Private nothing of what was said."""

import base64
import io
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentfleet.runtime.config import AgentConfig, ModelEndpoint, Privacy
from agentfleet.runtime.config_tools import Header, HttpTool, ToolEntry
from agentfleet.runtime.redaction import RedactingFormatter, Redactor, install, secret_files
from agentfleet.runtime.types import Mode, RunError


def _redactor(*files: Path, personal: bool = True, private: bool = False, clock: Any = lambda: 0.0) -> Redactor:
    return Redactor(files, personal=personal, private=private, clock=clock)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Authorization: Bearer abc.def-123456", "Authorization: Bearer ***"),
        ("headers={'authorization': 'Basic dXNlcjpwYXNz'}", "headers={'authorization': 'Basic ***'}"),
        ("sent bearer abcdefgh1234", "sent bearer ***"),
        ("Incorrect API key provided: sk-proj-abcDEF123456.", "Incorrect API key provided: ***."),
        ("redis://:hunter2@redis:6379/0", "redis://:***@redis:6379/0"),
        ("https://bob:hunter2@example.com/x", "https://bob:[EMAIL]/x"),
        ("GET /x?api_key=abcdef123&b=2", "GET /x?api_key=***&b=2"),
        ('{"password": "correct horse"}', '{"password": "***"}'),
        ("jwt eyJhbGciOiJub25l.eyJzdWIiOiJhIn0.sig", "jwt ***"),
        ("key AKIAIOSFODNN7EXAMPLE", "key ***"),
        ("token bucket is full, 5 tokens: fine", "token bucket is full, 5 tokens: fine"),
        ("mail from ann@example.com", "mail from [EMAIL]"),
        ("pod desk-agent-7d9f, 12 runs in 300 ms", "pod desk-agent-7d9f, 12 runs in 300 ms"),
    ],
)
def test_secrets_by_their_looks_and_personal_data(text: str, expected: str) -> None:
    assert _redactor().text(text) == expected


def test_personal_data_stays_where_it_is_not_asked_for_and_secrets_do_not() -> None:
    assert _redactor(personal=False).text("ann@example.com sk-abcdefgh12") == "ann@example.com ***"


def test_what_is_mounted_is_masked_in_any_form_and_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "header"
    file.write_text('Bearer pa"ss-word\n')
    now = 0.0
    redactor = _redactor(file, tmp_path / "none", clock=lambda: now)
    coded = base64.b64encode(b'Bearer pa"ss-word').decode()
    assert redactor.text(f'got pa"ss-word and {coded}') == "got *** and ***="
    file.write_text("fresh-value")
    os.utime(file, (5, 5))
    now = 2.0
    assert redactor.text('fresh-value, and pa"ss-word from before') == "***, and *** from before"


def test_short_values_do_not_blank_out_the_log(tmp_path: Path) -> None:
    (tmp_path / "value").write_text("run")
    assert _redactor(tmp_path / "value").text("a run has run") == "a run has run"


def test_a_long_message_is_cut() -> None:
    text = _redactor().text("word " * 20_000)
    assert len(text) < 33_000
    assert text.endswith("(100000 characters)")


def test_the_files_are_those_of_the_configuration() -> None:
    entry = ToolEntry("crm", HttpTool("http://crm", headers=(Header("x-key", "/h/key"),)))
    model = ModelEndpoint("http://model/v1", "m", key_file="/m/key")
    config = AgentConfig(name="a", namespace="n", url="u", revision="1", model=model, tools=(entry,))
    assert secret_files(config) == (Path("/m/key"), Path("/h/key"))


@pytest.fixture
def root() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """The root logger with one handler of its own, and the libraries' levels put back afterwards."""
    logger = logging.getLogger()
    before, level = list(logger.handlers), logger.level
    levels = {
        name: each.level for name, each in logging.Logger.manager.loggerDict.items() if isinstance(each, logging.Logger)
    }
    out = io.StringIO()
    logger.handlers = [logging.StreamHandler(out)]
    logger.setLevel(logging.DEBUG)
    yield logger, out
    logger.handlers, logger.level = before, level
    for name in list(logging.Logger.manager.loggerDict):
        logging.getLogger(name).setLevel(levels.get(name, logging.NOTSET))


def _install(mode: Mode, key: Path) -> None:
    root = logging.getLogger()
    root.handlers = [each for each in root.handlers if type(each) is logging.StreamHandler]  # not pytest's own
    key.write_text("mounted-key")
    model = ModelEndpoint("http://model/v1", "m", key_file=str(key))
    install(AgentConfig(name="a", namespace="n", url="u", revision="1", model=model, privacy=Privacy(mode=mode)))


def _fail() -> None:
    try:
        raise ValueError("input was: my name is Ann, mounted-key")
    except ValueError as error:
        raise RuntimeError("cannot answer 'my name is Ann'") from error


def _lines(out: io.StringIO) -> list[dict[str, str]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_in_standard_the_log_says_what_happened_without_secrets(
    root: tuple[logging.Logger, io.StringIO], tmp_path: Path
) -> None:
    _install("Standard", tmp_path / "key")
    logging.getLogger("openai").warning("retrying %s with %s", "my name is Ann", "mounted-key")
    try:
        _fail()
    except RuntimeError:
        logging.getLogger("agentfleet.runtime.runs").exception("run r1 failed", extra={"reason": "key mounted-key"})
    library, own = _lines(root[1])
    assert library["msg"] == "retrying my name is Ann with ***"
    assert own["reason"] == "key ***"
    assert "my name is Ann, ***" in own["exc"]
    assert "mounted-key" not in root[1].getvalue()


@pytest.mark.parametrize("mode", ["Private", "Offline"])
def test_in_private_nothing_of_what_was_said_is_in_the_log(
    root: tuple[logging.Logger, io.StringIO], tmp_path: Path, mode: Mode
) -> None:
    _install(mode, tmp_path / "key")
    for name in ("openai._base_client", "httpx", "agent_framework", "mcp.client", "asyncio", "some.library"):
        logging.getLogger(name).info("request: my name is Ann")
        logging.getLogger(name).warning("request %s", {"content": "my name is Ann"})
        try:
            _fail()
        except RuntimeError:
            logging.getLogger(name).exception("my name is Ann")
    try:
        _fail()
    except RuntimeError:
        logging.getLogger("agentfleet.runtime.runs").exception("run r1 failed")
    assert "Ann" not in root[1].getvalue()
    lines = _lines(root[1])
    assert not any(line["logger"].startswith("mcp") for line in lines)
    own = lines[-1]
    assert own["msg"] == "run r1 failed"
    assert own["exc"].splitlines()[0] == "builtins.RuntimeError"
    assert "builtins.ValueError" in own["exc"]
    assert " in _fail" in own["exc"]


def test_in_private_an_exception_in_a_message_says_its_type_unless_it_is_ours_or_the_systems() -> None:
    def said(error: Exception) -> str:
        record = logging.LogRecord("agentfleet.x", logging.INFO, "x.py", 7, "failed: %s", (error,), None)
        assert _redactor(private=True).filter(record)
        return record.getMessage()

    assert said(ValueError("my name is Ann")) == "failed: ValueError"
    assert said(RunError(503, "away", "Redis is away")) == "failed: Redis is away"
    assert said(OSError(28, "No space left")) == "failed: [Errno 28] No space left"


def test_a_message_that_cannot_be_formatted_does_not_show_its_arguments() -> None:
    record = logging.LogRecord("agentfleet.x", logging.INFO, "x.py", 7, "%d runs", ("secret",), None)
    redactor = _redactor()
    assert redactor.filter(record)
    assert json.loads(RedactingFormatter(redactor).format(record))["msg"] == (
        "a message of x:7 that cannot be formatted: TypeError"
    )
