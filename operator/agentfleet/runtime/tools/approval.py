"""Which functions of an entry wait for a person's word. Pure.

Closed where the rule and the entry do not fit: a name in approval.tools that the entry does not have may be a slip of
the pen for one that it has, so until it fits all of the entry's calls wait.
"""

from collections.abc import Iterable

from agentfleet.runtime.config_tools import AgentTool, HttpTool, ToolEntry
from agentfleet.runtime.tools import naming


def misfits(entry: ToolEntry, offered: Iterable[str]) -> tuple[str, ...]:
    """Names in approval.tools that are none of `offered`. Nothing offered yet: nothing can be said, or called."""
    has = set(offered)
    if not has or entry.approval.mode != "Listed":
        return ()
    return tuple(name for name in entry.approval.tools if _of(entry, name) not in has)


def waits(entry: ToolEntry, function: str, offered: Iterable[str]) -> bool:
    """Whether calls of `function`, by the entry's own name for it, wait."""
    rule = entry.approval
    if rule.mode != "Listed":
        return rule.mode == "Always"
    return function in {_of(entry, name) for name in rule.tools} or bool(misfits(entry, offered))


def _of(entry: ToolEntry, name: str) -> str:
    """The function of an http or agent entry may be called as the entry is."""
    return naming.of_entry(name) if isinstance(entry.use, HttpTool | AgentTool) else name
