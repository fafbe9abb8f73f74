"""The policies by name, as `--policy` takes them: NAME, NAME-tuned, or NAME=SETTING.

Without a setting a baseline has its published default. `-tuned` is set with hindsight: the setting, of a grid, that
needs the fewest GPU-hours for 99.9 % on the first seed of this very trace, else the one that comes nearest. `static` is
chosen in the same way: the smallest number of replicas that reaches 99.9 %. Nobody has that knowledge beforehand; it is
what the product's policy, which has no setting at all, is measured against.

Where the fewest replicas are 0, the HPAs and KEDA keep one: engines' metrics, which they scale on here, say nothing
while there is no engine.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agentfleet.autoscale.decision import Goal, Learnt
from agentfleet.simulator.errors import BadInput
from agentfleet.simulator.faults import Faults
from agentfleet.simulator.fleet import Fleet
from agentfleet.simulator.hpa import on_keda_sum, on_pods_metric
from agentfleet.simulator.product import Product
from agentfleet.simulator.proxies import KPA_UTILIZATION, Kpa, Kubeai
from agentfleet.simulator.telemetry import engine_metric, gpu_metric

TUNED = "-tuned"
PRODUCT = "agentfleet"
STATIC = "static"


@dataclass(frozen=True)
class Surroundings:
    """What a policy is installed into."""

    fleet: Fleet
    faults: Faults
    goal: Goal
    gateway: bool
    """Whether the product's policy sees a gateway's counts beside those of engines."""
    learnt: Learnt | None = None

    @property
    def bounds(self) -> tuple[int, int]:
        """Fewest and most replicas."""
        return self.goal.minimum, self.goal.maximum


Grid = Callable[[float], Sequence[float]]
"""Settings to try, from the requests at once that a replica carries within the goal."""


@dataclass(frozen=True)
class Baseline:
    """Somebody else's autoscaler."""

    default: float
    install: Callable[[Surroundings, float], object]
    install_tuned: Callable[[Surroundings, float], object]
    grid: Grid
    setting: str
    """What the number is."""
    keeps_one: bool = False
    """It cannot go to zero, nor come from there."""


def _shares(*shares: float) -> Grid:
    return lambda knee: sorted({float(max(1, round(share * knee))) for share in shares})


_CONCURRENCY = _shares(0.1, 0.13, 0.15, 0.17, 0.18, 0.2, 0.22, 0.25, 0.3, 0.4, 0.5, 0.7)


def _hpa_gpu(around: Surroundings, target: float) -> object:
    return on_pods_metric(around.fleet, around.bounds, gpu_metric(around.fleet, around.faults), target)


def _hpa_concurrency(around: Surroundings, target: float) -> object:
    metric = engine_metric(around.fleet, around.faults, lambda sample: (sample.running or 0) + (sample.waiting or 0))
    return on_pods_metric(around.fleet, around.bounds, metric, target)


def _keda_queue(around: Surroundings, threshold: float) -> object:
    metric = engine_metric(around.fleet, around.faults, lambda sample: sample.waiting or 0)
    return on_keda_sum(around.fleet, around.bounds, metric, threshold)


def _kpa(delay: float) -> Callable[[Surroundings, float], object]:
    return lambda around, target: Kpa(around.fleet, around.faults, around.bounds, target, delay)


def _kubeai(window: float) -> Callable[[Surroundings, float], object]:
    return lambda around, target: Kubeai(around.fleet, around.faults, around.bounds, target, window)


BASELINES = {
    "hpa-gpu": Baseline(80, _hpa_gpu, _hpa_gpu, lambda _: (50, 60, 70, 80, 85, 90), "GPU utilization in percent", True),
    "hpa-concurrency": Baseline(
        5, _hpa_concurrency, _hpa_concurrency, _CONCURRENCY, "running and waiting requests of a replica", True
    ),
    "keda-queue": Baseline(
        5, _keda_queue, _keda_queue, lambda _: (1, 2, 3, 5, 10), "waiting requests for which there is one replica", True
    ),
    "kpa": Baseline(100 * KPA_UTILIZATION, _kpa(0), _kpa(300), _CONCURRENCY, "requests in flight for a replica"),
    "kubeai": Baseline(100, _kubeai(600), _kubeai(60), _CONCURRENCY, "active requests for a replica"),
}
"""Defaults: HPA on GPU utilization at 80 as commonly advised, on requests at 5 as vLLM production stack's operator has
it; KEDA at 5 waiting as in that project's tutorial; Knative at 70 % of 100 without a delay, tuned with one of 300 s;
KubeAI at 100 over ten minutes, tuned over one."""

NAMES = (PRODUCT, *BASELINES, *(name + TUNED for name in BASELINES), STATIC)


@dataclass(frozen=True)
class Choice:
    """One policy of the command line. A setting of None is the default, or to be found where it is tuned or static."""

    label: str
    name: str
    tuned: bool = False
    setting: float | None = None

    @property
    def needs_hindsight(self) -> bool:
        """Whether the setting has to be searched for."""
        return self.setting is None and (self.tuned or self.name == STATIC)


def parse_policies(text: str) -> list[Choice]:
    """A list with commas; BadInput names the one that is not known."""
    choices = [_parse(part.strip()) for part in text.split(",") if part.strip()]
    if not choices:
        raise BadInput(f"--policy: names no policy; legal are {', '.join(NAMES)}.")
    labels = [choice.label for choice in choices]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise BadInput(f"--policy: {twice[0]} is there twice.")
    return choices


def _parse(text: str) -> Choice:
    name, _, setting = text.partition("=")
    if name not in NAMES or (name == PRODUCT and setting):
        raise BadInput(f"--policy: {text!r} is not a policy; legal are {', '.join(NAMES)}, and NAME=SETTING.")
    number = None
    if "=" in text:
        try:
            number = float(setting)
        except ValueError:
            number = 0.0
        if not 0 < number < 1e6 or (name == STATIC and number != int(number)):
            raise BadInput(f"--policy: {text!r}: the setting has to be a number above 0, such as static=5.")
    return Choice(text, name.removesuffix(TUNED), name.endswith(TUNED), number)


def fewest(choice: Choice, goal: Goal) -> int:
    """Replicas below which this policy does not go."""
    return max(goal.minimum, int(choice.name in BASELINES and BASELINES[choice.name].keeps_one))


def install(choice: Choice, around: Surroundings) -> Product | None:
    """Put it to work; the product's own, where it is that."""
    if choice.name == PRODUCT:
        return Product(around.fleet, around.faults, around.goal, gateway=around.gateway, learnt=around.learnt)
    if choice.name != STATIC:
        baseline = BASELINES[choice.name]
        installer = baseline.install_tuned if choice.tuned else baseline.install
        installer(around, baseline.default if choice.setting is None else choice.setting)
    return None
