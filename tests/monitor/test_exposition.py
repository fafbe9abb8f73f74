"""The line scanner against the reference parser, and every engine's page in every version that may run."""

import math
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from agentfleet.autoscale.samples import EngineSample, Histogram
from agentfleet.monitor.engines import ENGINES, LLAMA_CPP, OLLAMA, VLLM, Engine
from agentfleet.monitor.exposition import label_of, labels_of, scan

FOLDER = Path(__file__).parent
VLLM_PAGE = (FOLDER / "vllm-metrics.txt").read_text()
"""What the scraper reads of vLLM 0.32's page, and its neighbours."""
LLAMA_PAGE = (FOLDER / "llama-server-metrics.txt").read_text()


def sample_of(engine: Engine, page: str, max_running: float | None = None) -> EngineSample:
    return engine.read(scan(page, engine.names), 100.0, max_running)


def without(page: str, name: str) -> str:
    return "".join(line for line in page.splitlines(keepends=True) if name not in line)


# Names in the text format; a name must not be a prefix's end of another family for the reference parser's sake.
NAMES = st.sampled_from(["up", "vllm:running", "vllm:running_by_reason", "a_bucket", "x_total"])
VALUES = st.one_of(st.floats(), st.integers(-(10**6), 10**6).map(float))
LABEL_NAMES = st.text(string.ascii_letters + "_", min_size=1, max_size=6).filter(lambda name: not name.startswith("__"))
LABELS = st.dictionaries(LABEL_NAMES, st.text(max_size=12), max_size=3)
SAMPLES = st.lists(st.tuples(NAMES, LABELS, VALUES, st.booleans()), max_size=12)


def escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


@given(SAMPLES)
def test_the_reference_parser_says_the_same(samples: list[tuple[str, dict[str, str], float, bool]]) -> None:
    page = '# HELP up is {it="up"} 1\n\n'
    for name, labels, value, stamped in samples:
        inside = ",".join(f'{key}="{escaped(text)}"' for key, text in labels.items())
        page += f"{name}{'{' + inside + '}' if labels else ''} {value}{' 1795227799000' if stamped else ''}\n"
    wanted = {"up", "vllm:running", "a_bucket"}
    found = [
        (name, labels_of(labels), value)
        for name, all_of_it in scan(page, wanted).items()
        for labels, value in all_of_it
    ]
    reference = [
        (sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name in wanted
    ]
    assert sorted(map(repr, found)) == sorted(map(repr, reference))


@given(st.text() | SAMPLES.map(repr), NAMES)
def test_no_page_is_too_much(page: str, name: str) -> None:
    for text in (page, f"{name}{{{page}}} 1", f"{name} {page}"):
        for labels, _ in scan(text, {name}).get(name, ()):
            labels_of(labels)
        for engine in ENGINES.values():
            sample_of(engine, text)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("", {}),
        ('a="1"', {"a": "1"}),
        ('a="1",b="2",', {"a": "1", "b": "2"}),
        (' a = "1" , b="x,le=" ', {"a": "1", "b": "x,le="}),
        ('b="x,le=",le="5"', {"b": "x,le=", "le": "5"}),
        (r'a="q\"\\\n\t"', {"a": 'q"\\\n\\t'}),
        ('a="1" b', {}),
        ("a=1", {}),
    ],
)
def test_labels(text: str, labels: dict[str, str]) -> None:
    assert labels_of(text) == labels
    assert all(label_of(text, name) == value for name, value in labels.items())
    assert label_of(text, "absent") is None


@given(LABELS, st.sampled_from(["a", "le", "_"]), st.sampled_from(["{}={}", "{} = {}", "{}= {}"]))
def test_one_label_is_the_one_of_all(labels: dict[str, str], name: str, form: str) -> None:
    labels |= {"file": "le=", "le": labels.get("le", ",le=")}
    text = ",".join(form.format(key, f'"{escaped(value)}"') for key, value in labels.items())
    assert labels_of(text) == labels
    assert label_of(text, name) == labels.get(name)


def test_vllm_as_it_was_seen() -> None:
    sample = sample_of(VLLM, VLLM_PAGE, 256.0)
    assert (sample.at, sample.max_running, sample.missing) == (100.0, 256.0, ())
    assert (sample.running, sample.waiting, sample.completed, sample.failed, sample.aborted) == (0, 0, 5, 0, 0)
    assert (sample.prompt_tokens, sample.output_tokens, sample.preemptions) == (153, 622, 0)
    assert (sample.steps, sample.step_tokens) == (223, 775)
    assert (sample.kv_used, sample.kv_tokens) == (0, 1048576)
    assert (sample.started_at, sample.rss, sample.cpu_seconds) == (1.79522636212e9, 6.47512064e8, 9.07)
    first = sample.time_to_first_token
    assert first is not None
    assert (len(first.bounds), first.bounds[-1], first.count) == (23, math.inf, 5)
    assert first.sum == pytest.approx(0.12517, rel=1e-4)
    assert sample.time_per_output_token is not None
    assert sample.time_per_output_token.count == 5, "of requests, not of tokens"
    assert sample.request_time is not None
    assert sample.request_time.sum == pytest.approx(1.64699, rel=1e-4)
    assert (sample.prompt_seconds, sample.output_seconds, sample.tokens_per_second) == (None, None, None)


def test_llama_server_as_it_was_seen() -> None:
    assert sample_of(LLAMA_CPP, LLAMA_PAGE, 4.0) == EngineSample(
        at=100.0,
        running=0,
        waiting=0,
        max_running=4.0,
        prompt_tokens=40,
        output_tokens=22,
        prompt_seconds=0.002951,
        output_seconds=0.002023,
        steps=22,
    )


def test_numbers_are_as_old_as_the_sidecar_says() -> None:
    assert sample_of(LLAMA_CPP, LLAMA_PAGE + "agentfleet_sidecar_page_age_seconds 2.5\n").at == 97.5
    assert sample_of(LLAMA_CPP, LLAMA_PAGE + "agentfleet_sidecar_page_age_seconds NaN\n").at == 100


def test_llama_server_before_it_lost_its_cache_metrics() -> None:
    assert sample_of(LLAMA_CPP, LLAMA_PAGE + "llamacpp:kv_cache_usage_ratio 0.25\n").kv_used == 0.25


@pytest.mark.parametrize(
    ("in_flight", "parallel", "running", "waiting"),
    [(0, 1, 0, 0), (3, 1, 1, 2), (3, 4, 3, 0), (3, None, 3, None)],
)
def test_ollama_queues_what_it_does_not_take_at_once(
    in_flight: int, parallel: float | None, running: float, waiting: float | None
) -> None:
    page = f'agentfleet_sidecar_in_flight {in_flight}\nagentfleet_sidecar_probe_tokens_per_second{{model="a"}} 20.5\n'
    page += 'agentfleet_sidecar_probe_seconds{model="a",statistic="last"} 0.6\n'
    page += 'agentfleet_sidecar_probe_seconds{model="a",statistic="max"} 9\n'
    sample = sample_of(OLLAMA, page, parallel)
    assert (sample.running, sample.waiting, sample.missing) == (running, waiting, ())
    assert (sample.tokens_per_second, sample.probe_seconds) == (20.5, 0.6)


@pytest.mark.parametrize(("age", "speed"), [(30.0, 20.5), (89.0, 20.5), (91.0, None), (-3.0, 20.5)])
def test_an_old_probe_of_a_busy_ollama_is_nobodys_word(age: float, speed: float | None) -> None:
    page = "agentfleet_sidecar_in_flight 4\n"
    page += 'agentfleet_sidecar_probe_tokens_per_second{model="a"} 20.5\n'
    page += f'agentfleet_sidecar_probe_last_success_timestamp_seconds{{model="a"}} {10_000 - age}\n'
    samples = scan(page, frozenset(OLLAMA.names))
    assert OLLAMA.read(samples, 10_000.0, 1.0).tokens_per_second == speed


def test_ollama_that_cannot_be_seen() -> None:
    sample = sample_of(OLLAMA, "")
    assert (sample.running, sample.waiting, sample.missing) == (None, None, ("agentfleet_sidecar_in_flight",))


@pytest.mark.parametrize(
    ("new", "old", "field"),
    [
        ("vllm:kv_cache_usage_perc{", "vllm:gpu_cache_usage_perc{", "kv_used"),
        ("vllm:num_requests_waiting_by_reason{", "vllm:other{", "waiting"),
        ("vllm:prompt_tokens_by_source_total{", "vllm:other{", "prompt_tokens"),
    ],
)
def test_former_names(new: str, old: str, field: str) -> None:
    sample = sample_of(VLLM, VLLM_PAGE.replace(new, old))
    assert sample.missing == ()
    assert getattr(sample, field) == getattr(sample_of(VLLM, VLLM_PAGE), field)


def test_former_names_of_the_time_per_output_token() -> None:
    page = without(VLLM_PAGE, "vllm:request_time_per_output_token_seconds")
    for each in (page, page.replace("vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds")):
        sample = sample_of(VLLM, each)
        assert sample.missing == ()
        assert sample.time_per_output_token is not None
        assert sample.time_per_output_token.count == 617


@pytest.mark.parametrize("bad", ["NaN", "+Inf", "-1", "", "fast", "1.0.0"])
@pytest.mark.parametrize("name", ["vllm:num_requests_running", "vllm:iteration_tokens_total_sum"])
def test_what_is_no_number_is_missing_and_not_zero(name: str, bad: str) -> None:
    lines = [
        line.rpartition(" ")[0] + " " + bad if line.startswith(name + "{") else line for line in VLLM_PAGE.split("\n")
    ]
    sample = sample_of(VLLM, "\n".join(lines))
    assert sample.missing == (name,)
    assert None in (sample.running, sample.step_tokens)


def test_a_renamed_metric_is_told_by_its_newest_name() -> None:
    page = VLLM_PAGE.replace("vllm:kv_cache_usage_perc", "vllm:kv_cache_used").replace(
        "vllm:e2e_request_latency_seconds", "vllm:request_seconds"
    )
    sample = sample_of(VLLM, page)
    assert sample.missing == ("vllm:kv_cache_usage_perc", "vllm:e2e_request_latency_seconds")
    assert (sample.kv_used, sample.request_time) == (None, None)


def test_what_a_version_never_had_is_only_unknown() -> None:
    page = without(without(VLLM_PAGE, "vllm:admission_rejections"), "vllm:cache_config_info")
    sample = sample_of(VLLM, page)
    assert (sample.missing, sample.failed, sample.kv_tokens) == ((), 0, None)


def test_no_page_at_all_is_all_missing() -> None:
    sample = sample_of(VLLM, "")
    assert len(sample.missing) == 12
    assert sample == EngineSample(at=100.0, missing=sample.missing)


def test_several_engine_cores_add_up_but_for_shares() -> None:
    second = VLLM_PAGE.replace('engine="0"', 'engine="1"').replace(
        'usage_perc{engine="1",model_name="tiny"} 0.0', 'usage_perc{engine="1",model_name="tiny"} 0.5'
    )
    sample = sample_of(VLLM, VLLM_PAGE + second)
    assert (sample.completed, sample.steps, sample.kv_used, sample.kv_tokens) == (10, 446, 0.25, 2097152)
    assert sample.time_to_first_token is not None
    assert (len(sample.time_to_first_token.bounds), sample.time_to_first_token.count) == (23, 10)


def test_requests_that_were_turned_away_failed() -> None:
    page = VLLM_PAGE.replace('reason="max_num_queued_reqs"} 0.0', 'reason="max_num_queued_reqs"} 7.0')
    page = page.replace(
        'finished_reason="error",model_name="tiny"} 0.0', 'finished_reason="error",model_name="tiny"} 2.0'
    )
    page = page.replace(
        'finished_reason="abort",model_name="tiny"} 0.0', 'finished_reason="abort",model_name="tiny"} 4.0'
    )
    sample = sample_of(VLLM, page)
    assert (sample.completed, sample.failed, sample.aborted) == (5, 9, 4)


def test_only_waiting_for_room_calls_for_more() -> None:
    page = VLLM_PAGE.replace('reason="deferred"} 0.0', 'reason="deferred"} 9.0').replace(
        'reason="capacity"} 0.0', 'reason="capacity"} 2.0'
    )
    assert sample_of(VLLM, page).waiting == 2


@pytest.mark.parametrize(
    "lines",
    [
        'm_bucket{le="1"} 5\nm_bucket{le="+Inf"} 4\nm_sum 1',  # falls
        'm_bucket{le="1"} 5\nm_sum 1',  # no end
        'm_bucket{le="1"} NaN\nm_bucket{le="+Inf"} 6\nm_sum 1',
        'm_bucket{le="1"} -5\nm_bucket{le="+Inf"} 6\nm_sum 1',
        'm_bucket{le="one"} 5\nm_bucket{le="+Inf"} 6\nm_sum 1',
        'm_bucket{} 5\nm_bucket{le="+Inf"} 6\nm_sum 1',
        'm_bucket{le="+Inf"} 6',  # no sum
        'm_bucket{le="+Inf"} 6\nm_sum NaN',
    ],
)
def test_a_broken_histogram_is_missing(lines: str) -> None:
    engine = Engine(numbers={}, histograms={"request_time": ("m",)})
    sample = sample_of(engine, lines)
    assert (sample.request_time, sample.missing) == (None, ("m",))


def test_buckets_come_in_any_order() -> None:
    engine = Engine(numbers={}, histograms={"request_time": ("m",)})
    sample = sample_of(engine, 'm_bucket{le="+Inf"} 6\nm_bucket{a="b",le="0.5"} 2\nm_sum 9\n')
    assert sample.request_time == Histogram((0.5, math.inf), (2, 6), 9)


def test_the_question_fits_into_what_the_sidecar_takes() -> None:
    for engine in ENGINES.values():
        assert len(engine.names) <= 64
        assert max(map(len, engine.names)) <= 120
