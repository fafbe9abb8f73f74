"""Where all tiers are full, requests wait at the balanced one, and at no other that the plan names."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from e2e.cluster.shell import wait_until
from tests.gateway import routes
from tests.gateway.dataplane import crowds, dns, gateway

_TIERS = {"small": "Lightweight", "middle": "Balanced", "large": "Capable"}
_PLACES = 2


def test_when_all_tiers_are_full_requests_wait_at_the_balanced_one(zone: dns.Zone, port: int) -> None:
    targets = [
        routes.target(number, name, tier=tier, capacity=_PLACES) for number, (name, tier) in enumerate(_TIERS.items())
    ]
    policy = routes.policy(*targets)
    layout = routes.layout(policy, backends=tuple(routes.backend(each, port=port) for each in targets))
    with (
        gateway.pods(zone, "small", 1, port, first=120) as (small,),
        gateway.pods(zone, "middle", 1, port, first=121) as (middle,),
        gateway.pods(zone, "large", 1, port, first=122) as (large,),
        gateway.running(policy, layout, zone) as running,
        ThreadPoolExecutor(2) as threads,
    ):
        running.wait_for(ready_t0=1, ready_t1=1, ready_t2=1)
        pods = (small, middle, large)
        with ExitStack() as held:
            for each in pods:
                held.enter_context(each.holding())
            filling = threads.submit(crowds.at_once, [running], "auto", len(pods) * _PLACES)
            wait_until(lambda: all(each.in_flight == _PLACES for each in pods), "all tiers are full", timeout=20)
            waiting = threads.submit(crowds.at_once, [running], "auto", 2)
            wait_until(lambda: running.waiting("pool_t1") == 2, "they wait at the balanced one", timeout=20)
        assert Counter(each.status for each in filling.result()) == {200: len(pods) * _PLACES}
    assert {(each.status, each.served_by.rpartition("-")[0]) for each in waiting.result()} == {(200, "middle")}
