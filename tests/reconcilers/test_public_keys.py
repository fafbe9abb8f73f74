"""public_keys.py: gateways are replaced when all of them would begin with other keys of tokens, once; and Secrets that
they find empty are said."""

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
        self.told: list[dict[str, Any] | None] = []
        super().__init__()
        self.model_server()
        self.route(auth=JWT)

    def kinds(self, around: Surroundings) -> dict[str, KindReconciler[Any]]:
        self.keys = PublicKeys(around.cache, self, lambda key, _: self.woken.append(key))
        return {"AgentRoute": AgentRoutes(around, render, self.keys.wanted, self.keys.lacking)}

    async def pages(self, addresses: Sequence[str], path: str) -> Mapping[str, str]:
        assert path == "/public-keys"
        pairs = zip(addresses, self.told, strict=False)
        return {address: json.dumps(told) for address, told in pairs if told is not None}

    async def resolved(self) -> tuple[str, str, str]:
        """Status, reason and message of ResolvedRefs after one more pass."""
        await self.once()
        found = next(each for each in self.status["conditions"] if each["type"] == "ResolvedRefs")
        return found["status"], found["reason"], found["message"]

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


async def test_a_route_without_tokens_has_no_mark() -> None:
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


CLOUD = {"url": "https://cloud.example/v1", "model": "m", "auth": {"secretName": "cloud-key"}}
EVERY_SECRET: dict[str, Any] = {
    "auth": {"apiKeys": {"secretName": "callers"}, **JWT},
    "targets": [{"name": "phi", "modelServerRef": {"name": "phi"}}, {"name": "cloud", "external": CLOUD}],
}


async def test_secrets_that_gateways_find_empty_are_a_condition() -> None:
    world = Signed()
    world.route(**EVERY_SECRET)
    await world.settle()
    world.told = [told("a", "a") | {"lacking": []}, {"loaded": "a", "lacking": ["keys", "t1"]}]
    await world.keys.look()
    await world.keys.look()
    assert world.woken == [ROUTE], "once"
    await world.settle()
    said = await world.resolved()
    assert said[:2] == ("False", "ConfigNotFound")
    assert "auth.apiKeys: Secret callers is not there or has no usable key" in said[2]
    assert "auth.jwt: Secret login-keys has no sound public key" in said[2]
    assert "Target cloud: Secret cloud-key is not there or has no usable key apiKey" in said[2]
    assert "Create the Secret" in said[2]
    assert world.condition("Ready") == ("True", "Serving")
    world.told = [None, None]
    await world.keys.look()
    assert await world.resolved() == said, "nobody has said that they are there"
    world.start()  # another operator, which has asked nobody yet
    assert await world.resolved() == said
    world.told = [told("a", "a") | {"lacking": []}] * 2
    await world.keys.look()
    assert (await world.resolved())[:2] == ("True", "TargetsResolved")


async def test_what_gateways_of_another_revision_or_version_say_does_not_count() -> None:
    world = Signed()
    await world.settle()
    world.told = [told("a", "a")] * 2  # older ones tell of digests alone
    await world.keys.look()
    assert (await world.resolved())[:2] == ("True", "TargetsResolved")
    world.told = [told("a", "a") | {"lacking": ["t0", "keys"]}] * 2
    world.route(**EVERY_SECRET)
    await world.keys.look()
    assert (await world.resolved())[:2] == ("True", "TargetsResolved"), "they have the Secrets of the former spec"
