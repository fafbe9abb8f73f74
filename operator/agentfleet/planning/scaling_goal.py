"""spec.scaling with its defaults filled in: who decides, within which bounds, and for which goal. Pure."""

from dataclasses import dataclass

from agentfleet.autoscale.decision import Goal
from agentfleet.durations import parse_duration
from agentfleet.manifests.topology import placement_mode
from agentfleet.planning.updates import check_cron, check_zone
from agentfleet.resources.modelserver import ModelServer
from agentfleet.resources.scaling import Pause, Scaling, ScalingMode, Slo, Stabilization, Vertical

_MAXIMUM = 8
APPROVAL_EXPIRES = "30m"


@dataclass(frozen=True, slots=True)
class Approval:
    """What a human has to say before something is applied, and has said."""

    required: bool = False
    expires_after: float = 1800.0
    approved: str | None = None
    """Id of a decision, by annotation."""
    rejected: str | None = None


def scales(server: ModelServer) -> bool:
    """Whether the number of replicas is anybody's to choose."""
    return not server.is_external and placement_mode(server) != "PerNode"


def asked_mode(server: ModelServer) -> ScalingMode:
    """Mode as the spec asks for it."""
    return (server.spec.scaling and server.spec.scaling.mode) or "Recommend"


def vertical_mode(server: ModelServer) -> ScalingMode:
    """Mode of changes of size; only vLLM's replicas have one."""
    vertical = server.spec.scaling and server.spec.scaling.vertical
    if server.spec.engine != "VLLM" or not scales(server):
        return "Manual"
    return (vertical and vertical.mode) or "Recommend"


def check_schedule(server: ModelServer) -> None:
    """InvalidSpec where a scheduled time or its time zone cannot be read."""
    for number, window in enumerate(server.spec.scaling.schedule if server.spec.scaling else ()):
        check_cron(f"scaling.schedule[{number}].cron", window.cron, "0 8 * * 1-5")
        check_zone(f"scaling.schedule[{number}].timeZone", window.time_zone)


def goal_of(server: ModelServer) -> Goal:
    """What the loop is to reach.

    Outside of Apply, a server that its user has taken to zero is not advised to come back, unless minReplicas says so.
    """
    scaling = server.spec.scaling or Scaling()
    slo = scaling.slo or Slo()
    window = scaling.stabilization or Stabilization()
    pause = scaling.pause or Pause()
    vertical = scaling.vertical or Vertical()
    usual = 1 if asked_mode(server) == "Apply" else min(1, server.replicas)
    minimum = scaling.min_replicas if scaling.min_replicas is not None else usual
    factor = scaling.load_factor_percent
    return Goal(
        minimum=minimum,
        maximum=max(minimum, scaling.max_replicas or max(_MAXIMUM, server.replicas)),
        time_to_first_token=parse_duration(slo.time_to_first_token or "2s"),
        time_per_output_token=parse_duration(slo.time_per_output_token or "100ms"),
        load_factor=factor / 100 if isinstance(factor, int) else None,
        to_zero_after=parse_duration(scaling.scale_to_zero_after or "15m"),
        max_step=scaling.max_step,
        stabilization_out=parse_duration(window.out or "0s"),
        stabilization_in=parse_duration(window.in_) if window.in_ else None,
        pause_out=bool(pause.out),
        pause_in=bool(pause.in_),
        max_tensor=vertical.max_tensor or 4,
    )
