"""The decider process beside HAProxy with the configuration that is rendered for it: nothing in between is assumed."""

import dataclasses
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from agentfleet.decider.paths import Paths
from agentfleet.gateway import layout as places
from agentfleet.gateway.decider_config import DeciderConfig, DemandSource
from agentfleet.gateway.layout import Budget
from agentfleet.gateway.types import Match, Policy, Rule
from e2e.cluster.shell import wait_until
from tests.decider.test_process import ENVIRONMENT, words
from tests.decider.test_service import INTENTS
from tests.gateway import routes
from tests.gateway.dataplane import dns, gateway

KEY = {"authorization": "Bearer key-alice"}


@dataclasses.dataclass(frozen=True)
class Route:
    """One gateway with its decider."""

    gateway: gateway.Gateway
    page: str

    def metrics(self) -> str:
        """The decider's page; empty where it does not answer."""
        try:
            return httpx.get(f"{self.page}/metrics", trust_env=False).text
        except httpx.TransportError:
            return ""

    def wait_for(self, line: str) -> None:
        """Wait until the page has a line."""
        wait_until(lambda: line in self.metrics(), line, timeout=10, interval=0.1, hint=self.metrics)


@pytest.fixture(scope="module")
def route() -> Iterator[Route]:
    helper = routes.target(0, "helper", kind="Agent", tasks=("customer-service",))
    model = routes.target(1, "small", tier="Lightweight")
    rules = (Rule(name="money", match=Match(intents=("refunds",)), targets=("t0",)),)
    policy = routes.policy(helper, model, rules=rules, intents=("refunds", "outages"))
    budgets = (Budget("Key", "tokens", "1000", "Day", "Reject"),)
    port = gateway.free_port("127.0.0.2")
    backends = (routes.backend(helper, port=port), routes.backend(model, port=port))
    layout = routes.layout(policy, backends=backends, api_keys=True, budgets=budgets, ask_intent=True, intent_ms=5000)
    config = DeciderConfig(intents=INTENTS, budgets=budgets, demand=(DemandSource("t1", "team", "small"),))
    with (
        dns.serving() as zone,
        gateway.pods(zone, "helper", 1, port, first=40),
        gateway.pods(zone, "small", 1, port, first=41),
        gateway.running(policy, layout, zone, keys={"key-alice": "alice"}) as running,
        deciding(running, policy, config) as page,
    ):
        running.wait_for(pool_t0=1, pool_t1=1)
        yield Route(running, page)


@contextmanager
def deciding(running: gateway.Gateway, policy: Policy, config: DeciderConfig) -> Iterator[str]:
    """The decider beside a gateway, for the time of the block; gives the address of its page."""
    folder, port = running.folder, gateway.free_port()
    nothing = {name: folder / "none" / name for name in ("jwt", "credentials", "tls", "identity", "budgets")}
    paths = Paths(config=folder, run=folder / "run", keys=folder / "keys", **nothing)
    paths.keys.mkdir()
    (paths.keys / "alice").write_text("key-alice")
    paths.decider.write_text(config.to_json())
    assert Policy.from_json(paths.policy.read_text()) == policy
    command = words(
        paths, "chat-route-0", "--page-address", "127.0.0.1", "--page-port", str(port),
        "--port", str(running.ports[places.DECIDER_PORT]),
        "--loopback", f"http://127.0.0.1:{running.ports[places.HTTP_PORT]}",
    )  # fmt: skip
    page = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(f"{page}/healthz", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    with subprocess.Popen(command, env=ENVIRONMENT) as process:
        try:
            wait_until(answers, "the decider answers", timeout=15, interval=0.1)
            yield page
        finally:
            process.terminate()
    assert process.returncode == 0


def test_an_intent_that_is_not_known_yet_is_asked_for(route: Route) -> None:
    answer = route.gateway.ask(content="I want a refund", headers=KEY)
    decision = answer.headers["x-agentroute-decision"]
    assert "intent=refunds" in decision
    assert "rule=money" in decision
    assert "target=helper" in decision
    route.wait_for('agentfleet_route_classified_total{by="keyword",what="intent"}')
    route.wait_for('agentfleet_route_requests_total{rule="money",status="200",target="helper"}')


def test_a_chat_goes_to_the_agent_and_says_which(route: Route) -> None:
    body = {"message": "Where is my order?", "agent_type": "customer_service"}
    answer = route.gateway.client.post("/chat", json=body, headers=KEY)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert (said["agent_used"], bool(said["response"])) == ("helper", True)
    decision = answer.headers["x-agentroute-decision"]
    assert "target=helper" in decision
    assert decision.endswith("; attempt=1")
    assert route.gateway.client.post("/chat", json=body).status_code == 401


def test_a_batch_says_how_hard_each_request_is(route: Route) -> None:
    requests = [{"message": "one", "complexity": "simple"}, {"id": "b", "message": "two"}, {"message": ""}]
    answer = route.gateway.client.post("/v1/batch-chat", json={"requests": requests}, headers=KEY)
    first, second, third = answer.json()["results"]
    assert (first["id"], first["status"], first["agent"]) == (0, "success", "small")
    assert (second["id"], second["status"]) == ("b", "success")
    assert (third["id"], third["status"]) == (2, "error")


def test_health_names_every_target(route: Route) -> None:
    answer = route.gateway.client.get("/health", headers=KEY)
    assert answer.status_code == 200
    assert answer.json()["status"] == "healthy"


def test_demand_is_counted_for_the_scaling_loop(route: Route) -> None:
    assert route.gateway.ask("model/small", headers=KEY).status_code == 200
    page = route.metrics()
    line = next(each for each in page.splitlines() if each.startswith("agentfleet_demand_requests_total"))
    assert line.startswith('agentfleet_demand_requests_total{model_server="small",namespace="team"} ')
    assert float(line.split()[-1]) >= 1


def test_a_budget_that_is_spent_refuses(route: Route) -> None:
    answer = route.gateway.ask("model/small", content="word " * 2000, headers=KEY)
    assert answer.status_code == 200
    route.wait_for('scope="Key",unit="tokens",value="alice",window="Day"}')
    refused: list[httpx.Response] = []

    def is_refused() -> bool:
        refused[:] = [route.gateway.ask("model/small", headers=KEY)]
        return refused[0].status_code == 429

    wait_until(is_refused, "the budget is spent", timeout=10, interval=0.2, hint=route.metrics)
    assert refused[0].json()["error"]["message"]
    for path in (Path("keys.map"), Path("budgets.map")):
        assert "alice" in (route.gateway.folder / "run" / path).read_text()
