"""The scanner for single numbers of a metrics page."""

import json

import pytest

from agentfleet.sidecar.exposition import lines_of, total, unquoted

VLLM = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="tiny"} 2.0
vllm:num_requests_running{engine="1",model_name="a } b"} 1.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="tiny"} 4.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="tiny",reason="capacity"} 99.0
"""
LLAMA = "llamacpp:requests_processing 1\nllamacpp:requests_deferred 3\n"


@pytest.mark.parametrize(
    ("page", "names", "expected"),
    [
        (VLLM, ("vllm:num_requests_running", "vllm:num_requests_waiting"), 7),
        (VLLM, ("vllm:num_requests_waiting",), 4),
        (LLAMA, ("llamacpp:requests_processing", "llamacpp:requests_deferred"), 4),
        (LLAMA, ("llamacpp:requests_processing", "llamacpp:absent"), None),
        ("llamacpp:requests_processing 1 1795227799000\n", ("llamacpp:requests_processing",), 1),
        ("llamacpp:requests_processing NaN\n", ("llamacpp:requests_processing",), None),
        ("llamacpp:requests_processing\n", ("llamacpp:requests_processing",), None),
        ("llamacpp:requests_processing x\n", ("llamacpp:requests_processing",), None),
        ("", ("llamacpp:requests_processing",), None),
        ('{"error":"Loading model"}', ("llamacpp:requests_processing",), None),
    ],
)
def test_total(page: str, names: tuple[str, ...], expected: int | None) -> None:
    assert total(page, names) == expected


def test_lines_of_the_metrics_that_are_asked_for() -> None:
    names = {"vllm:num_requests_waiting", "llamacpp:requests_deferred", "vllm:absent"}
    assert lines_of(VLLM + LLAMA, names) == (
        'vllm:num_requests_waiting{engine="0",model_name="tiny"} 4.0\nllamacpp:requests_deferred 3\n'
    )
    line = 'vllm:num_requests_waiting{model_name="a\x85\u2028b"} 1'
    assert lines_of(line, names) == line + "\n"


@pytest.mark.parametrize("text", [json.dumps(LLAMA), LLAMA])
def test_a_page_in_quotes(text: str) -> None:
    assert unquoted(text) == LLAMA


def test_what_only_begins_with_a_quote() -> None:
    assert unquoted('"half') == '"half'
