"""Agents on a real engine and a scripted one, asked by the clients that users have: OpenAI's and that of a2a-sdk."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from e2e.cluster import EmbeddedCluster
from e2e.scenarios import agents, scripted
from e2e.scenarios.agent import changes, clients, crowd, neighbours, protocols, sessions
from e2e.scenarios.agent.world import World
from e2e.scenarios.routes import wait_ready
from e2e.scenarios.scenario import Scenario

_IMAGE = "docker.io/agentfleet/runtime"
_SESSIONS = "/var/lib/agentfleet/e2e-agent-sessions"
_RUNTIME_USER = 65532
_READY = ("clerk", "own", "desk", "porter", "crowd")
Check = Callable[[World], None]


@pytest.fixture(scope="module")
def world(scenario: Scenario, embedded: EmbeddedCluster) -> Iterator[World]:
    """All of them at once, ready."""
    for node in embedded.nodes:
        node.run(["ctr", "-n", "k8s.io", "images", "tag", "--force", f"{_IMAGE}:dev", f"{_IMAGE}:own"])
    with _volume(scenario, embedded):
        items = scripted.manifests("scripted")
        scenario.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        scenario.kubectl("create", "configmap", "tickets", f"--from-file={scenario.folder / 'tickets.py'}")
        scenario.apply("tickets.yaml", "redis.yaml", "agents.yaml")
        agents.wait_ready(scenario, *_READY)
        wait_ready(scenario, "front")
        with scripted.control(scenario, "scripted") as model:
            yield World(scenario, embedded, model, agents.token(scenario))


@contextmanager
def _volume(scenario: Scenario, cluster: EmbeddedCluster) -> Iterator[None]:
    """A folder of the site store-1, as an administrator would make it: empty, and the agents' user may write."""
    folder = cluster.nodes[0].host_path(_SESSIONS)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.chown(folder, _RUNTIME_USER, _RUNTIME_USER)
    try:
        scenario.apply("volume.yaml")
        yield
    finally:
        scenario.kube.delete("PersistentVolume", "e2e-agent-sessions")
        shutil.rmtree(folder)


_CHECKS = (
    *clients.CHECKS,
    *protocols.CHECKS,
    *sessions.CHECKS,
    *neighbours.CHECKS,
    *crowd.CHECKS,
    *changes.CHECKS,
)


@pytest.mark.parametrize("check", _CHECKS, ids=lambda check: check.__name__)
def test_agent(world: World, check: Check) -> None:
    check(world)


def test_new_instructions_lose_no_request(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    changes.new_instructions_lose_no_request(world, capsys)


def test_a_rotated_secret_replaces_pods_that_have_it_in_a_variable(world: World) -> None:
    changes.a_rotated_secret_replaces_pods_that_have_it_in_a_variable(world)


def test_deletion_leaves_nothing(world: World) -> None:
    changes.deletion_leaves_nothing(world)
