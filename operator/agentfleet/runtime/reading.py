"""What a run of the framework has said so far: which of it is the answer, what it costs, how it ends.

framework.py reads each content of the model's messages through this. Pure: the framework is not imported here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from agentfleet.runtime.types import Finish, Usage

_CALLS = ("function_call", "function_result", "function_approval_request")
_FINISHES: Final[dict[str, Finish]] = {"length": "length", "content_filter": "content_filter"}


@dataclass
class Reading:
    """Of one run."""

    final_alone: bool
    """Whether what the model says before it calls tools stays unsaid."""
    held: list[str] = field(default_factory=list)
    """Text that is the answer if no call follows."""
    usage: Usage = Usage()
    finish: str | None = None
    wanted: list[Any] = field(default_factory=list)
    """Requests for approvals."""
    answers: int = 0
    """Of the model, each of which may have asked for tools."""
    last: str | None = None
    """Id of the last one."""

    def read(self, content: Any) -> str:
        """The text of it that may be told now."""
        if content.type == "text":
            if not self.final_alone:
                return content.text or ""
            self.held.append(content.text or "")
        elif content.type in _CALLS:
            self.held.clear()
        elif content.type == "usage":
            self.spent(content.usage_details)
        if content.type == "function_approval_request":
            self.wanted.append(content)
        return ""

    def spent(self, details: Mapping[str, Any] | None) -> None:
        """The framework's usage is cumulative over the run's answers."""
        counts, calls = details or {}, max(1, self.answers)
        self.usage = Usage(int(counts.get("input_token_count") or 0), int(counts.get("output_token_count") or 0), calls)

    def how_it_ended(self) -> Finish:
        """Once all is read."""
        return "approval" if self.wanted else _FINISHES.get(self.finish or "", "stop")
