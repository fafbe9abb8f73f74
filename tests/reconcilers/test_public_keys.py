"""public_keys.py: gateways are replaced when all of them would begin with other keys of tokens, once."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from agentfleet.manifests.gateway_pod import PUBLIC_KEYS_ANNOTATION
from agentfleet.objects import Key
from agentfleet.reconcilers.agentroute import AgentRoutes
from agentfleet.reconcilers.base import KindReconciler, Surroundings
from agentfleet.reconcilers.public_keys import PublicKeys
from tests.planning.route_fleet import render
from tests.reconcilers.routes import ROUTE, SET, RouteWorld

JWT = {"jwt": {"issuer": "https://login.example.com/", "audiences": ["a"], "publicKeySecretName": "login-keys"}}


class Signed(RouteWorld):
    """A route that checks tokens, and what its two gateways tell of their keys."""

    def __init__(self) -> None:
        self.woken: list[Key] = []
        self.told: list[dict[str, str] | None] = []
        super().__init__()
        self.model_server()
        self.route(auth=JWT)

    def kinds(self, around: Surroundings) -> dict[str, KindReconciler[Any]]:
        self.keys = PublicKeys(around.cache, self, lambda key, _: self.woken.append(key))
        return {"AgentRoute": AgentRoutes(around, render, self.keys.wanted)}

    async def pages(self, addresses: Sequence[str], path: str) -> Mapping[str, str]:
        assert path == "/public-keys"
        pairs = zip(addresses, self.told, strict=False)
        return {address: json.dumps(told) for address, told in pairs if told is not None}

    @property
    def mark(self) -> str | None:
        template = self.cluster.objects[SET]["spec"]["template"]["metadata"]
        found: str | None = template.get("annotations", {}).get(PUBLIC_KEYS_ANNOTATION)
        return found


def told(loaded: str, mounted: str | None) -> dict[str, str]:
    return {"loaded": loaded} | ({"mounted": mounted} if mounted else {})


@pytest.mark.parametrize(
    "answers",
    [
        [told("a", "a"), told("a", "a")],
        [told("a", "b"), told("a", "a")],  # the Secret has been renewed at one node only
        [told("a", "b"), None],
        [told("a", None), told("a", None)],  # nobody could begin with what lies there
        [told("a", "b"), {}],
        [told("a", "b")],
    ],
)
async def test_nothing_happens_until_all_agree_on_other_keys(answers: list[dict[str, str] | None]) -> None:
    world = Signed()
    await world.settle()
    world.told = answers
    await world.keys.look()
    assert (world.woken, world.keys.wanted(ROUTE)) == ([], None)


async def test_changed_keys_are_a_rollout_once_and_for_all_operators() -> None:
    world = Signed()
    await world.settle()
    assert world.mark is None
    world.told = [told("a", "b"), told("a", "b")]
    await world.keys.look()
    await world.keys.look()
    assert world.woken == [ROUTE]
    revision = world.status["revision"]
    await world.settle()
    assert world.mark == "b"
    assert world.status["revision"] != revision
    world.told = [told("b", "b"), told("a", "b")]
    await world.keys.look()
    world.told = [told("b", "b"), told("b", "b")]
    await world.keys.look()
    assert world.woken == [ROUTE]
    before = dict(world.cluster.objects)
    world.start()  # another operator, which has seen no change
    await world.settle()
    assert world.cluster.objects == before


async def test_a_route_without_tokens_is_not_asked_and_has_no_mark() -> None:
    world = Signed()
    await world.settle()
    world.told = [told("a", "b"), told("a", "b")]
    await world.keys.look()
    await world.settle()
    world.route()
    await world.settle()
    assert world.mark is None
    await world.keys.look()
    assert world.keys.wanted(ROUTE) is None
