"""Profiles: how long one replica takes for a step. Built in ones by name, users' own as YAML or JSON files.

A file in the form of builtin/*.yaml. Times of the linear layers are a table by tokens in the step, because they are
flat while memory bandwidth binds and steep once arithmetic does; everything else is a constant.
"""

from bisect import bisect_left
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from agentfleet.simulator.errors import BadInput

BUILTIN = Path(__file__).parent / "builtin"

Point = tuple[Annotated[int, Field(ge=1)], Annotated[float, Field(gt=0)]]

CAPACITY_PRECISION = 0.5
"""Requests at once to which a capacity is reckoned."""


class Profile(BaseModel):
    """One replica: a model on its hardware, as its engine was started."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, use_attribute_docstrings=True
    )

    name: str = ""
    engine: Literal["VLLM", "LlamaCpp", "Ollama"] = "VLLM"
    """Whose metrics it shows: vLLM has all, llama.cpp no counts of requests, Ollama only what is in flight."""
    gpus_per_replica: Annotated[int, Field(ge=1)] = 1
    max_running: Annotated[int, Field(ge=1)] = 256
    """Requests at once: max_num_seqs, or slots."""
    token_budget: Annotated[int, Field(ge=1, le=1_000_000)] = 2048
    """Tokens of one step: max_num_batched_tokens. Prompts are cut to fit; answers come first."""
    kv_tokens: Annotated[int, Field(ge=1)]
    """Tokens that the KV cache holds."""
    step_milliseconds: Annotated[tuple[Point, ...], Field(min_length=1)]
    """[tokens, milliseconds] of the linear layers, ascending; straight lines between and beyond."""
    step_overhead_milliseconds: Annotated[float, Field(ge=0)] = 0.9
    """Of each step."""
    per_request_microseconds: Annotated[float, Field(ge=0)] = 4.4
    """Of each step, for each request in it."""
    per_kv_token_nanoseconds: Annotated[float, Field(ge=0)] = 0.0
    """Of each step, for each token of answers' contexts: attention of decoding."""
    per_prompt_pair_picoseconds: Annotated[float, Field(ge=0)] = 0.0
    """For each pair of a prompt's token and a token before it: attention of prefill."""

    @cached_property
    def linear(self) -> tuple[float, ...]:
        """Seconds of a step's linear layers and overhead by tokens, from 0 to the most that a step can have."""
        points = [(tokens, milliseconds / 1000) for tokens, milliseconds in self.step_milliseconds]
        size = self.token_budget + self.max_running + 1
        return tuple(self.step_overhead_milliseconds / 1000 + _between(points, tokens) for tokens in range(size))

    def step_seconds(self, tokens: float, requests: float, kv: float) -> float:
        """Seconds of one step without attention of prompts."""
        linear = self.linear[min(round(tokens), len(self.linear) - 1)]
        return linear + requests * self.per_request_microseconds * 1e-6 + kv * self.per_kv_token_nanoseconds * 1e-9

    def concurrency(self, prompt: float, output: float, per_token: float) -> float:
        """Most requests that can be in answer at once with steps of at most `per_token` seconds, when arrivals and
        departures balance: each brings prompt/output tokens of prefill into every step."""
        low, high = 1.0, float(min(self.max_running, max(1.0, self.kv_tokens / (prompt + output))))
        if self._balanced(high, prompt, output) <= per_token:
            return high
        while high - low > CAPACITY_PRECISION:
            middle = (low + high) / 2
            low, high = (middle, high) if self._balanced(middle, prompt, output) <= per_token else (low, middle)
        return low

    def requests_per_second(self, prompt: float, output: float, per_token: float) -> float:
        """What one replica carries in the long run with steps of at most `per_token` seconds."""
        requests = self.concurrency(prompt, output, per_token)
        return requests / (output * self._balanced(requests, prompt, output))

    def _balanced(self, requests: float, prompt: float, output: float) -> float:
        """Seconds of a step, or of as many as it takes to make room for the prompts that have to come in."""
        tokens = requests * (1 + prompt / output)
        share = max(1.0, tokens / self.token_budget)
        attention = requests / output * prompt * prompt / 2 * self.per_prompt_pair_picoseconds * 1e-12
        return share * self.step_seconds(tokens / share, requests, requests * (prompt + output / 2)) + attention


def _between(points: Sequence[tuple[float, float]], tokens: int) -> float:
    """Straight lines from point to point and on beyond the last; flat below the first."""
    if tokens <= points[0][0] or len(points) == 1:
        return points[0][1]
    right = min(len(points) - 1, bisect_left(points, (tokens, 0.0)))
    (start, low), (end, high) = points[right - 1], points[right]
    return low + (high - low) * (tokens - start) / (end - start)


def names() -> list[str]:
    """Built in profiles."""
    return sorted(path.stem for path in BUILTIN.glob("*.yaml"))


def load_profile(name: str) -> Profile:
    """A built in one, or a file; BadInput says what is wrong with it."""
    path = BUILTIN / f"{name}.yaml" if name in names() else Path(name)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(
            f"--profile: no profile and no file {name!r}; built in are {', '.join(names())}, and a file is like these."
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInput(f"--profile: {name} cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise BadInput(f"--profile: {name} has to be a mapping such as kvTokens: 448000; got {type(data).__name__}.")
    try:
        profile = Profile.model_validate({"name": path.stem, **data})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        legal = ", ".join(to_camel(field) for field in Profile.model_fields)
        raise BadInput(f"--profile: {name}: {field}: {first['msg']}; fields are {legal}.") from error
    tokens = [point[0] for point in profile.step_milliseconds]
    if tokens != sorted(set(tokens)):
        raise BadInput(f"--profile: {name}: stepMilliseconds has to ascend by tokens; got {tokens}.")
    return profile
