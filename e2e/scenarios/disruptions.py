"""What people do to a cluster under load: nodes are drained for maintenance."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from e2e.scenarios.scenario import Scenario


@contextmanager
def drained(scenario: Scenario, node: str) -> Iterator[None]:
    """A node without pods for the time of the block, as for its maintenance; with all that runs on it."""
    flags = ("--ignore-daemonsets", "--delete-emptydir-data", "--timeout=240s")
    try:
        scenario.kubectl("drain", node, *flags, timeout=270)
        yield
    finally:
        scenario.kubectl("uncordon", node)
