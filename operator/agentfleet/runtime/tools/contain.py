"""What a tool says, made harmless to the conversation: cut, cleaned, marked as data. Pure.

What it does: whatever a tool answers cannot end the block that marks it as data, cannot write the control tokens with
which chat templates begin a turn of the system or the user, cannot hide text from a person who reads the log, and
cannot fill the model's context. What it does not do: a model may still *believe* a sentence in the data ("ignore what
you were told"). No marking prevents that; approvals, groups and small tool lists are what bounds the damage.
"""

import re

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_HALVES = re.compile("[\ud800-\udfff]")
_HIDDEN = re.compile(
    "[\u202a-\u202e\u2066-\u2069"  # bidirectional overrides: text that reads otherwise than it is
    "\ufeff"
    "\U000e0000-\U000e007f]"  # tag characters: invisible, yet models read them
)
_TEMPLATE_TOKENS = re.compile(
    r"<(?=[|\uff5c])"  # ChatML, Llama 3, Phi, DeepSeek: <|im_start|>
    r"|<(?=/?(?:s|start_of_turn|end_of_turn|tool_result|tool_response|tool_call|think|sys)>)"  # Gemma, Qwen, our own
    r"|<(?=/?tool_result\b)"
    r"|<(?=<\s*/?\s*SYS)"  # Llama 2
    r"|\[(?=/?(?:INST|TOOL_RESULTS|AVAILABLE_TOOLS|TOOL_CALLS|SYSTEM_PROMPT)\])",  # Mistral
    re.IGNORECASE,
)
_SHORTEST_SECRET = 6


def contain(text: str, tool: str, limit: int, secrets: tuple[str, ...] = ()) -> str:
    """`text`, a result of `tool`, as the model gets it: at most `limit` characters of it, marked as data."""
    return f'<tool_result tool="{tool}">\n{clean(text, limit, secrets)}\n</tool_result>'


def clean(text: str, limit: int, secrets: tuple[str, ...] = ()) -> str:
    """`text` without secrets, hidden characters and tokens of chat templates, cut at `limit`."""
    # Beyond twice the limit nothing can be shown, and a result of megabytes is not worth going through. Hidden
    # characters go before secrets are looked for: one in the middle of a secret must not save it.
    shown = text[: 2 * limit + 4096].replace("\r\n", "\n")
    shown = _HALVES.sub("\ufffd", _HIDDEN.sub("", _CONTROLS.sub("", shown)))  # half a pair cannot be encoded
    shown = scrub(shown, secrets)
    cut = len(text) > limit
    shown = _TEMPLATE_TOKENS.sub(lambda match: match.group() + " ", shown[:limit])
    if cut:
        shown += f"\n[cut: the result has {len(text)} characters, the first {limit} are shown]"
    return shown


def scrub(text: str, secrets: tuple[str, ...]) -> str:
    """`text` without `secrets`, the longest first: one may be part of another."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:  # shorter ones would tear words apart
            text = text.replace(secret, "***")
    return text


def is_binary(data: bytes) -> bool:
    """Whether `data`, which says it is text, is none."""
    return b"\0" in data[:8192]


def left_out(kind: str, size: int) -> str:
    """What stands where something was that is no text."""
    return f"[{kind}, {size} bytes, left out: not text]"
