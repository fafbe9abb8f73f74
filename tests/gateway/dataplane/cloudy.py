"""A route with a small model, a big one and a cloud behind it, and what its tests have in common."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

import httpx

from agentfleet.gateway.layout import DECIDER_PORT
from agentfleet.gateway.types import Match, Rule
from e2e.support.scripted import Server
from tests.gateway import routes
from tests.gateway.dataplane import deciding, dns, gateway

BUFFER = 64 * 1024
INTENT_MS = 1500
"""What a machine that is busy answers in."""

_numbers = count()


@dataclass
class Route:
    gateway: gateway.Gateway
    decider: deciding.Decider
    small: Server
    big: Server
    cloud: Server


@contextmanager
def running(zone: dns.Zone, port: int) -> Iterator[Route]:
    """The route, once all its pods are known."""
    small = routes.target(0, "small", tier="Lightweight")
    big = routes.target(1, "big", tier="Capable", tasks=("code",))
    cloud = routes.target(2, "cloud", kind="External", location="Cloud", model="cloud-id")
    rules = (Rule("to-cloud", Match(models=("gpt-*",)), ("t2",)),)
    policy = routes.policy(small, big, cloud, rules=rules, intents=("code", "talk"), deny_cloud_from="Confidential")
    at = {"port": port, "service_port": port}
    outside = routes.backend(cloud, host="127.0.0.20", port=port, health=None, path="/delay=0/v1", has_credentials=True)
    backends = (routes.backend(small, **at), routes.backend(big, **at), outside)
    layout = routes.layout(
        policy,
        backends=backends,
        buffer=BUFFER,
        max_body=10 * BUFFER,
        ask_intent=True,
        intent_ms=INTENT_MS,
        audit_content=True,
    )
    ports = gateway.free_ports()
    with (
        gateway.pods(zone, "small", 1, port) as (one,),
        gateway.pods(zone, "big", 1, port, first=10) as (two,),
        gateway.pods(zone, "cloud", 1, port, first=20) as (three,),
        deciding.serving(ports[DECIDER_PORT]) as decider,
        gateway.running(policy, layout, zone, ports=ports, credentials={"t2": "sk-cloud"}) as started,
    ):
        started.wait_for(pool_t0=1, pool_t1=1, pool_t2=1)
        yield Route(started, decider, one, two, three)


def new(text: str) -> str:
    """A text that begins a conversation of its own."""
    return f"{text} ({next(_numbers)})"


def error_of(response: httpx.Response) -> tuple[int, str]:
    """Status and code of an answer in OpenAI's form."""
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    assert response.headers["x-agentroute-decision"]
    error = response.json()["error"]
    assert set(error) >= {"message", "type", "param", "code"}
    return response.status_code, error["code"]
