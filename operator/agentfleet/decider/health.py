"""How the route is, in one word, as GET /health answers it. Pure."""

from collections.abc import Mapping
from typing import Any

from agentfleet.decider.stats import TargetLoad
from agentfleet.gateway.types import Policy, Target


def report(policy: Policy, loads: Mapping[str, TargetLoad] | None, waiting: int, workers: int) -> dict[str, Any]:
    """The body of /health; `loads` is None where HAProxy gave no answer.

    healthy: each target can answer, or would be started by a request. unhealthy: none. degraded: what lies between.
    """
    targets = [_target(target, loads.get(target.id) if loads else None) for target in policy.targets]
    usable = sum(each["status"] != "down" for each in targets)
    status = "healthy" if usable == len(targets) else "degraded" if usable else "unhealthy"
    queued = sum(each["waiting"] for each in targets)
    return {"status": status, "targets": targets, "queue_size": queued + waiting, "workers": workers}


def _target(target: Target, load: TargetLoad | None) -> dict[str, Any]:
    asleep = target.scales_to_zero and load is not None
    status = "ready" if load and load.ready else "asleep" if asleep else "down"
    return {
        "name": target.name,
        "status": status,
        "ready": load.ready if load else 0,
        "waiting": load.waiting if load else 0,
        "in_flight": load.in_flight if load else 0,
    }
