"""A route, and the folders of its gateway pod."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from agentfleet.decider.paths import Paths
from agentfleet.gateway.types import Header, Match, Policy, Rule, Target


@pytest.fixture
def paths() -> Iterator[Paths]:
    """Empty folders, with names short enough for Unix sockets."""
    with TemporaryDirectory(prefix="dec-") as folder:
        root = Path(folder)
        names = ("config", "run", "keys", "credentials")
        for name in names:
            (root / name).mkdir()
        others = {name: root / name for name in ("jwt", "tls", "identity")}
        yield Paths(**{name: root / name for name in names}, **others, budgets=root / "used.json")


@pytest.fixture
def policy() -> Policy:
    """Two agents, a model that scales to zero."""
    return Policy(
        namespace="team-a",
        name="support",
        aliases=("auto", "route/support"),
        targets=(
            Target(
                id="t0", name="helpdesk", kind="Agent", model="helpdesk", names=("agent/helpdesk",),
                tasks=("customer-service",),
            ),
            Target(
                id="t1", name="technical-support", kind="Agent", model="tech", names=("agent/technical-support",),
            ),
            Target(
                id="t2", name="small", kind="ModelServer", model="qwen", names=("model/small",), scales_to_zero=True,
            ),
        ),
        rules=(Rule(name="vip", match=Match(headers=(Header("x-plan", "gold"),)), targets=("t1",)),),
    )  # fmt: skip
