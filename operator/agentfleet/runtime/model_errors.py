"""What a failed call of the model means for the run: whose fault it is, and what the client is told.

Pure but for the SDK's exception classes. The cause, which may hold addresses, goes to the log and never to the client.
"""

import openai

from agentfleet.runtime.types import Failure, RunError, Task

_TOO_LONG = ("context_length", "context length", "context size", "exceed_context", "maximum context", "too many tokens")
"""How vLLM, llama-server, Ollama and clouds say that a prompt does not fit."""


def told(error: BaseException, task: Task) -> RunError:
    """The run's error for an error of the SDK, or of the framework around one."""
    cause = _sdk_error(error)
    if isinstance(cause, openai.APITimeoutError):
        return Failure(504, "model_timeout", "The model did not answer in time.")
    if isinstance(cause, openai.APIConnectionError):
        return Failure(502, "model_unavailable", "The model cannot be reached.")
    if isinstance(cause, openai.APIStatusError):
        return _by_status(cause, task)
    if isinstance(cause, openai.APIError):  # an error event in the middle of a stream
        return Failure(502, "model_error", "The model ended its answer with an error.")
    return Failure(502, "model_error", "The model's answer could not be read.")


def _by_status(error: openai.APIStatusError, task: Task) -> RunError:
    status = error.status_code
    if status == 429:
        message = "The model has no room at the moment. Try again later."
        return RunError(429, "rate_limit_exceeded", message, retry_after=_retry_after(error))
    if status == 508:
        return RunError(508, "loop_detected", "Agents and routes call each other in a circle.")
    if status in (400, 413, 422) and _is_too_long(error):
        return RunError(400, "context_length_exceeded", "The conversation is longer than the model can read.")
    if status in (400, 422) and _asks_for_more(task):
        return RunError(400, "invalid_request", "The model does not take what the request asks for.")
    if status in (408, 504):
        return Failure(504, "model_timeout", "The model did not answer in time.")
    return Failure(502, "model_unavailable", "The model refused the request or failed.")


def _asks_for_more(task: Task) -> bool:
    """Whether the request has parts that a model may refuse; without them a refusal is the agent's own fault."""
    sampling = task.sampling
    return bool(
        sampling.response_format
        or sampling.tool_choice
        or sampling.stop
        or sampling.seed is not None
        or any(turn.images for turn in task.turns)
    )


def _is_too_long(error: openai.APIStatusError) -> bool:
    text = f"{error.code} {error.type} {error.message}".lower()
    return any(words in text for words in _TOO_LONG)


def _retry_after(error: openai.APIStatusError) -> int | None:
    value = error.response.headers.get("retry-after", "")
    return int(value) if value.isascii() and value.isdigit() else None


def _sdk_error(error: BaseException) -> BaseException:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, openai.OpenAIError):
            return seen
        seen = seen.__cause__
    return error
