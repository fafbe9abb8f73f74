"""How much may come within the time that a new replica takes to serve. Pure.

Three answers, of which the largest counts: what comes now, where a trend leads, and what came before after times like
this one. The last is what the load factor `Auto` is made of: where load never jumped, little is held in reserve; where
it jumps faster than replicas start, the reserve is as large as the jumps were.
"""

import math
from array import array
from collections import deque
from dataclasses import dataclass

_SHORT, _LONG = 30.0, 120.0
_TREND = 120.0
_CERTAIN = 3.0
"""Standard errors that a slope must be above zero: chance shall not look like a trend …"""
_DOUBT = 0.5
"""… and those that are taken off it then."""
_KEEP = max(_LONG, _TREND) + 10.0
_CHANCE = 1.0
"""Standard deviations by which the last half minute must be above the last two minutes to count more."""
_PAIR = 10.0
"""Seconds of demand whose variance is measured: about what an engine takes to get over a burst."""
_PAIRS = 60.0
"""Pairs after which an older one counts for 1/e."""
_BIN = 30.0
_BINS = 480
"""Four hours."""
_ALIKE = 0.5
"""Past levels within this share of the present one tell what may follow."""
_LIKENESSES = 30
"""So many must be known, or else the prior counts too."""
_PRIOR_GROWTH = 0.15
_QUANTILE = 0.95
_WORKED_OFF = 45.0
"""A jump that is not met hurts for longer than replicas take: it has to be noticed, and what waits worked off."""
_LATELY = 2.0
"""A slope is not believed where the last minute shows it to be over, by so many standard errors."""
_MOST_GROWTH = 2.0
"""A trend is followed up to so many times the present demand …"""
_RECENT = 20
_JUMPY = 2.0
_BEYOND = 1.1
"""… or, where the highest demand that is remembered is _JUMPY times the usual, up to _BEYOND times that."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """Demand now and within the horizon, in requests per second or requests at once."""

    now: float
    trend: float
    """Where a trend leads; `now` where there is none."""
    jumps: float
    """What followed times like this one, at the 95th percentile."""
    noise: float
    """Standard deviation of ten seconds' demand around its mean."""
    burstiness: float = 1.0
    """Variance of the requests of ten seconds as a share of their mean: 1 for random arrivals."""

    @property
    def peak(self) -> float:
        return max(self.now, self.trend, self.jumps)


class Demand:
    """What was asked of one ModelServer: some minutes of ticks, some hours of half minutes."""

    __slots__ = ("_bins", "_highest", "_jump_at", "_jumps", "_level", "_open", "_pair", "_pairs", "_scatter", "_ticks")

    def __init__(self) -> None:
        self._ticks: deque[tuple[float, float, float]] = deque()
        """(time, seconds, rate)"""
        self._bins = array("f")
        self._open = (0.0, 0.0, 0.0)
        """Start, seconds and requests of the bin that is being filled."""
        self._pair = (-math.inf, 0.0)
        self._level: float | None = None
        self._pairs = self._scatter = 0.0
        self._highest = 0.0
        self._jumps = 0.0
        self._jump_at = (-1, 0.0, 0.0)

    def add(self, now: float, rate: float) -> None:
        """Demand of the time since the last tick."""
        seconds = min(15.0, now - self._ticks[-1][0]) if self._ticks else 5.0
        if seconds <= 0:
            return
        self._ticks.append((now, seconds, rate))
        self._note_noise(now, seconds, rate)
        while now - self._ticks[0][0] > _KEEP:
            self._ticks.popleft()
        start, filled, requests = self._open
        if now - start >= _BIN and filled > 0:
            self._bins.append(requests / filled)
            if len(self._bins) > _BINS:
                del self._bins[: _BINS // 16]
            self._highest = self._past_jumps()
            start, filled, requests = now, 0.0, 0.0
        self._open = (start, filled + seconds, requests + rate * seconds)

    def _past_jumps(self) -> float:
        """The highest demand before the last minutes, where it was far above the usual; else 0."""
        past = self._bins[:-_RECENT]
        if len(past) < _LIKENESSES:
            return 0.0
        highest = max(past)
        return highest if highest >= _JUMPY * sorted(past)[len(past) // 2] else 0.0

    @property
    def bins(self) -> "array[float]":
        """Means of half minutes, the oldest first."""
        return self._bins

    def highest(self, seconds: float) -> float:
        """Of the half minutes of the last `seconds`."""
        return max(self._bins[-max(1, int(seconds / _BIN)) :], default=0.0)

    def mean(self, now: float, seconds: float) -> float | None:
        """Of the last `seconds`; None where nothing was seen in them."""
        total = weight = 0.0
        for time, length, rate in reversed(self._ticks):
            if now - time >= seconds:
                break
            total += rate * length
            weight += length
        return total / weight if weight else None

    def outlook(self, now: float, horizon: float) -> Outlook | None:
        """None where demand is not known."""
        short = self.mean(now, _SHORT)
        if short is None:
            return None
        long = self.mean(now, _LONG) or 0.0
        level = max(long, short - _CHANCE * self.noise(long) * math.sqrt(_PAIR / _SHORT))
        slope, error = self._slope(now, _TREND)
        trend = level
        if slope > _CERTAIN * error:
            lately, lately_error = self._slope(now, _TREND / 2)
            slope = min(slope - _DOUBT * error, lately + _LATELY * lately_error)
            trend = min(self._most(level), short + max(0.0, slope) * horizon)
        trend = max(level, trend)
        return Outlook(level, trend, self._jump(level, horizon), self.noise(trend), self._scatter * _PAIR)

    def _most(self, level: float) -> float:
        """How far a trend is followed. Where demand has jumped before, what looks like a trend is more often another
        jump, and those had an end."""
        most = level * _MOST_GROWTH
        return most if level >= self._highest else min(most, self._highest * _BEYOND)

    def _slope(self, now: float, seconds: float) -> tuple[float, float]:
        """Growth per second within the last `seconds`, and its standard error."""
        points = []
        for time, _, rate in reversed(self._ticks):
            if now - time >= seconds:
                break
            points.append((time - now, rate))
        count = len(points)
        if count < 6:
            return 0.0, 0.0
        mean_x = sum(x for x, _ in points) / count
        mean_y = sum(y for _, y in points) / count
        xx = sum((x - mean_x) ** 2 for x, _ in points)
        slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / xx
        rest = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in points) / (count - 2)
        usual = self._scatter * mean_y * _PAIR * (count - 1) / seconds
        return slope, math.sqrt(max(rest, usual) / xx)

    def _note_noise(self, now: float, seconds: float, rate: float) -> None:
        """From differences of neighbouring pairs of ticks, so that a trend does not count as noise; as a share of the
        rate, as for random arrivals, so that it holds at other rates too."""
        start, total = self._pair
        if now - start > 2 * _PAIR:
            # The first look, or a gap: nothing that is compared with it would be a jump.
            self._pair, self._level = (now, 0.0), None
            return
        total += rate * seconds
        if now - start < _PAIR - 1.0:
            self._pair = (start, total)
            return
        level = total / (now - start) if now > start else 0.0
        self._pair = (now, 0.0)
        before, self._level = self._level, level
        if before is None or before + level <= 0:
            return
        self._pairs = min(_PAIRS, self._pairs + 1.0)
        scatter = (level - before) ** 2 / (level + before)
        self._scatter += (scatter - self._scatter) / self._pairs

    def noise(self, level: float) -> float:
        """Standard deviation of ten seconds' demand at a mean of `level`."""
        return math.sqrt(max(self._scatter, 1 / _PAIR if self._pairs < 6 else 0.0) * level)

    def _jump(self, level: float, horizon: float) -> float:
        """The 95th percentile of the peak within `horizon` after times with a demand like `level`."""
        ahead = max(1, math.ceil((horizon + _WORKED_OFF) / _BIN))
        done, at, last = self._jump_at
        if done != len(self._bins) or last != ahead or abs(at - level) > 0.05 * level:
            self._jump_at = (len(self._bins), level, ahead)
            self._jumps = self._reckon(level, ahead)
        return level + self._jumps

    def _reckon(self, level: float, ahead: int) -> float:
        bins = self._bins
        near = _ALIKE * level
        grown = []
        for index in range(len(bins) - ahead):
            base = max(bins[index], (bins[index] + bins[index - 1] + bins[index - 2]) / 3) if index > 1 else bins[index]
            if abs(base - level) <= near:
                grown.append(max(bins[index + 1 : index + 1 + ahead]) - base)
        grown.sort()
        prior = _PRIOR_GROWTH * level
        if len(grown) < _LIKENESSES:
            return max(prior, grown[-1] if grown else 0.0)
        return max(0.0, grown[min(len(grown) - 1, int(_QUANTILE * len(grown)))])
