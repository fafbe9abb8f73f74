"""What a call of the model says besides the conversation: sampling, instructions, which tools it may choose. Pure.

In the framework's words, which framework.py passes on; the framework itself is not imported here.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from agentfleet.runtime.config import AgentConfig
from agentfleet.runtime.types import RunError, Task


def options(config: AgentConfig, task: Task, instructions: str, tools: AbstractSet[str]) -> dict[str, Any]:
    """RunError(400) where the task names a tool that the agent does not have."""
    said, defaults = task.sampling, config.sampling
    most = [number for number in (said.max_tokens, defaults.max_tokens) if number is not None]
    system = (instructions, *(turn.text for turn in task.turns if turn.role == "system"))
    chosen: dict[str, Any] = {
        "temperature": said.temperature if said.temperature is not None else defaults.temperature,
        "top_p": said.top_p if said.top_p is not None else defaults.top_p,
        "seed": said.seed if said.seed is not None else defaults.seed,
        "stop": list(said.stop or defaults.stop) or None,
        "response_format": dict(said.response_format) if said.response_format else None,
        "tool_choice": _tool_choice(said.tool_choice, tools, config.limits.max_iterations),
        # In one message, the agent's own first: chat templates take one at the beginning and no other.
        "instructions": "\n\n".join(filter(None, system)) or None,
        # Not the framework's max_tokens, which it sends as max_completion_tokens: engines here all know max_tokens.
        "extra_body": {"max_tokens": min(most)} if most else None,
    }
    return {name: value for name, value in chosen.items() if value is not None}


def final_alone(config: AgentConfig, task: Task) -> bool:
    """Whether only the model's last message is the answer: who wants JSON cannot read what stands before it."""
    form = task.sampling.response_format
    asked = form is not None and form.get("type") in ("json_object", "json_schema")
    return asked or any(rule.type == "JSONSchema" for rule in config.guardrails.output)


def _tool_choice(choice: str | None, tools: AbstractSet[str], iterations: int) -> Any:
    if choice is not None and choice not in ("auto", "none", "required") and choice not in tools:
        raise RunError(400, "unknown_tool", f"tool_choice: the agent has no tool {choice!r}.")
    if not tools:
        return None
    if iterations == 1:
        return "none"  # the one answer has to be text
    if choice is None or choice in ("auto", "none", "required"):
        return choice
    return {"mode": "required", "required_function_name": choice}


def prepared(role: str, made: list[dict[str, Any]], reasons: Mapping[str | None, str]) -> list[dict[str, Any]]:
    """The framework's messages for the model, as chat templates take them.

    `reasons`, by the id of the call, are of those that a person has rejected: the framework says only that they were.

    Not the agent's name in each of its messages, which costs tokens and which some refuse; and one message for the text
    and the pictures of a user, where the framework makes one of each.
    """
    for each in made:
        each.pop("name", None)
        if reason := reasons.get(each.get("tool_call_id")):
            each["content"] = f"Error: The user has rejected this call, and says: {reason}"
    if role != "user" or len(made) < 2:
        return made
    return [{"role": "user", "content": [part for each in made for part in _parts(each["content"])]}]


def _parts(content: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
