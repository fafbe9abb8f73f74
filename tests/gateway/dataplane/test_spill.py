"""Spill is exact: what finds no place goes to the next target and waits nowhere, by whichever gateway it comes."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from agentfleet.gateway.layout import Peer
from agentfleet.gateway.types import EVERY_CAUSE, Match, Rule
from e2e.cluster.shell import wait_until
from e2e.support.scripted import Server
from tests.gateway import routes
from tests.gateway.dataplane import crowds, dns, gateway

_PLACES = 10
_PODS = 2
_AT_ONCE = 60
_PEERS = (Peer("chat-route-0", "127.0.1.11"), Peer("chat-route-1", "127.0.1.12"))


@dataclass
class Office:
    gateways: list[gateway.Gateway]
    desk: list[Server]
    attic: Server
    threads: int
    """Of each gateway."""

    def all_are_placed(self) -> bool:
        """Nobody waits at a full desk, but for those whose threads took its last place for theirs."""
        at_desk = [each.in_flight for each in self.desk]
        return at_desk == [_PLACES] * _PODS and sum(at_desk) + self.attic.in_flight > _AT_ONCE - self.threads

    def told(self) -> str:
        """Where they are instead."""
        waiting = [[each.waiting(pool) for pool in ("pool_t0", "pool_t1")] for each in self.gateways]
        return f"At the desk {[each.in_flight for each in self.desk]}, attic {self.attic.in_flight}, waiting {waiting}"


@pytest.fixture(scope="module", params=[1, 4], ids=["one thread", "four threads"])
def office(request: pytest.FixtureRequest, zone: dns.Zone, port: int) -> Iterator[Office]:
    desk, attic = routes.target(0, "desk", capacity=_PLACES), routes.target(1, "attic")
    others = [routes.target(number, f"room-{number}", capacity=4) for number in range(2, 5)]
    rules = (
        Rule("full", Match(models=("full",)), ("t0",), fallback=("t1",), when=("Saturated",)),
        Rule("any", Match(models=("any",)), ("t0",), fallback=("t1",), when=EVERY_CAUSE),
        *(Rule(each.name, Match(models=(each.name,)), (each.id,), strategy="Sticky") for each in others),
    )
    policy = routes.policy(desk, attic, *others, rules=rules)
    backends = (routes.backend(desk, port=port, owner=0), routes.backend(attic, port=port))
    layout = routes.layout(policy, backends=backends, peers=_PEERS, grace_s=0, threads=request.param)
    ports = gateway.free_ports()
    with (
        gateway.pods(zone, "desk", _PODS, port, first=110) as pods,
        gateway.pods(zone, "attic", 1, port, first=114) as (spare,),
        gateway.running(policy, layout, zone, ports=ports, host="chat-route-0") as first,
        gateway.running(policy, layout, zone, ports=ports, host="chat-route-1") as second,
    ):
        first.wait_for(ready_t0=_PODS, ready_t1=1)
        second.wait_for(ready_t0=_PODS, ready_t1=1, own_t0=2)
        yield Office([first, second], pods, spare, request.param)


@pytest.mark.parametrize("model", ["full", "any"])
@pytest.mark.parametrize("by", [(0, 1), (0,), (1,)], ids=["both", "owner", "other"])
def test_what_finds_no_place_waits_nowhere(office: Office, model: str, by: tuple[int, ...]) -> None:
    """Nobody is answered before all have found a place. Threads that find the desk's last one at the same time may each
    take it for theirs; who does not get it waits for it, and the desk has it soon."""
    asked = [office.gateways[number] for number in by]
    for _ in range(2):
        for each in office.desk:
            each.forget()
        office.attic.forget()
        with ThreadPoolExecutor(1) as thread:
            with ExitStack() as held:
                for each in (*office.desk, office.attic):
                    held.enter_context(each.holding())
                sent = thread.submit(crowds.at_once, asked, model, _AT_ONCE)
                full = "the desk is full and all others are in the attic"
                wait_until(office.all_are_placed, full, timeout=20, hint=office.told)
            answers = sent.result()
        assert Counter(answer.status for answer in answers) == {200: _AT_ONCE}
        at_desk = sum(answer.served_by.startswith("desk") for answer in answers)
        assert 0 <= at_desk - _PODS * _PLACES < office.threads
        assert [each.peak for each in office.desk] == [_PLACES] * _PODS
