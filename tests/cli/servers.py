"""ModelServers as the command line finds them, and an API server that has them."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from agentfleet.cli.main import main
from agentfleet.objects import Manifest

DECISION: Manifest = {
    "id": "d-2f6c",
    "time": "2026-05-04T10:00:00Z",
    "action": "scale_out",
    "from": 2,
    "to": 4,
    "binding": "Demand",
    "reason": "12 requests/s are asked for, and a replica carries 4.",
    "counterfactual": "3 replicas would be 100 % busy.",
    "state": "Recommended",
    "inputs": {"demand": "12.1", "capacity": "4.0"},
}


def condition(kind: str, status: str, reason: str = "Because", message: str = "") -> Manifest:
    return {"type": kind, "status": status, "reason": reason, "message": message}


READY = condition("Ready", "True", "Serving")


def model_server(name: str = "chat", *, spec: Manifest | None = None, **status: Any) -> Manifest:
    """A ModelServer of namespace prod, with two replicas that serve unless status says otherwise."""
    usual = {"replicas": 2, "readyReplicas": 2, "conditions": [READY]}
    return {
        "metadata": {"name": name, "namespace": "prod"},
        "spec": {"engine": "VLLM", "model": {"uri": "hf://a/b"}, "replicas": 2, **(spec or {})},
        "status": usual | status,
    }


def deciding(spec: Manifest | None = None, scaling: Manifest | None = None, **decision: Any) -> Manifest:
    """A ModelServer that has decided DECISION, with changes."""
    return model_server(spec=spec, scaling={"decision": DECISION | decision, **(scaling or {})})


LEASE: Manifest = {"spec": {"holderIdentity": "op-1_abc", "renewTime": "2026-05-04T10:00:00.000000Z"}}
OPERATORS = "/api/v1/namespaces/agentfleet-system/pods"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/agentfleet-system/leases"
MODEL_SERVERS = "/apis/agentfleet.dev/v1alpha1/namespaces/prod/modelservers"


def listing(*items: Manifest) -> Manifest:
    return {"items": list(items), "metadata": {}}


@dataclass
class FakeApi:
    """Answers by path, or by path with its query; a path without an answer is a 404. An answer may be a number, for an
    error with that status, or text."""

    answers: dict[str, Manifest | int | str | Callable[[], Manifest]] = field(default_factory=dict)
    writes: list[tuple[str, str, Manifest]] = field(default_factory=list)
    queries: list[dict[str, str]] = field(default_factory=list)
    kubeconfig: str = ""

    def serve(self, *servers: Manifest) -> None:
        """Let these be the ModelServers of namespace prod."""
        self.answers[MODEL_SERVERS] = listing(*servers)
        self.answers |= {f"{MODEL_SERVERS}/{each['metadata']['name']}": each for each in servers}

    def lead(self, samples: Manifest | int) -> None:
        """Let an operator lead and have these samples of prod/chat."""
        self.answers[OPERATORS] = listing({"metadata": {"name": "op-0"}}, {"metadata": {"name": "op-1"}})
        self.answers[LEASES] = listing(LEASE)
        self.answers[f"{OPERATORS}/op-1:8080/proxy/scaling/namespaces/prod/modelservers/chat/samples"] = samples

    async def handle(self, request: web.Request) -> web.Response:
        self.queries.append(dict(request.query))
        if request.method != "GET":
            self.writes.append((request.method, request.path, await request.json()))
        found = self.answers.get(str(request.rel_url), self.answers.get(request.path, 404))
        if isinstance(found, int):
            return web.json_response({"message": f"refused with {found}"}, status=found)
        if isinstance(found, str):
            return web.Response(text=found)
        return web.json_response(found() if callable(found) else found)

    async def run(self, *argv: str) -> int:
        """The exit code of a command in namespace prod. In a thread, since it has an event loop of its own."""
        return await asyncio.to_thread(main, ["--kubeconfig", self.kubeconfig, "-n", "prod", *argv])


async def refused(api: FakeApi, capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one line with which a command fails."""
    assert await api.run(*argv) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("error: ")
    assert output.err.count("\n") == 1
    return output.err.removeprefix("error: ").strip()
