"""A ModelServer as the loop sees it, without chance: counters grow as a rate says, and decisions are obeyed."""

from dataclasses import dataclass, field, replace

from agentfleet.autoscale.controller import Controller
from agentfleet.autoscale.decision import Decision, Goal, Learnt, Situation, Step
from agentfleet.autoscale.samples import DemandSample, EngineSample, Replica, Tick

PROMPT, OUTPUT = 1155.0, 211.0
STEP = Step(base=0.0105, per_token=7.2e-5, per_kv_token=1e-7)
LEARNT = Learnt(6.5, samples=1000, learnt_at=0.0, step=STEP, prompt_tokens=PROMPT, output_tokens=OUTPUT)
"""About six requests per second."""
TICK = 5.0


@dataclass
class Pod:
    created: float
    ready_at: float
    problem: str | None = None
    leaving: bool = False
    arrived: float = 0.0
    behind: float = 0.0
    """Requests that came faster than it can work."""
    completed: float = 0.0
    running: float = 0.0
    waiting: float = 0.0
    steps: float = 0.0
    started_at: float = 0.0


@dataclass
class Fluid:
    """`tick` lets five seconds pass and gives the decision."""

    goal: Goal = field(default_factory=Goal)
    learnt: Learnt | None = LEARNT
    replicas: int = 2
    cold_start: float = 60.0
    obey: bool = False
    gateways: int = 0
    minimum: int | None = None
    maximum: int | None = None
    affordable: int | None = None
    scheduled: bool = False
    rolling: bool = False
    step: Step = STEP
    tensors: tuple[int, ...] = ()
    tensor: int = 1

    def __post_init__(self) -> None:
        self.now = 1_000_000.0
        self.controller = Controller(self.goal, self.learnt)
        self.pods = {f"pod-{index}": Pod(self.now - 3600, self.now - 3500) for index in range(self.replicas)}
        self.wanted = self.replicas
        self.arrived = 0.0
        self.count = self.replicas

    def add(self, *, ready_in: float | None = None, problem: str | None = None, age: float = 0.0) -> str:
        """Another pod."""
        name = f"pod-{self.count}"
        self.count += 1
        ready_in = self.cold_start if ready_in is None else ready_in
        self.pods[name] = Pod(self.now - age, self.now + ready_in, problem, started_at=self.now)
        return name

    def tick(
        self,
        rate: float,
        *,
        waiting: float = 0.0,
        held: float = 0.0,
        silent: tuple[str, ...] = (),
        changed: dict[str, dict[str, object]] | None = None,
        gateway_answers: bool = True,
    ) -> Decision:
        """`rate` requests per second come to all; `waiting` wait in each; `changed`: fields of one pod's sample."""
        self.now += TICK
        self.arrived += rate * TICK
        serving = {name: pod for name, pod in self.pods.items() if self._is_ready(pod)}
        samples = {name: self._served(pod, rate / len(serving), waiting) for name, pod in serving.items()}
        for name, fields in (changed or {}).items():
            if name in samples:  # one that has just died says nothing
                samples[name] = replace(samples[name], **fields)  # type: ignore[arg-type]
        tick = Tick(
            now=self.now,
            replicas=tuple(
                Replica(name, pod.created, self._is_ready(pod), pod.leaving, pod.problem)
                for name, pod in self.pods.items()
            ),
            engines={name: sample for name, sample in samples.items() if name not in silent},
            demand=DemandSample(self.now, self.arrived, held, self.gateways, self.gateways, in_flight=None)
            if self.gateways and gateway_answers
            else None,
            demand_sources=self.gateways,
        )
        self.controller.observe(tick)
        decision = self.controller.decide(self.situation(), self.now)
        if self.obey:
            self.follow(decision.target)
        return decision

    def run(self, seconds: float, rate: float, **more: object) -> Decision:
        """Ticks for so long; the last decision."""
        decision = self.tick(rate, **more)  # type: ignore[arg-type]
        for _ in range(int(seconds / TICK) - 1):
            decision = self.tick(rate, **more)  # type: ignore[arg-type]
        return decision

    def situation(self) -> Situation:
        return Situation(
            wanted=self.wanted,
            minimum=self.goal.minimum if self.minimum is None else self.minimum,
            maximum=self.goal.maximum if self.maximum is None else self.maximum,
            scheduled=self.scheduled,
            affordable=self.affordable,
            rolling=self.rolling,
            cold_start=self.cold_start,
            tensor=self.tensor,
            tensors=self.tensors,
        )

    def follow(self, target: int) -> None:
        """As Kubernetes does; pods that go are gone at once."""
        self.wanted = target
        while len(self.pods) < target:
            self.add()
        while len(self.pods) > target:
            del self.pods[min(self.pods, key=lambda name: (self._is_ready(self.pods[name]), -self.pods[name].created))]

    def _is_ready(self, pod: Pod) -> bool:
        return pod.problem is None and pod.ready_at <= self.now

    def _served(self, pod: Pod, rate: float, waiting: float) -> EngineSample:
        context = PROMPT + OUTPUT / 2
        work = (PROMPT + OUTPUT) * self.step.per_token + OUTPUT * context * self.step.per_kv_token
        done = min(0.9 / work, rate + pod.behind / TICK)
        seconds = self.step.base / (1 - done * work)
        pod.arrived += rate * TICK
        pod.behind = max(0.0, pod.behind + (rate - done) * TICK)
        pod.completed = max(pod.completed, pod.arrived - pod.behind - done * OUTPUT * seconds)
        pod.running = pod.arrived - pod.completed - pod.behind
        pod.waiting = waiting + pod.behind
        pod.steps += TICK / seconds
        tokens = pod.completed * (PROMPT + OUTPUT)
        return EngineSample(
            at=self.now - 0.5,
            started_at=pod.started_at,
            running=pod.running,
            waiting=pod.waiting,
            max_running=256.0,
            completed=pod.completed,
            prompt_tokens=pod.completed * PROMPT,
            output_tokens=pod.completed * OUTPUT,
            steps=pod.steps,
            step_tokens=tokens,
            kv_used=pod.running * context / 448_000,
            kv_tokens=448_000.0,
            preemptions=0.0,
        )
