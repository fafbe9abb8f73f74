"""The audit trail: what its lines say, that they form a chain, and that the chain shows what was done to them."""

import io
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentfleet.cli.main import main
from agentfleet.runtime import audit_file
from agentfleet.runtime.audit import AuditLog
from agentfleet.runtime.audit_chain import Chain, heads, purpose_key, verify
from agentfleet.runtime.config import AgentConfig, Privacy
from agentfleet.runtime.hooks import RunRecord
from agentfleet.runtime.metrics import Metrics
from agentfleet.runtime.tools.records import ToolRecord
from agentfleet.runtime.types import Approval, Caller, Mode, Task, Turn, Usage, Verdict

KEY, NOW = b"the namespace's key", 1_800_000_000.0
TASK = Task("r1", Caller("erin", frozenset({"red", "blue"})), (Turn("user", "what is 2+2?"),), user="u7")
RECORD = RunRecord("ok", 200, 1.25, 0.5, Usage(10, 3, 2), 12, 1, "5e55", answer="4")


def _config(mode: Mode = "Standard", *, content: bool = False) -> AgentConfig:
    privacy = Privacy(mode=mode, audit_content=content)
    return AgentConfig(name="desk", namespace="shop", url="http://desk", revision="1", privacy=privacy)


class Trail:
    """An AuditLog whose stdout is looked at."""

    def __init__(self, folder: Path | None = None, key: bytes | None = KEY, config: AgentConfig | None = None) -> None:
        self.out = io.BytesIO()
        self.log = AuditLog(config or _config(), folder=folder, key=key, out=self.out, clock=lambda: NOW)

    @property
    def texts(self) -> list[str]:
        return self.out.getvalue().decode().splitlines()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(text) for text in self.texts]


def test_what_the_lines_say() -> None:
    trail = Trail()
    trail.log.run(TASK, RECORD)
    trail.log.tool(ToolRecord(TASK, "find", "crm", "refused", "group", 0.01, 20, 0))
    trail.log.wanted(TASK, [Approval("a1", "pay", '{"sum": 5}')])
    trail.log.decided(TASK, [(Approval("a1", "pay", '{"sum": 5}'), Verdict("a1", approved=False, reason="too much"))])
    trail.log.refused(401, "invalid_token", None, "r2")
    trail.log.close()
    begin, run, tool, wanted, decided, refused, end = trail.lines
    who = {"request": "r1", "caller": "erin", "groups": ["blue", "red"], "user": "u7", "mode": "Standard"}
    assert (begin["kind"], begin["decision"], begin["agent"], begin["keyed"]) == ("begin", "new", "shop/desk", True)
    assert begin["ts"] == "2027-01-15T08:00:00.000+00:00"
    assert run.items() >= {
        **who, "kind": "run", "decision": "ok", "status": 200, "duration_ms": 1250, "waited_ms": 500,
        "input_tokens": 10, "output_tokens": 3, "model_calls": 2, "input_characters": 12, "output_characters": 1,
        "session": "5e55",
    }.items()  # fmt: skip
    assert tool.items() >= {**who, "kind": "tool", "tool": "find", "source": "crm", "decision": "refused"}.items()
    assert (tool["reason"], tool["duration_ms"], tool["input_characters"]) == ("group", 10, 20)
    assert wanted.items() >= {"kind": "approval", "decision": "wanted", "approval": "a1", "tool": "pay"}.items()
    assert decided.items() >= {"kind": "approval", "decision": "rejected", "approval": "a1", "tool": "pay"}.items()
    assert refused.items() >= {"kind": "refusal", "status": 401, "reason": "invalid_token", "caller": None}.items()
    assert refused["request"] == "r2"
    assert (end["kind"], end["seq"]) == ("end", 7)
    assert (7, end["hash"]) == trail.log.head
    assert verify(trail.texts, [KEY]).whole


@pytest.mark.parametrize("own", ["Standard", "Private", "Offline"])
@pytest.mark.parametrize("callers", ["Standard", "Private"])
@pytest.mark.parametrize("asked", [True, False])
def test_texts_only_where_asked_for_and_neither_side_is_private(own: Mode, callers: Mode, asked: bool) -> None:
    trail = Trail(config=_config(own, content=asked))
    task = Task("r1", Caller("erin", mode=callers), TASK.turns)
    trail.log.run(task, RECORD)
    trail.log.wanted(task, [Approval("a1", "pay", '{"sum": "secret-sum"}')])
    said = Verdict("a1", approved=True, reason="since 2+2 is secret-sum")
    trail.log.decided(task, [(Approval("a1", "pay", "{}"), said)])
    run, wanted, decided = trail.lines[1:]
    if asked and own == callers == "Standard":
        assert run["content"] == {"input": "what is 2+2?", "output": "4"}
        assert wanted["content"] == {"arguments": '{"sum": "secret-sum"}'}
        assert decided["content"] == {"reason": "since 2+2 is secret-sum"}
    else:
        assert not any("2+2" in text or "secret-sum" in text for text in trail.texts)


def test_odd_texts_are_lines_too() -> None:
    trail = Trail(config=_config(content=True))
    odd = 'a"b\\\n\u2028\x00 \ud800 é\U0001f600'
    trail.log.run(Task("r\n1", Caller("é"), (Turn("user", odd),), user="x" * 5000), RECORD)
    assert len(trail.out.getvalue().splitlines()) == 2
    assert trail.lines[1]["content"]["input"] == odd
    assert len(trail.lines[1]["user"]) == 256
    assert verify(trail.out.getvalue().decode().split("\n"), [KEY]).whole


def _chained(count: int, key: bytes | None = None, name: str = "c") -> list[str]:
    chain = Chain(name, purpose_key(key) if key else None)
    return [
        chain.line({"kind": "run", "number": number, **({"keyed": True} if key else {})}) for number in range(count)
    ]


@settings(max_examples=200, deadline=None)
@given(st.integers(3, 12), st.data(), st.sampled_from([None, KEY]))
def test_a_line_that_is_removed_changed_moved_or_repeated_shows(
    count: int, data: st.DataObject, key: bytes | None
) -> None:
    lines = _chained(count, key)
    keys = [key] if key else []
    assert verify(lines, keys).whole
    place = data.draw(st.integers(1, count - 2))
    what = data.draw(st.sampled_from(["remove", "change", "move", "repeat", "rechain"]))
    changed = list(lines)
    if what == "remove":
        del changed[place]
        expected = f"missing of chain c: {place + 1}"
    elif what == "change":
        changed[place] = changed[place].replace(f'"number":{place}', '"number":99')
        expected = f"line {place + 1} of chain c was changed"
    elif what == "move":
        changed[place], changed[place + 1] = changed[place + 1], changed[place]
        expected = f"missing of chain c: {place + 1}"
    elif what == "repeat":
        changed.insert(place, changed[place])
        expected = "repeated, or moved"
    else:
        # somebody without the key who computes the hash of the line that he changed
        parsed = json.loads(lines[place])
        forger = Chain("c", None, seq=place, prev=parsed["prev"])
        changed[place] = forger.line({"kind": "run", "number": 99, **({"keyed": True} if key else {})})
        expected = f"line {place + 1} of chain c, the one before, was replaced"
    report = verify(changed, keys)
    assert any(expected in problem.text for problem in report.problems)


def test_who_has_no_key_cannot_make_a_chain_that_fits() -> None:
    forged = _chained(3)
    assert verify(forged).whole
    assert len(verify(forged, [KEY]).problems) == 3
    assert len(verify(_chained(3, b"another"), [KEY]).problems) == 3
    assert verify(_chained(3, b"another"), [KEY, b"another"]).whole
    report = verify(_chained(3, KEY))
    assert (report.whole, [note.text for note in report.notes]) == (
        True,
        ["chain c has a key: give it, to see changed lines"],
    )


def test_chains_of_several_pods_may_be_mixed_and_json_written_anew() -> None:
    one, two = _chained(5, name="one"), _chained(5, name="two")
    mixed = [
        json.dumps(json.loads(line), indent=None, sort_keys=True)
        for pair in zip(one, two, strict=True)
        for line in pair
    ]
    report = verify(["", *mixed, "\n"])
    assert (report.whole, report.chains, report.lines) == (True, {"one": 5, "two": 5}, 10)
    del mixed[2]
    assert [problem.text for problem in verify(mixed).problems] == ["missing of chain one: 2"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("no JSON", "no audit line"),
        ("[]", "no JSON object"),
        ("[" * 100_000, "no audit line"),
        ('{"chain": "c", "seq": true, "prev": "", "hash": ""}', "it has no seq"),
        ('{"chain": "c", "seq": 1, "prev": "", "hash": "é"}', "its hash is none"),
        (_chained(1)[0].replace('"kind"', '"number":7,"kind"'), "a name comes twice"),
    ],
)
def test_what_is_no_line_of_it(line: str, message: str) -> None:
    assert message in verify([line]).problems[0].text


def test_the_chain_goes_on_after_a_restart(tmp_path: Path) -> None:
    texts: list[str] = []
    for _ in range(3):
        trail = Trail(tmp_path)
        trail.log.run(TASK, RECORD)
        trail.log.close()
        texts += trail.texts
    assert [json.loads(text).get("decision") for text in texts if '"begin"' in text] == [
        "new",
        "continued",
        "continued",
    ]
    assert (tmp_path / "audit.jsonl").read_text().splitlines() == texts
    report = verify(texts, [KEY])
    assert (report.whole, len(report.chains), report.lines) == (True, 1, 9)


def test_half_a_line_of_a_killed_process_goes_and_is_told(tmp_path: Path) -> None:
    first = Trail(tmp_path)
    first.log.run(TASK, RECORD)
    first.log.close()
    with (tmp_path / "audit.jsonl").open("a") as file:
        file.write('{"ts":"2027-01-15T08:0')
    second = Trail(tmp_path)
    second.log.close()
    assert second.lines[0]["torn"] is True
    assert verify((tmp_path / "audit.jsonl").read_text().splitlines(), [KEY]).whole


def test_a_file_whose_end_is_wrecked_begins_a_new_chain(tmp_path: Path) -> None:
    (tmp_path / "audit.jsonl").write_text("wrecked\n")
    trail = Trail(tmp_path)
    trail.log.close()
    assert (trail.lines[0]["decision"], trail.lines[0]["seq"]) == ("new", 1)


def test_files_are_bounded_and_the_chain_runs_through_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_file, "MAX_FILE", 3000)
    trail = Trail(tmp_path)
    for _ in range(60):
        trail.log.run(TASK, RECORD)
    trail.log.close()
    names = ["audit.4.jsonl", "audit.3.jsonl", "audit.2.jsonl", "audit.1.jsonl", "audit.jsonl"]
    assert sorted(path.name for path in tmp_path.glob("*.jsonl")) == sorted(names)
    assert all((tmp_path / name).stat().st_size <= 3000 for name in names)
    lines = [line for name in names for line in (tmp_path / name).read_text().splitlines()]
    report = verify(lines, [KEY])
    assert report.whole
    assert [note.text for note in report.notes] == [
        f"chain {trail.lines[0]['chain']} begins at {62 - len(lines) + 1}: what was before is not in this file"
    ]
    again = Trail(tmp_path)
    again.log.close()
    assert again.lines[0]["seq"] == 63


def test_two_processes_never_write_one_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = Trail(tmp_path), Trail(tmp_path)
    second.log.run(TASK, RECORD)
    first.log.close()
    second.log.close()
    assert "on stdout alone" in caplog.text
    assert (tmp_path / "audit.jsonl").read_text().splitlines() == first.texts
    assert verify(first.texts + second.texts, [KEY]).whole


def test_a_trail_that_cannot_be_written_is_one_error_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trail = Trail(tmp_path)
    trail.out.close()
    with caplog.at_level(logging.ERROR):
        for _ in range(5):
            trail.log.run(TASK, RECORD)
    assert caplog.text.count("has a gap from line 2 on: on stdout") == 1
    trail.log.close()
    assert verify((tmp_path / "audit.jsonl").read_text().splitlines(), [KEY]).lines == 7


def test_what_is_cut_off_at_the_end_and_a_chain_written_anew_show_from_the_metrics() -> None:
    trail, metrics = Trail(), Metrics()
    metrics.audit(trail.log.chain, lambda: trail.log.head)
    for _ in range(3):
        trail.log.run(TASK, RECORD)
    [known] = told = heads(metrics.page().decode())
    assert (known.chain, known.seq) == (trail.log.chain, 4)
    trail.log.run(TASK, RECORD)
    assert verify(trail.texts, [KEY], told).whole, "it has grown since"
    assert verify(trail.texts[:4], [KEY], told).whole
    [cut] = verify(trail.texts[:2], [KEY], told).problems
    assert cut.text == f"missing of chain {known.chain}: 3 to 4, its end"
    assert verify([], [KEY], told).problems
    anew = Chain(known.chain, purpose_key(KEY))
    [other] = verify([anew.line({"kind": "run", "keyed": True}) for _ in range(4)], [KEY], told).problems
    assert other.text.endswith("is not the one that /metrics told of")


def test_the_command_verifies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "key").write_bytes(KEY)
    lines = _chained(5, KEY)
    file = tmp_path / "audit.jsonl"
    file.write_text("\n".join(lines))
    words = ["audit", "verify", str(file), "--key", str(tmp_path / "key")]
    assert main(words) == 0
    assert capsys.readouterr().out == "chain c reaches line 5\n5 lines of 1 chains: whole\n"
    file.write_text("\n".join(lines[:1] + lines[3:]))
    assert main(words) == 3
    assert "line 2: missing of chain c: 2 to 3\n" in capsys.readouterr().out
    assert main([*words, "-o", "json"]) == 3
    assert json.loads(capsys.readouterr().out)["problems"] == [{"line": 2, "text": "missing of chain c: 2 to 3"}]
    assert main(["audit", "verify", str(tmp_path / "none")]) == 1
    assert "No such file" in capsys.readouterr().err
