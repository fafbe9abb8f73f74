"""The audit trail: one JSON line for each run, tool call, approval, refusal and guardrail that masked or warns.

On stdout and on the pod's disk.
hooks.Audit, ToolAudit of tools/records.py and the `refused` of access.py. Lines say who, what, how it was decided, how
long it took and how much it was; texts only where the agent asks for them (privacy.audit_content) and the run's mode is
Standard. They are chained (audit_chain.py): `kubectl agentfleet audit verify FILE` shows what is not whole.

Nothing here raises: a trail that cannot be written is an error in the log, and the disk's trouble is not stdout's.
"""

import logging
import os
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from agentfleet.runtime.access import effective_mode
from agentfleet.runtime.audit_chain import Chain, purpose_key
from agentfleet.runtime.audit_file import AuditFile
from agentfleet.runtime.config import AgentConfig
from agentfleet.runtime.hooks import GuardrailRecord, RunRecord
from agentfleet.runtime.tools.records import ToolRecord
from agentfleet.runtime.types import Approval, Task, Verdict

log = logging.getLogger(__name__)

_MAX_NAME = 256
"""Characters of what clients choose: ids, users, reasons."""
_MAX_CONTENT = 65_536
_SYNC_EVERY = 1.0


class AuditLog:
    """The trail of one process."""

    def __init__(
        self, config: AgentConfig, *, folder: Path | None, key: bytes | None, out: IO[bytes], clock: Callable[[], float]
    ) -> None:
        """`key` is the namespace's; without one, the chain shows accidents only."""
        self._agent = f"{config.namespace}/{config.name}"
        self._privacy = config.privacy
        self._out = out
        self._clock = clock
        self._synced = clock()
        self._troubled = False
        self._one_line = threading.Lock()  # large texts are judged in a thread
        self._keyed = bool(key)
        self._replica = os.environ.get("HOSTNAME", "")
        self._file = _opened(folder) if folder else None
        last = self._file.last if self._file else None
        purpose = purpose_key(key) if key else None
        if last:
            self._chain = Chain(last["chain"], purpose, seq=last["seq"], prev=last["hash"])
        else:
            self._chain = Chain(f"{self._replica}-{secrets.token_hex(6)}".lstrip("-"), purpose)
        self._begin(continued=last is not None)

    @property
    def chain(self) -> str:
        """Its name in each line."""
        return self._chain.name

    @property
    def head(self) -> tuple[int, str]:
        """Number and hash of the last line: what a copy must have if nothing was cut off."""
        return self._chain.seq, self._chain.prev

    def run(self, task: Task, record: RunRecord) -> None:
        """A run ended."""
        said = {"input": _spoken(task), "output": record.answer[:_MAX_CONTENT]}
        self._write(
            "run",
            **self._who(task),
            decision=record.outcome,
            reason=record.reason[:_MAX_NAME],
            status=record.status,
            duration_ms=round(record.duration * 1000),
            waited_ms=round(record.waited * 1000),
            input_tokens=record.usage.input,
            output_tokens=record.usage.output,
            model_calls=record.usage.calls,
            input_characters=record.input_characters,
            output_characters=record.output_characters,
            session=record.session,
            **self._content(task, said),
        )

    def tool(self, record: ToolRecord) -> None:
        """A tool was called, or refused."""
        self._write(
            "tool",
            **self._who(record.task),
            tool=record.tool[:_MAX_NAME],
            source=record.source,
            decision=record.outcome,
            reason=record.reason[:_MAX_NAME],
            duration_ms=round(record.seconds * 1000),
            input_characters=record.input_length,
            output_characters=record.output_length,
        )

    def guardrail(self, task: Task, record: GuardrailRecord) -> None:
        """A guardrail has masked, or warns; of one that rejects the run's line tells."""
        self._write(
            "guardrail",
            **self._who(task),
            side=record.side,
            guardrail=record.index,
            type=record.kind,
            decision="masked" if record.action == "Mask" else "warned",
            reason=record.found[:_MAX_NAME],
            texts=record.texts,
        )

    def wanted(self, task: Task, approvals: Sequence[Approval]) -> None:
        """Calls of tools wait for a person."""
        for approval in approvals:
            self._write(
                "approval",
                **self._who(task),
                decision="wanted",
                approval=approval.id,
                tool=approval.tool,
                input_characters=len(approval.arguments),
                **self._content(task, {"arguments": approval.arguments[:_MAX_CONTENT]}),
            )

    def decided(self, task: Task, decisions: Sequence[tuple[Approval, Verdict]]) -> None:
        """Somebody who may has decided."""
        for approval, verdict in decisions:
            self._write(
                "approval",
                **self._who(task),
                decision="approved" if verdict.approved else "rejected",
                approval=approval.id,
                tool=approval.tool,
                input_characters=len(verdict.reason),
                **self._content(task, {"reason": verdict.reason[:_MAX_CONTENT]}),
            )

    def refused(self, status: int, code: str, subject: str | None, request: str) -> None:
        """Somebody was not let in; `subject` where it was proved who."""
        self._write(
            "refusal", request=request[:_MAX_NAME], caller=subject, decision="refused", reason=code, status=status
        )

    def close(self) -> None:
        """The last line says so: a chain without it ended by force, or was cut."""
        self._write("end")
        if self._file:
            try:
                self._file.close()
            except OSError as error:
                log.error("the audit file could not be closed: %s", error)
            self._file = None

    def _begin(self, *, continued: bool) -> None:
        torn = {"torn": True} if self._file and self._file.torn else {}
        self._write("begin", decision="continued" if continued else "new", replica=self._replica, **torn)

    def _who(self, task: Task) -> dict[str, Any]:
        return {
            "request": task.id[:_MAX_NAME],
            "caller": task.caller.subject,
            "groups": sorted(task.caller.groups),
            "user": task.user[:_MAX_NAME] if task.user else None,
            "mode": effective_mode(self._privacy.mode, task.caller),
        }

    def _content(self, task: Task, texts: Mapping[str, str]) -> dict[str, Any]:
        wanted = self._privacy.audit_content and effective_mode(self._privacy.mode, task.caller) == "Standard"
        return {"content": dict(texts)} if wanted else {}

    def _write(self, kind: str, **fields: Any) -> None:
        with self._one_line:
            self._written(kind, fields)

    def _written(self, kind: str, fields: Mapping[str, Any]) -> None:
        now = self._clock()
        stamp = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
        keyed = {"keyed": True} if self._keyed else {}
        try:
            line = self._chain.line({"ts": stamp, "kind": kind, "agent": self._agent, **fields, **keyed})
            data = line.encode("ascii") + b"\n"
        except (TypeError, ValueError):
            log.exception("an audit line of kind %s cannot be written", kind)
            return
        troubles = [trouble for trouble in (self._to_file(data, now), self._to_out(data)) if trouble]
        if troubles and not self._troubled:
            log.error("the audit trail has a gap from line %d on: %s", self._chain.seq, "; ".join(troubles))
        self._troubled = bool(troubles)

    def _to_file(self, data: bytes, now: float) -> str:
        if self._file is None:
            return ""
        try:
            self._file.write(data)
            if now - self._synced >= _SYNC_EVERY:
                self._synced = now
                self._file.sync()
        except OSError as error:
            return f"on disk: {error}"
        return ""

    def _to_out(self, data: bytes) -> str:
        try:
            self._out.write(data)
            self._out.flush()
        except (OSError, ValueError) as error:  # ValueError: it is closed
            return f"on stdout: {error}"
        return ""


def _opened(folder: Path) -> AuditFile | None:
    try:
        return AuditFile(folder)
    except OSError as error:
        # on stdout there is a chain nevertheless, a new one
        log.error("the audit trail is on stdout alone, %s cannot be used: %s", folder, error)
        return None


def _spoken(task: Task) -> str:
    """What the user said last; with a session that is all that is new."""
    return next((turn.text for turn in reversed(task.turns) if turn.role == "user"), "")[:_MAX_CONTENT]
