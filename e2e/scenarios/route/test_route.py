"""A shop's route: one address for all its models, by name, intent, complexity and privacy, for those who have a key."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from openai import DefaultHttpxClient, OpenAI
from openai.types.chat import ChatCompletionFunctionToolParam, ChatCompletionUserMessageParam

from e2e.scenarios import scripted, secured
from e2e.scenarios.route import guarded, names
from e2e.scenarios.route.shop import ALICE, Shop
from e2e.scenarios.routes import LOOKS, route, wait_ready
from e2e.scenarios.scenario import Scenario
from e2e.support import clients

_TOLD = {"tool": "find_parcel", "vectors": 2, "listed": True}
_MOST, _FEWEST = 5, 2
"""max_tokens of the clients, and chunks that a stream has at least: a model with random weights may end early."""
Check = Callable[[Shop], None]
_QUESTION: ChatCompletionUserMessageParam = {"role": "user", "content": "Hello"}
_TOOL: ChatCompletionFunctionToolParam = {
    "type": "function",
    "function": {"name": "find_parcel", "parameters": {"type": "object", "properties": {}}},
}


@pytest.fixture(scope="module")
def shop(scenario: Scenario) -> Iterator[Shop]:
    """The shop, open."""
    scenario.apply("fleet.yaml", "route.yaml")
    scripted.apply(scenario, "cloud", models="big-1")
    scenario.wait_ready(timeout=90)
    wait_ready(scenario, "shop")
    with route(scenario, "shop") as found, scripted.control(scenario, "cloud") as cloud:
        opened = Shop(scenario, found.address, cloud)
        # each look comes to either gateway
        scenario.until(lambda: all(_reaches_all(opened) for _ in range(LOOKS)), "both gateways reach all targets")
        yield opened


def _reaches_all(shop: Shop) -> bool:
    return all(target["status"] == "ready" for target in shop.route.get("/health").json()["targets"])


@pytest.fixture(scope="module")
def client(shop: Shop) -> Iterator[OpenAI]:
    """OpenAI's Python client, as users have it."""
    with (
        DefaultHttpxClient(trust_env=False, timeout=30) as http,
        OpenAI(base_url=f"http://{shop.address}/v1", api_key=ALICE, http_client=http) as found,
    ):
        yield found


@pytest.mark.parametrize("check", (*names.CHECKS, *guarded.CHECKS), ids=lambda check: check.__name__)
def test_route(shop: Shop, check: Check) -> None:
    check(shop)


def test_clouds_with_https(shop: Shop) -> None:
    """A key is sent to whom an authority vouches for, and to nobody else."""
    secured.apply(shop.scenario, "provider", models="big-1")
    shop.scenario.apply("outside.yaml")
    wait_ready(shop.scenario, "outside")
    with route(shop.scenario, "outside", ALICE) as outside:
        answer = outside.ask("auto")
        assert (answer.status, answer.target) == (200, "provider"), answer
        assert answer.json["scripted"]["headers"]["authorization"] == "Bearer sk-provider"


def test_openais_client_chats(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="auto", messages=[_QUESTION], max_tokens=_MOST)
    assert answer.usage is not None
    assert 0 < answer.usage.completion_tokens <= _MOST
    assert {"auto", "model/small"} <= {model.id for model in client.models.list()}
    assert client.models.retrieve("auto").id == "auto"


def test_openais_client_streams(client: OpenAI) -> None:
    chunks = client.chat.completions.create(model="auto", messages=[_QUESTION], max_tokens=_MOST, stream=True)
    assert len(list(chunks)) > _FEWEST


def test_openais_client_calls_tools(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="gpt-5", messages=[_QUESTION], tools=[_TOOL], extra_headers={"x-script": "tool=1"}
    )
    called = [call.function.name for call in answer.choices[0].message.tool_calls or [] if call.type == "function"]
    assert called == ["find_parcel"]


def test_openais_client_embeds(client: OpenAI) -> None:
    found = client.embeddings.create(model="text-embedding-3-small", input=["a", "b"])
    assert len(found.data) == 2


def test_openais_client_responds(client: OpenAI) -> None:
    assert client.responses.create(model="gpt-5", input="Hello", max_output_tokens=4).output_text.startswith("w0")


_CLIENTS: dict[str, Callable[[Path], list[str | Path]]] = {
    "node": lambda folder: ["node", folder / "client.cjs"],
    "curl": lambda folder: ["sh", folder / "client.sh"],
    "langchain": lambda folder: [clients.langchain_python(), folder / "client_langchain.py"],
}


@pytest.mark.skipif(os.environ.get("AGENTFLEET_E2E_FULL") != "1", reason="other clients are fetched for --full")
@pytest.mark.parametrize("client_name", _CLIENTS)
def test_other_clients(shop: Shop, client_name: str) -> None:
    here = {"OPENAI_BASE_URL": f"http://{shop.address}/v1", "OPENAI_API_KEY": ALICE}
    environment = {**os.environ, **here, "NODE_PATH": str(clients.node_modules())}
    argv = _CLIENTS[client_name](shop.scenario.folder / "clients")
    told = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    assert 0 < found.pop("tokens") <= _MOST
    assert found.pop("pieces") > _FEWEST
    assert found == {name: _TOLD[name] for name in found}
    assert found.keys() >= {"tool", "vectors"}
