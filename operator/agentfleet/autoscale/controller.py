"""The loop's memory of one ModelServer: fed with ticks, asked for decisions. No I/O, no clock."""

from agentfleet.autoscale.decision import Decision, Goal, Health, Learnt, Situation
from agentfleet.autoscale.samples import Tick


class Controller:
    """What operator and simulator run. One for each ModelServer; it starts empty after a restart of the operator, but
    for `learnt`, and takes no replica away before it has watched for a whole stabilisation window."""

    def __init__(self, goal: Goal, learnt: Learnt | None = None) -> None:
        raise NotImplementedError

    def set_goal(self, goal: Goal) -> None:
        """A changed spec; what was learnt stays."""
        raise NotImplementedError

    def forget_capacity(self) -> None:
        """The model, its hardware or its arguments changed: what was learnt holds no longer."""
        raise NotImplementedError

    def observe(self, tick: Tick) -> None:
        """Take in one look. Ticks come in order of time; one that failed wholly is a tick without engines."""
        raise NotImplementedError

    def decide(self, situation: Situation, now: float) -> Decision:
        """What the number of replicas should be now. Asked after `observe`; always answers, `hold` at least."""
        raise NotImplementedError

    def vertical(self, situation: Situation, now: float) -> Decision | None:
        """Whether larger or smaller replicas are called for; None where nothing speaks for it or nothing is known."""
        raise NotImplementedError

    @property
    def learnt(self) -> Learnt | None:
        """Capacity, to be kept in status."""
        raise NotImplementedError

    @property
    def health(self) -> Health:
        """How well the server is seen, as of the last tick."""
        raise NotImplementedError
