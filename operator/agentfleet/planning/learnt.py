"""Capacity that the loop has learnt, as status holds it over restarts. Pure."""

from datetime import UTC, datetime

from agentfleet.autoscale.decision import Learnt, Step
from agentfleet.engines.base import Launch
from agentfleet.manifests.names import digest
from agentfleet.planning.decimals import decimal
from agentfleet.resources.conditions import timestamp
from agentfleet.resources.modelserver import ModelServer
from agentfleet.resources.scaling_status import Capacity, StepModel

NOTABLE = 0.1
"""A change of capacity by less than this share is not worth a write."""

_DIGITS = 6


def capacity_key(server: ModelServer, launch: Launch | None, profile: str | None) -> str:
    """What capacity is learnt for: another model, hardware, size or arguments may carry another load."""
    if launch is None:
        return ""
    gpu = server.spec.gpu.dump() if server.spec.gpu else None
    resources = server.spec.resources.dump() if server.spec.resources else None
    return digest([server.model.uri, profile, gpu, resources, launch.image, launch.args, dict(launch.env)], 16)


def differs(one: float, other: float) -> bool:
    """Whether a capacity is another by more than a tenth."""
    return abs(one - other) > NOTABLE * max(abs(one), abs(other))


def capacity_status(key: str, learnt: Learnt | None, before: Capacity | None) -> Capacity | None:
    """What status says; what it said before, where that is still right."""
    if learnt is None:
        return before
    known = learnt_before(before, key)
    if known is not None and not differs(learnt.carried, known.carried):
        return before
    return Capacity(
        key=key,
        requests_per_second=_number(learnt.requests_per_second),
        step=_step(learnt.step),
        concurrency=_number(learnt.concurrency),
        prompt_tokens=_number(learnt.prompt_tokens),
        output_tokens=_number(learnt.output_tokens),
        samples=learnt.samples,
        learnt_at=timestamp(datetime.fromtimestamp(learnt.learnt_at, UTC)),
    )


def learnt_before(capacity: Capacity | None, key: str) -> Learnt | None:
    """What a former process has learnt of the same thing."""
    if capacity is None or capacity.key != key:
        return None
    step = capacity.step
    return Learnt(
        requests_per_second=_float(capacity.requests_per_second),
        samples=capacity.samples,
        learnt_at=datetime.fromisoformat(capacity.learnt_at).timestamp(),
        step=Step(float(step.base), float(step.per_token), float(step.per_kv_token)) if step else None,
        concurrency=_float(capacity.concurrency),
        prompt_tokens=_float(capacity.prompt_tokens),
        output_tokens=_float(capacity.output_tokens),
    )


def _step(step: Step | None) -> StepModel | None:
    if step is None:
        return None
    parts = [decimal(value, _DIGITS) for value in (step.base, step.per_token, step.per_kv_token)]
    base, token, kv_token = parts
    return (
        None
        if base is None or token is None or kv_token is None
        else StepModel(base=base, per_token=token, per_kv_token=kv_token)
    )


def _number(value: float | None) -> str | None:
    return None if value is None else decimal(value)


def _float(text: str | None) -> float | None:
    return None if text is None else float(text)
