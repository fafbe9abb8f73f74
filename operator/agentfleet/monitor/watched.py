"""One ModelServer or Agent in the scaling loop: its controller, and what was last said about it. It asks nobody."""

from collections import deque
from collections.abc import Callable

from agentfleet.autoscale.controller import Controller
from agentfleet.autoscale.decision import Action, Decision, Goal, Learnt, Situation
from agentfleet.autoscale.samples import Replica, Tick
from agentfleet.monitor.replicas import Pods, not_created
from agentfleet.monitor.scrape import Target
from agentfleet.objects import Key
from agentfleet.planning.budget import Allowance
from agentfleet.planning.learnt import differs
from agentfleet.planning.scaling_decisions import BLOCKING, PATIENCE
from agentfleet.planning.scaling_types import Advice, Standing

_FRESH = 15.0
"""Seconds for which a sample tells who is busy."""

_MOST_CHANGES = 20
"""As many as status remembers."""

_STILL_BLOCKED = 180.0
"""Seconds for which what kept from a change is told though the wish for it wavers: at a budget it comes and goes with
every few requests, and nobody wants to hear of each time."""
_WAVERING = frozenset({"Enough", "Stabilization", "OneFewer", "Pending", "Settling", "Minimum"})

_GATEWAY_AWAY = 600.0
"""Seconds for which a gateway that is gone may come back: it is rolled, or its node was lost. That there is none for a
moment wakes nobody, nor does a restart of the operator."""

_CAPACITY_INTERVAL = 60.0
"""Seconds between two words about capacity, which changes at nearly every tick while it is being learnt."""

MakeController = Callable[[Goal, Learnt | None], Controller]


class Watched:
    """`stands` whenever reconcile has looked; then, at each tick, `refresh`, `take` and `decide`."""

    def __init__(self, key: Key, standing: Standing, make: MakeController) -> None:
        self.key = key
        self.standing = standing
        self.wanted = standing.wanted
        self.stalled = False
        self.pods = Pods()
        self.advice: Advice | None = None
        self.tick: Tick | None = None
        self._make = make
        self._controller = make(standing.goal, standing.learnt)
        self._gateway_until: float | None = None
        self._blocked: tuple[float, Decision] | None = None
        self._wishes: deque[tuple[float, Action, int, int]] = deque()
        """Time, action, start and target of the changes that were called for within PATIENCE."""
        self._wished_since = 0.0
        self._called_at: float | None = None
        self._changes: dict[str, Decision] = {}
        """Changes that were made and not yet judged, by their time."""
        self._verdicts: dict[str, str] = {}
        self._alerts: dict[str, tuple[str, ...]] = {}
        """Pod → what it said last is out of bounds."""
        self._told: object = None
        self._told_capacity: float | None = None
        self._capacity_told_at = 0.0

    def stands(self, standing: Standing) -> None:
        """Reconcile has looked."""
        before, self.standing = self.standing, standing
        self.stalled = False
        self.wanted = standing.wanted
        if standing.goal != before.goal:
            self._controller.set_goal(standing.goal)
        if standing.capacity_key != before.capacity_key:
            self._controller.forget_capacity()

    def settled(self, wanted: int, decided_at: str | None) -> None:
        """Reconcile has decided, and is about to act on it."""
        decision = self.advice.decision if self.advice else None
        if decided_at and decision and wanted != self.wanted == decision.start and wanted == decision.target:
            self._changes[decided_at] = decision
        self.wanted = wanted

    def begin_anew(self) -> None:
        """Forget all that was seen, after a bug in reading it."""
        self._controller = self._make(self.standing.goal, self.standing.learnt)
        self.advice = None

    def target(self) -> Target:
        """What to ask."""
        return Target(
            self.key, self.standing.spec.engine, self.pods.replicas, self.pods.addresses, self.standing.max_running
        )

    def take(self, tick: Tick) -> None:
        """One look at everything."""
        self.tick = tick
        if tick.demand_sources or (self._gateway_until is None and not self.standing.wanted):
            self._gateway_until = tick.now + _GATEWAY_AWAY
        here = {replica.name for replica in tick.replicas}
        said = {name: sample.alerts for name, sample in tick.engines.items()}
        self._alerts = {name: alerts for name, alerts in (self._alerts | said).items() if name in here}
        self._controller.observe(tick)

    @property
    def gateway(self) -> bool:
        """Whether somebody before it counts its requests, or may well be back."""
        return self.tick is not None and self._gateway_until is not None and self.tick.now < self._gateway_until

    def replicas(self, now: float) -> tuple[Replica, ...]:
        """Those that there are, and those that ought to be and are refused."""
        missing = self.wanted - self.pods.staying
        if missing <= 0 or not self.standing.not_created:
            return self.pods.replicas
        return (*self.pods.replicas, *not_created(missing, self.standing.not_created, now))

    @property
    def gpus(self) -> int | None:
        """GPUs that it has or is getting; None where that is not known."""
        if self.standing.gpus is None:
            return None
        coming = self.advice.decision.target if self.advice and self.advice.decision and self.is_urgent else 0
        return self.standing.gpus * max(self.wanted, coming, len(self.pods.replicas))

    def decide(self, situation: Situation, allowance: Allowance, now: float) -> Advice:
        """What is to be made of it."""
        self._judge(now)
        scaled = self.standing.mode is not None and not self.stalled
        decision = self._still_blocked(self._controller.decide(situation, now), now) if scaled else None
        vertical = self._controller.vertical(situation, now) if scaled and situation.tensors else None
        if vertical and not _is_affordable(vertical, situation):
            vertical = None
        if self._called_at is None or any(each and each.action != "hold" for each in (decision, vertical)):
            self._called_at = now
        self.advice = Advice(
            at=now,
            health=self._controller.health,
            scaling=self.standing.spec.scaling,
            decision=decision,
            vertical=vertical,
            quiet=now - self._called_at,
            wished=self._wished(decision, now),
            capacity_key=self.standing.capacity_key,
            learnt=self._controller.learnt,
            gateway=self.gateway,
            budget_known=allowance.known,
            affordable=allowance.affordable,
            alerts=tuple(sorted({alert for alerts in self._alerts.values() for alert in alerts})),
            verdicts=dict(self._verdicts),
        )
        return self.advice

    def _still_blocked(self, decision: Decision, now: float) -> Decision:
        """`decision`, or what blocked a change a moment ago where it only says that none is called for now."""
        if decision.action == "hold" and decision.binding in BLOCKING:
            self._blocked = (now, decision)
        elif self._blocked is not None:
            since, blocked = self._blocked
            lasts = now - since < _STILL_BLOCKED and blocked.start == decision.start
            if lasts and decision.action == "hold" and decision.binding in _WAVERING:
                return blocked
            self._blocked = None if not lasts else self._blocked
        return decision

    def _wished(self, decision: Decision | None, now: float) -> tuple[int, int] | None:
        """Within which numbers changes like the last one have been called for, where that has gone on for a while."""
        if decision is not None and decision.action != "hold":
            wish = (now, decision.action, decision.start, decision.target)
            if not self._wishes or self._wishes[-1][1:3] != wish[1:3]:
                self._wishes.clear()
                self._wished_since = now
            self._wishes.append(wish)
        while self._wishes and now - self._wishes[0][0] > PATIENCE:
            self._wishes.popleft()
        if not self._wishes or now - self._wished_since < PATIENCE:
            return None
        targets = [target for *_, target in self._wishes]
        return min(targets), max(targets)

    def in_flight(self, now: float) -> dict[str, float]:
        """Pod → requests in work and waiting, of those that answered lately."""
        engines = self.tick.engines.items() if self.tick else ()
        return {
            name: (sample.running or 0.0) + (sample.waiting or 0.0)
            for name, sample in engines
            if now - sample.at <= _FRESH and sample.running is not None
        }

    def has_news(self) -> bool:
        """Whether reconcile has something to do, or status something to say, that it has not been woken for."""
        advice = self.advice
        if advice is None or self.stalled:
            return False
        decisions = () if self.standing.mode == "Manual" else (advice.decision, advice.vertical)
        left = self.standing.open is not None and (advice.quiet >= PATIENCE, self._is_outside(advice))
        news = (_summary(advice), *map(_gist, decisions), left)
        if not self._tells_capacity(advice) and news == self._told:
            return self.is_urgent
        self._told = news
        return True

    def _is_outside(self, advice: Advice) -> bool:
        """Whether the open decision's number is none that was called for lately."""
        low, high = advice.wished or (0, 0)
        return advice.wished is not None and not low <= (self.standing.open or 0) <= high

    def _tells_capacity(self, advice: Advice) -> bool:
        if advice.learnt is None or advice.at - self._capacity_told_at < _CAPACITY_INTERVAL:
            return False
        capacity = advice.learnt.carried
        if self._told_capacity is not None and not differs(capacity, self._told_capacity):
            return False
        self._told_capacity, self._capacity_told_at = capacity, advice.at
        return True

    @property
    def is_new(self) -> bool:
        """Nothing has been said about it yet."""
        return self._told is None

    @property
    def is_urgent(self) -> bool:
        """A change for which there is no decision yet: said at every tick until there is."""
        decision = self.advice.decision if self.advice else None
        if decision is None or decision.action == "hold" or self.standing.mode == "Manual" or self.stalled:
            return False
        return self.standing.open is None and not self.standing.rejected

    def _judge(self, now: float) -> None:
        for time, decision in list(self._changes.items()):
            verdict = self._controller.verdict(decision, now)
            if verdict is not None:
                self._verdicts[time] = verdict
                del self._changes[time]
        for past in (self._changes, self._verdicts):
            for time in sorted(past)[:-_MOST_CHANGES]:
                del past[time]


def _is_affordable(size: Decision, situation: Situation) -> bool:
    """Whether as many replicas of another size are within the budget of GPUs, with those of the former size that serve
    until their successors do; a budget that is not known allows none."""
    if situation.affordable is None or size.action != "scale_up":
        return True
    return situation.wanted * (size.target + size.start) <= situation.affordable * size.start


def _summary(advice: Advice) -> object:
    """What changes conditions and history, as something to compare: neither words nor live numbers."""
    health = (advice.health.quality, advice.health.missing_metrics)
    return health, advice.gateway, advice.budget_known, advice.alerts, sorted(advice.verdicts)[-1:]


def _gist(decision: Decision | None) -> object:
    """What makes one proposal another to status."""
    if decision is None:
        return None
    suggests = decision.suggested_minimum is not None
    if decision.action == "hold":
        return suggests, decision.binding if decision.binding in BLOCKING else ""
    return suggests, decision.action, decision.start, decision.target
