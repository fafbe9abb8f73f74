"""Reports of one server as time goes by: windows that end, advice every five minutes, GPUs in bands. Pure."""

from collections.abc import Collection, Iterable

from agentfleet.autoscale.folding import Folded
from agentfleet.autoscale.report import MOST_ADVICE, STEP, WINDOW, WINDOW_OLLAMA, Window, recommend
from agentfleet.resources.scaling_status import GpuStatus, Recommendation, Report

_BAND = 5
_LONGEST = 256


class Reporting:
    """Fed with the samples of all replicas, half minute by half minute."""

    def __init__(self, since: float) -> None:
        self._window = Window(since)
        self._step = Window(since)
        self._replicas: dict[str, Window] = {}
        """Since the same moment as `_step`."""
        self._whole = False
        self.report: Report | None = None
        """The last whole window; in the first one, what there is of it."""
        self.gpu: GpuStatus | None = None

    def add(self, samples: Collection[Folded], until: float, *, engine: str, slow: float) -> bool:
        """Take in the samples that end at `until`; True where report or GPUs are others now.

        `slow` is the latency in seconds that advice is given for.
        """
        for folded in samples:
            self._window.add(folded)
            self._step.add(folded)
            self._replicas.setdefault(folded.replica, Window(self._step.since)).add(folded)
        first = self.gpu is None and self._see_gpus(samples)
        if until - self._step.since < STEP:
            return first
        advice = self._advice(until, engine, slow)
        seen = self._see_gpus(samples) or first
        self._step, self._replicas = Window(until), {}
        return self._tell(until, advice, WINDOW_OLLAMA if engine == "Ollama" else WINDOW) or seen

    def _advice(self, until: float, engine: str, slow: float) -> tuple[Recommendation, ...]:
        advice = [
            each
            for name, window in sorted(self._replicas.items())
            for each in recommend(name, window, until, slow, engine)
        ]
        return tuple(advice[:MOST_ADVICE])

    def _tell(self, until: float, advice: tuple[Recommendation, ...], length: float) -> bool:
        before = self.report
        if until - self._window.since >= length:
            self.report = self._window.report(until, advice)
            self._window, self._whole = Window(until), True
        elif self._whole and before is not None:
            self.report = before.model_copy(update={"recommendations": advice})
        else:
            self.report = self._window.report(until, advice)
        return self.report != before

    def latest(self, before: Report | None) -> Report | None:
        """What status shall hold after `before`, which a first window that has seen less does not replace."""
        if self.report is None:
            return before
        if before is None or self._whole or self.report.samples >= before.samples:
            return self.report
        return before.model_copy(update={"recommendations": self.report.recommendations})

    def _see_gpus(self, samples: Collection[Folded]) -> bool:
        before = self.gpu
        seen = [folded for folded in samples if folded.gpus]
        if not seen:
            self.gpu = None
            return before is not None
        sizes = [(each.gpu_memory, each.gpu_memory_total) for each in seen]
        used = [(memory, total) for memory, total in sizes if memory is not None and total]
        share = sum(memory for memory, _ in used) / sum(total for _, total in used) if used else None
        self.gpu = GpuStatus(
            count=sum(each.gpus for each in seen),
            utilization_percent=_band(self._step.gpu, before.utilization_percent if before else None),
            memory_percent=_band(share, before.memory_percent if before else None),
            problem=_words(seen),
        )
        return self.gpu != before


def _words(seen: Iterable[Folded]) -> str | None:
    """What could not be read, once each."""
    problems = dict.fromkeys(each.gpu_problem for each in seen if each.gpu_problem)
    return "; ".join(problems)[:_LONGEST] or None


def _band(share: float | None, before: int | None) -> int | None:
    """Percent in bands of five. A value at the edge of two stays where it was."""
    if share is None:
        return None
    percent = min(100.0, max(0.0, share * 100))
    if before is not None and abs(percent - before) < _BAND:
        return before
    return round(percent / _BAND) * _BAND
