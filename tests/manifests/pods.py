"""Pods as tests of manifests want them: of a spec, and one container of them."""

from typing import Any

from agentfleet.manifests.workload import workload
from agentfleet.settings import Settings
from tests.builders import server

SETTINGS = Settings(host_path_root="/srv/models", allowed_service_accounts=("trusted",))


def template(engine: str = "LlamaCpp", **spec: Any) -> dict[str, Any]:
    return workload(server(engine, **spec), SETTINGS).template


def pod(engine: str = "LlamaCpp", **spec: Any) -> dict[str, Any]:
    body: dict[str, Any] = template(engine, **spec)["spec"]
    return body


def container(body: dict[str, Any], name: str) -> dict[str, Any]:
    return next(item for item in (*body.get("initContainers", ()), *body["containers"]) if item["name"] == name)
