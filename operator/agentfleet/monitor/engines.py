"""What each engine's metrics are called, in every version that may run: from a page's samples to an EngineSample. Pure.

    page of the sidecar ─ exposition.scan ─▶ samples by name ─ Engine.read ─▶ EngineSample

Engines rename and remove metrics, so each field has an ordered list of names; the first that the page has counts. A
field of which none is there is None. Where every version had it under some name, it is also `missing`: somebody has to
be told, for nothing must be decided on a number that nobody says. Never is a number made up, and never is one 0 for
being absent.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from agentfleet.autoscale.samples import EngineSample, Histogram
from agentfleet.manifests.agent_names import AGENT_PORT
from agentfleet.manifests.pod import SIDECAR_PORT
from agentfleet.monitor.exposition import Samples, label_of, labels_of

Values = dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Metric:
    """One name of a number."""

    name: str
    label: str | None = None
    values: tuple[str, ...] = ()
    """Where a label is named, only samples whose label has one of these values count."""

    def chosen(self, samples: Samples) -> list[float]:
        """The values of the samples that count; empty where the page lacks the metric, or all of those."""
        found = samples.get(self.name, ())
        if self.label is None:
            return [value for _, value in found]
        return [value for labels, value in found if label_of(labels, self.label) in self.values]


@dataclass(frozen=True, slots=True)
class Number:
    """One number, under all its names."""

    metrics: tuple[Metric, ...]
    """The one to prefer first. Several samples (one for each engine core or adapter) are added up."""
    required: bool = True
    """Every version has it: its absence is told."""
    mean: bool = False
    """It is a share or a speed: the mean of several samples."""

    def read(self, samples: Samples) -> float | None:
        """None where it is absent, and where a sample is no number that it can have."""
        for metric in self.metrics:
            if chosen := metric.chosen(samples):
                total = sum(chosen) if min(chosen) >= 0 else math.nan
                value = total / len(chosen) if self.mean else total
                return value if math.isfinite(value) else None
        return None


def _number(*names: str, required: bool = True, mean: bool = False) -> Number:
    return Number(tuple(map(Metric, names)), required, mean)


_AGE = "agentfleet_sidecar_page_age_seconds"
"""The sidecar does not make us wait for an engine that is slow to answer: it may send what it said before."""
_PAGE_AGE = _number(_AGE, required=False)


@dataclass(frozen=True, slots=True)
class Engine:
    """The metrics of one engine."""

    numbers: Mapping[str, Number]
    """By field of EngineSample, or by a name that `finish` takes away."""
    histograms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By field: names, without _bucket and _sum. All are required."""
    infos: tuple[str, ...] = ()
    """Metrics whose labels `finish` looks at."""
    finish: Callable[[Values, Samples, float | None, float], None] | None = None
    """What takes more than a table: changes the values in place. The last arguments are max_running and the time."""
    alert: str | None = None
    """Gauge that is 1 while something is out of bounds by the engine's own account; its label `metric` says what."""
    port: int = SIDECAR_PORT
    path: str = "/engine?names={names}"
    """Where its page is: at the sidecar, which sends only the lines that are asked for, or at the engine itself."""

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that `read` looks for."""
        plain = [metric.name for number in self.numbers.values() for metric in number.metrics]
        parts = [name + part for names in self.histograms.values() for name in names for part in ("_bucket", "_sum")]
        alerts = (self.alert,) if self.alert else ()
        return tuple(dict.fromkeys((*plain, *parts, *self.infos, *alerts, _AGE)))

    def read(self, samples: Samples, at: float, max_running: float | None) -> EngineSample:
        """What one replica's page says, which came `at`. `max_running` is from the spec, for engines do not tell it."""
        values: Values = {name: number.read(samples) for name, number in self.numbers.items()}
        missing = [
            number.metrics[0].name for name, number in self.numbers.items() if number.required and values[name] is None
        ]
        fields: dict[str, Any] = values
        if self.finish is not None:
            self.finish(values, samples, max_running, at)
        for name, names in self.histograms.items():
            fields[name] = _histogram(names, samples)
            if fields[name] is None:
                missing.append(names[0])
        age = _PAGE_AGE.read(samples) or 0.0
        alerts = _alerts(samples.get(self.alert or "", ()))
        return EngineSample(at=at - age, max_running=max_running, missing=tuple(missing), alerts=alerts, **fields)


def _alerts(samples: Sequence[tuple[str, float]]) -> tuple[str, ...]:
    """What is out of bounds now, by its label `metric`."""
    found = {label_of(labels, "metric") or "" for labels, value in samples if value > 0}
    return tuple(sorted(name[:_LONGEST_ALERT] for name in found if name))[:_MOST_ALERTS]


def _histogram(names: tuple[str, ...], samples: Samples) -> Histogram | None:
    """The first of the histograms `names` that the page has; None where it has none, or where that one is broken."""
    for name in names:
        if buckets := samples.get(name + "_bucket"):
            return _assembled(buckets, samples.get(name + "_sum", ()))
    return None


def _assembled(buckets: Sequence[tuple[str, float]], sums: Sequence[tuple[str, float]]) -> Histogram | None:
    counts: dict[float, float] = {}
    for labels, value in buckets:
        try:
            bound = float(label_of(labels, "le") or "")
        except ValueError:
            return None
        counts[bound] = counts.get(bound, 0.0) + value
    bounds = sorted(counts)
    ordered: list[float] = []
    for bound in bounds:
        count, last = counts[bound], ordered[-1] if ordered else 0.0
        if not count >= last:  # or NaN
            return None
        ordered.append(last if count == last else count)  # most are the same: one object for them saves memory
    total = sum(value for _, value in sums) if sums else math.nan
    if bounds[-1] != math.inf or not math.isfinite(ordered[-1] + total):
        return None
    return Histogram(_shared(tuple(bounds)), tuple(ordered), total)


_LONGEST_ALERT, _MOST_ALERTS = 32, 8
"""A page may be of an image of the user's own."""


@lru_cache(maxsize=64)
def _shared(bounds: tuple[float, ...]) -> tuple[float, ...]:
    """One tuple for all replicas: their engines have the same buckets."""
    return bounds


_CACHE_CONFIG = "vllm:cache_config_info"


def _finish_vllm(values: Values, samples: Samples, _max_running: float | None, _at: float) -> None:
    errors, rejected = values["failed"], values.pop("rejected")
    values["failed"] = None if errors is None else errors + (rejected or 0.0)
    sizes = [_cache_tokens(labels_of(labels)) for labels, _ in samples.get(_CACHE_CONFIG, ())]
    # Where one engine core does not say how much it has, the sum would be too little.
    values["kv_tokens"] = sum(filter(None, sizes)) if sizes and None not in sizes else None


def _cache_tokens(labels: Mapping[str, str]) -> float | None:
    """Blocks times their size is the older way to say it, and wrong for models of several kinds of attention."""
    if (tokens := _positive(labels.get("kv_cache_size_tokens"))) is not None:
        return tokens
    blocks, size = _positive(labels.get("num_gpu_blocks")), _positive(labels.get("block_size"))
    return blocks * size if blocks is not None and size is not None else None


def _positive(text: str | None) -> float | None:
    """A number in a label; vLLM writes what it does not know as None."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 < value < math.inf else None


_PROBE_VALID = 90.0
"""Three probes. They are made while an engine is idle, so one that has been busy for long shows an old one."""


def _finish_ollama(values: Values, _samples: Samples, max_running: float | None, at: float) -> None:
    """Ollama queues what is more than it takes at once, and tells nobody: the connections that wait are all we see."""
    probed = values.pop("probed_at")
    if probed is not None and at - probed > _PROBE_VALID:
        values["tokens_per_second"] = values["probe_seconds"] = None
    in_flight = values.pop("in_flight")
    if in_flight is None or max_running is None:
        values["running"] = in_flight
        return
    values["running"] = min(in_flight, max_running)
    values["waiting"] = max(0.0, in_flight - max_running)


_FINISHED = "vllm:request_success_total"
_PROCESS = {
    "started_at": _number("process_start_time_seconds", required=False),
    "rss": _number("process_resident_memory_bytes", required=False),
    "cpu_seconds": _number("process_cpu_seconds_total", required=False),
}
"""They are absent where vLLM runs several API servers."""

VLLM = Engine(
    numbers={
        "running": _number("vllm:num_requests_running"),
        # What waits for another reason (a transfer, a grammar) is not helped by another replica.
        "waiting": Number(
            (
                Metric("vllm:num_requests_waiting_by_reason", "reason", ("capacity",)),
                Metric("vllm:num_requests_waiting"),
            )
        ),
        "completed": Number((Metric(_FINISHED, "finished_reason", ("stop", "length", "repetition")),)),
        "failed": Number((Metric(_FINISHED, "finished_reason", ("error",)),), required=False),
        "aborted": Number((Metric(_FINISHED, "finished_reason", ("abort",)),), required=False),
        "rejected": _number("vllm:admission_rejections_total", required=False),
        "prompt_tokens": Number(
            (
                Metric("vllm:prompt_tokens_by_source_total", "source", ("local_compute",)),
                Metric("vllm:prompt_tokens_total"),
            )
        ),
        "output_tokens": _number("vllm:generation_tokens_total"),
        "steps": _number("vllm:iteration_tokens_total_count"),
        "step_tokens": _number("vllm:iteration_tokens_total_sum"),
        "kv_used": _number("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc", mean=True),
        "preemptions": _number("vllm:num_preemptions_total"),
        **_PROCESS,
    },
    histograms={
        "time_to_first_token": ("vllm:time_to_first_token_seconds",),
        # Of each request, as a goal is set for; then of each token; then that under its name before 0.11.
        "time_per_output_token": (
            "vllm:request_time_per_output_token_seconds",
            "vllm:inter_token_latency_seconds",
            "vllm:time_per_output_token_seconds",
        ),
        "request_time": ("vllm:e2e_request_latency_seconds",),
    },
    infos=(_CACHE_CONFIG,),
    finish=_finish_vllm,
)

LLAMA_CPP = Engine(
    numbers={
        "running": _number("llamacpp:requests_processing"),
        "waiting": _number("llamacpp:requests_deferred"),
        "prompt_tokens": _number("llamacpp:prompt_tokens_total"),
        "output_tokens": _number("llamacpp:tokens_predicted_total"),
        "prompt_seconds": _number("llamacpp:prompt_seconds_total"),
        "output_seconds": _number("llamacpp:tokens_predicted_seconds_total"),
        "steps": _number("llamacpp:n_decode_total", required=False),
        "kv_used": _number("llamacpp:kv_cache_usage_ratio", required=False),  # until May 2025
    }
)

OLLAMA = Engine(
    numbers={
        "in_flight": _number("agentfleet_sidecar_in_flight"),
        "tokens_per_second": _number("agentfleet_sidecar_probe_tokens_per_second", required=False, mean=True),
        "probe_seconds": Number(
            (Metric("agentfleet_sidecar_probe_seconds", "statistic", ("last",)),), required=False, mean=True
        ),
        "probed_at": _number("agentfleet_sidecar_probe_last_success_timestamp_seconds", required=False, mean=True),
    },
    finish=_finish_ollama,
)

AGENT = Engine(
    numbers={
        "running": _number("agentfleet_agent_in_flight"),
        "waiting": _number("agentfleet_agent_waiting"),
        # It has no labels, so it is there before the first run; a run takes as long as it takes, and counts at its end.
        "asked": _number("agentfleet_agent_queue_seconds_count"),
        **_PROCESS,
    },
    alert="agentfleet_agent_alert",
    port=AGENT_PORT,
    path="/metrics",
)
"""The runtime of Agents; what its replicas carry is said by spec.scaling.targetConcurrency, not learnt."""

AGENT_ENGINE = "Agent"

ENGINES: Mapping[str, Engine] = {"VLLM": VLLM, "LlamaCpp": LLAMA_CPP, "Ollama": OLLAMA, AGENT_ENGINE: AGENT}
"""What can be looked at: by spec.engine of ModelServers, and Agents. Other engines run outside the cluster's pods."""
