"""``bench agent``: its figures are paired, and it measures the real process."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from agentfleet.runtime.config import AgentConfig
from e2e.bench import agent
from e2e.bench.agent import Pairs, Start

SEEN = Start(2.0, 90.0, Pairs([1, 1, 9], [4, 3, 13], 2.5), Pairs([2, 2, 2], [8, 8, 8], 7.0), 100.0)


def test_overhead_is_of_pairs() -> None:
    """A slow moment is in both of a pair: it is none of the agent's."""
    found = json.loads(agent.report([SEEN, replace(SEEN, ready_s=3.0, rss_mb=104.0)], 100).json())
    assert found["name"] == "agent"
    assert found["values"] == {
        "overhead_ms": 3,
        "overhead_cpu_ms": 2.5,
        "bare_ms": 1,
        "stream_overhead_ms": 6,
        "stream_overhead_cpu_ms": 7,
        "stream_bare_ms": 2,
        "rss_idle_mb": 90,
        "rss_100_mb": 102,
        "rss_100_mb_min": 100,
        "rss_100_mb_max": 104,
        "ready_s": 2.5,
        "ready_s_min": 2,
        "ready_s_max": 3,
    }


def test_the_configuration_is_one(tmp_path: Path) -> None:
    made = agent.settings(8000, tmp_path)
    assert AgentConfig.from_json(made.to_json()) == made


def test_the_real_process_is_measured() -> None:
    found = agent.measure(argparse.Namespace(starts=1, pairs=2, sessions=2))
    assert {"overhead_ms", "overhead_cpu_ms", "rss_idle_mb", "rss_2_mb", "ready_s"} <= found.values.keys()
    assert found.values["overhead_ms"].median > 0
    assert 20 < found.values["rss_idle_mb"].median < 1000
