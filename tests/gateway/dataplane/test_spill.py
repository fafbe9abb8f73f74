"""Spill is exact: what finds no place goes to the next target and waits nowhere, by whichever gateway it comes."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from agentfleet.gateway.layout import Peer
from agentfleet.gateway.types import EVERY_CAUSE, Match, Rule
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
    threads: int
    """Of each gateway."""


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
        for each in (*pods, spare):
            each.play("delay=0.7")
        yield Office([first, second], pods, request.param)


@pytest.mark.parametrize("model", ["full", "any"])
@pytest.mark.parametrize("by", [(0, 1), (0,), (1,)], ids=["both", "owner", "other"])
def test_what_finds_no_place_waits_nowhere(office: Office, model: str, by: tuple[int, ...]) -> None:
    """Who waited would be served by the desk, in a second round. Threads that find its last place at the same time may
    each take it for theirs."""
    for _ in range(2):
        for each in office.desk:
            each.forget()
        answers = crowds.at_once([office.gateways[number] for number in by], model, _AT_ONCE)
        assert Counter(answer.status for answer in answers) == {200: _AT_ONCE}
        at_desk = sum(answer.served_by.startswith("desk") for answer in answers)
        assert 0 <= at_desk - _PODS * _PLACES < office.threads
        assert [each.peak for each in office.desk] == [_PLACES] * _PODS
