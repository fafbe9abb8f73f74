"""The prober: what it reports of endpoints that list models, of Foundry Local, and of endpoints that fail."""

import ipaddress
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st

from agentfleet.sidecar.catalog import Catalog, identifiers
from agentfleet.sidecar.endpoint import Endpoint
from agentfleet.sidecar.failures import ModelFailed
from agentfleet.sidecar.guard import Address
from agentfleet.sidecar.prober import Prober, application, parse

Listening = Callable[[web.Application], AbstractAsyncContextManager[int]]


@dataclass
class Provider:
    """Answers by path; a number is a bare status."""

    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        answer = self.answers.get(request.path, 404)
        return web.Response(status=answer) if isinstance(answer, int) else web.json_response(answer)


def listing(*names: str) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": name, "object": "model"} for name in names]}


async def to_loopback(host: str, port: int) -> list[Address]:
    return [ipaddress.ip_address("127.0.0.1")]


def prober_of(port: int, model: str | None = None, *, discover: bool = False, kind: str = "OpenAI") -> Prober:
    endpoint = Endpoint(f"http://desk:{port}/v1", lambda address, scheme: None, resolve=to_loopback)
    return Prober(Catalog(endpoint, kind), model, discover=discover, interval=30)


def seen(prober: Prober) -> list[tuple[str, str, str | None]]:
    return [(model["name"], model["state"], model["reason"]) for model in prober.status()["models"]]


async def test_a_model_that_is_listed_is_ready(listening: Listening) -> None:
    provider = Provider({"/v1/models": listing("other", "qwen")})
    async with listening(provider.application()) as port:
        prober = prober_of(port, "qwen")
        assert (prober.ready, seen(prober)) == (False, [("qwen", "Pending", None)])
        await prober.probe()
        assert (prober.ready, seen(prober)) == (True, [("qwen", "Ready", None)])
        assert prober.status() | {"models": []} == {
            "engine": "External",
            "engineVersion": None,
            "ready": True,
            "models": [],
            "inFlight": None,
        }


async def test_discovery_reports_all_the_wanted_one_first(listening: Listening) -> None:
    provider = Provider({"/v1/models": listing("a", "qwen", "b")})
    async with listening(provider.application()) as port:
        prober = prober_of(port, "qwen", discover=True)
        await prober.probe()
        assert [name for name, _, _ in seen(prober)] == ["qwen", "a", "b"]
        anything = prober_of(port, discover=True)
        await anything.probe()
        assert [name for name, _, _ in seen(anything)] == ["a", "qwen", "b"]


async def test_one_bad_answer_is_not_yet_an_outage_and_two_are(listening: Listening) -> None:
    provider = Provider({"/v1/models": listing("qwen")})
    async with listening(provider.application()) as port:
        prober = prober_of(port, "qwen")
        await prober.probe()
        provider.answers["/v1/models"] = 502
        await prober.probe()
        assert prober.ready
        await prober.probe()
        assert (prober.ready, seen(prober)) == (False, [("qwen", "Failed", "EndpointUnreachable")])
        provider.answers["/v1/models"] = listing("qwen")
        await prober.probe()
        assert (prober.ready, seen(prober)) == (True, [("qwen", "Ready", None)])


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (401, "EndpointUnauthorized"),
        (listing("other"), "ModelNotFound"),
        ({"data": "nonsense"}, "EndpointUnreachable"),
        (["qwen"], None),
        ({"data": [{"id": 7}, None, {"id": "qwen"}, {"id": "x" * 300}, {"id": "a\nb"}]}, None),
        ("text", "EndpointUnreachable"),
        (None, "EndpointUnreachable"),
    ],
)
async def test_a_first_answer(listening: Listening, answer: Any, reason: str | None) -> None:
    async with listening(Provider({"/v1/models": answer}).application()) as port:
        prober = prober_of(port, "qwen", discover=True)
        await prober.probe()
        assert (prober.ready, seen(prober)[0]) == (
            reason is None,
            ("qwen", "Failed" if reason else "Ready", reason),
        )
        assert len(seen(prober)) == 1


async def test_foundry_local(listening: Listening) -> None:
    """Answers as 2.2.1 gave them; the catalog's entry in the form of its documentation."""
    provider = Provider(
        {
            "/status": {"endpoints": ["http://127.0.0.1:18200"], "modelCachePath": "cache", "pid": 8075},
            "/v1/models": listing("phi-4-mini-instruct-generic-cpu:5", "qwen2.5-0.5b-instruct-generic-cpu:4"),
            "/models/loaded": ["phi-4-mini-instruct-generic-cpu:5"],
        }
    )
    async with listening(provider.application()) as port:
        prober = prober_of(port, "phi-4-mini-instruct-generic-cpu", discover=True, kind="FoundryLocal")
        await prober.probe()
        models = prober.status()["models"]
        assert prober.status()["engine"] == "FoundryLocal"
        assert [(m["name"], m["state"]) for m in models] == [
            ("phi-4-mini-instruct-generic-cpu", "Ready"),
            ("qwen2.5-0.5b-instruct-generic-cpu:4", "Ready"),
        ]
        assert models[0]["message"] is None
        assert "not in memory" in models[1]["message"]
        assert provider.asked == ["/status", "/v1/models", "/models/loaded"]

        by_alias = prober_of(port, "phi-4-mini", kind="FoundryLocal")
        await by_alias.probe()
        assert seen(by_alias) == [("phi-4-mini", "Failed", "ModelNotFound")]
        provider.answers["/v1/models/phi-4-mini"] = {"id": "phi-4-mini-instruct-generic-cpu:5"}
        await by_alias.probe()
        assert seen(by_alias) == [("phi-4-mini", "Ready", None)]

        provider.answers["/status"] = 404
        other = prober_of(port, "phi-4-mini", kind="FoundryLocal")
        await other.probe()
        assert seen(other) == [("phi-4-mini", "Failed", "EndpointUnreachable")]


async def test_the_routes(listening: Listening) -> None:
    async with listening(Provider({"/v1/models": listing("qwen")}).application()) as port:
        prober = prober_of(port, "qwen")
        async with TestClient(TestServer(application(prober))) as client:
            assert (await client.get("/readyz")).status == 503
            assert (await client.get("/healthz")).status == 200
            await prober.probe()
            assert (await client.get("/readyz")).status == 200
            assert (await (await client.get("/status")).json())["models"][0]["state"] == "Ready"
            page = await (await client.get("/metrics")).text()
            assert "agentfleet_external_up 1.0" in page
            assert "agentfleet_external_probe_seconds_count 1.0" in page


@given(st.recursive(st.none() | st.integers() | st.text(), lambda s: st.lists(s) | st.dictionaries(st.text(), s)))
def test_whatever_json_comes_it_is_ids_or_a_reason(answer: Any) -> None:
    try:
        names = identifiers(answer, "host")
    except ModelFailed as failure:
        assert failure.reason == "EndpointUnreachable"
    else:
        assert all(isinstance(name, str) and name.isprintable() for name in names)
        json.dumps(names)


def test_arguments() -> None:
    options = parse(["--url", "https://h/v1/", "--interval", "1m30s", "--deny-cidr", "10.96.0.1/32"])
    assert (options.url, options.interval, str(options.deny_cidr[0])) == ("https://h/v1", 90.0, "10.96.0.1/32")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--url", "h"], "is no URL of an endpoint"),
        (["--url", "https://h", "--interval", "soon"], "is not a duration"),
        (["--url", "https://h", "--deny-cidr", "10.0.0.1/8"], "has host bits set"),
        (["--url", "https://h", "--kind", "Cloud"], "invalid choice"),
        ([], "--url"),
    ],
)
def test_wrong_arguments_are_explained(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(arguments)
    assert complaint in capsys.readouterr().err
