"""The stand-ins for sidecars of ``bench loop`` say what the scraper looks for, and each has an address of its own."""

import ipaddress

import pytest

from agentfleet.monitor.engines import VLLM
from agentfleet.monitor.exposition import scan
from e2e.bench.sidecars import address, page


@pytest.mark.parametrize("age", [0.0, 1.0, 3600.5])
def test_a_page_has_all_that_is_looked_for(age: float) -> None:
    sample = VLLM.read(scan(page(age, 2.5).decode(), VLLM.names), 0.0, 256.0)
    assert sample.missing == ()
    assert sample.kv_tokens == 448_000
    assert sample.time_to_first_token is not None
    assert sample.time_to_first_token.count == sample.completed


def test_counters_never_fall() -> None:
    samples = [VLLM.read(scan(page(age / 2, 2.5).decode(), VLLM.names), 0.0, None) for age in range(500)]
    completed = [sample.completed or 0.0 for sample in samples]
    assert completed == sorted(completed)
    assert 500 < completed[-1] < 800


def test_addresses() -> None:
    found = {address(number) for number in range(100_000)}
    assert len(found) == 100_000
    assert all(ipaddress.ip_address(each).is_loopback for each in found)
    assert "127.0.0.1" not in found
