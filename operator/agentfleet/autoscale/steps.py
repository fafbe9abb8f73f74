"""The step model of an engine that counts its steps: seconds = base + per_token × tokens + per_kv × KV tokens. Pure.

Recursive least squares on relative errors. Steady load teaches little and would, with plain forgetting, wash out what
busier times taught; so each octave of tokens per step forgets by itself, only as it learns anew.
"""

from agentfleet.autoscale.decision import Step
from agentfleet.autoscale.solve import non_negative

_FORGET = 0.995
_TOKENS, _KV = 100.0, 10_000.0
"""Units of the regressors, so that all weights are of like size."""
_TYPICAL_RATIO = 1 / 150
"""Prior: a token costs this share of an idle step …"""
_TYPICAL_KV_RATIO = 1e-5
"""… and a token in the cache this one. Weak: a few samples overrule it."""
_PRIOR = 0.05
_FEW, _ENOUGH = 4, 12
"""Samples before the model may add replicas, and before it may take them away."""
_OUTLIER = 2.7
"""Innovations further out than so many mean errors are not believed (NIS ≤ 7.4) …"""
_TOLERANCE = 0.08
_SURRENDER = 24
"""… unless so many come in a row: then the engine has changed, and all is learnt anew."""
_REMEMBERED = ((1.0, 1e3), (16.0, 2e4), (64.0, 1e4), (128.0, 8e4), (256.0, 4e4), (512.0, 2e5))
_REMEMBERED_TIMES = 8
"""Tokens in a step and in the KV cache for which a restored model is remembered, and for how many samples."""

Sums = list[float]
"""Σw, Σwt, Σwk, Σwtt, Σwtk, Σwkk, Σwy, Σwty, Σwky of one octave."""


class StepModel:
    """What is known about one server's engine; all its replicas teach it."""

    __slots__ = ("_error", "_octaves", "_refused", "_stale", "_step", "fastest", "samples")

    def __init__(self, step: Step | None = None, samples: int = 0) -> None:
        self._octaves: dict[int, Sums] = {}
        self._step = step
        self._stale = False
        self._error = 0.2
        self._refused = 0
        self.samples = samples
        self.fastest = step.base if step is not None else None
        """Shortest mean step that was seen."""
        if step is not None and step.base > 0:
            self._remember(step)

    def _remember(self, step: Step) -> None:
        """What was learnt before a restart counts like samples of all loads, until it is learnt anew."""
        for tokens, kv in _REMEMBERED:
            seconds = step.base + step.per_token * tokens + step.per_kv_token * kv
            for _ in range(_REMEMBERED_TIMES):
                self._add(tokens / _TOKENS, kv / _KV, seconds)

    @property
    def known(self) -> bool:
        return self.samples >= _ENOUGH

    @property
    def usable(self) -> bool:
        return self.samples >= _FEW

    def _predicted(self, tokens: float, kv: float) -> float | None:
        """By the model as it was last asked for: solving it for every sample would cost more than it tells."""
        step = self._step
        return None if step is None else step.base + step.per_token * tokens + step.per_kv_token * kv

    def learn(self, tokens: float, kv: float, seconds: float) -> bool:
        """Take in one mean step; whether it was believed."""
        expected = self._predicted(tokens, kv) if self.known else None
        if expected is not None:
            off = abs(seconds - expected) / max(expected, seconds)
            if off > _OUTLIER * max(self._error, _TOLERANCE):
                self._refused += 1
                if self._refused < _SURRENDER:
                    return False
                self._octaves.clear()
                self._step = None
                self.samples, self._error, self.fastest = 0, 0.2, None
            self._error += 0.05 * (off - self._error)
        self._refused = 0
        self.samples += 1
        self.fastest = seconds if self.fastest is None else min(self.fastest, seconds)
        self._add(tokens / _TOKENS, kv / _KV, seconds)
        self._stale = True
        return True

    def _add(self, tokens: float, kv: float, seconds: float) -> None:
        octave = int(max(tokens * _TOKENS, 1.0)).bit_length()
        sums = self._octaves.setdefault(octave, [0.0] * 9)
        weight = 1 / (seconds * seconds)
        row = (1.0, tokens, kv, tokens * tokens, tokens * kv, kv * kv, seconds, tokens * seconds, kv * seconds)
        for index, value in enumerate(row):
            sums[index] = sums[index] * _FORGET + weight * value

    @property
    def step(self) -> Step | None:
        """The model as of now; None before anything was seen."""
        if self._stale:
            self._stale = False
            self._step = self._solve()
        return self._step

    def _solve(self) -> Step | None:
        total = [sum(column) for column in zip(*self._octaves.values(), strict=True)]
        w, wt, wk, wtt, wtk, wkk, wy, wty, wky = total
        fastest = self.fastest or 0.0
        # The prior counts as a few samples with an error of its own size.
        prior = (_TYPICAL_RATIO * fastest * _TOKENS, _TYPICAL_KV_RATIO * fastest * _KV)
        unit = _PRIOR / (fastest * fastest) if fastest > 0 else 0.0
        ridge = tuple(unit * fastest * fastest / (value * value) if value > 0 else 0.0 for value in prior)
        matrix = [[w, wt, wk], [wt, wtt + ridge[0], wtk], [wk, wtk, wkk + ridge[1]]]
        right = [wy, wty + ridge[0] * prior[0], wky + ridge[1] * prior[1]]
        base, per_token, per_kv = non_negative(matrix, right)
        return Step(base, per_token / _TOKENS, per_kv / _KV)
