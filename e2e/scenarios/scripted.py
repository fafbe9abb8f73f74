"""The scripted OpenAI server in pods of a scenario: a Deployment that runs it in the operator's image, and a Service.

The program comes in a ConfigMap, as the files of this working tree that it is made of.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from e2e.images import build
from e2e.scenarios.kube import Manifest
from e2e.scenarios.scenario import Scenario

PORT = 8080
_FILES = ("scripted.py", "answers.py", "script.py")
_FOLDER = build.REPOSITORY / "e2e" / "support"
_MOUNTED_AT = "/program"


def manifests(name: str, script: str = "", *, replicas: int = 1, models: str = "scripted") -> list[Manifest]:
    """What makes http://NAME:80 a scripted server; each of its pods calls itself by the pod's name."""
    labels = {"app": name}
    files = {file: (_FOLDER / file).read_text(encoding="utf-8") for file in _FILES}
    service = {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": PORT}]}
    pod = {"metadata": {"labels": labels}, "spec": _pod(name, {"SCRIPT": script, "MODELS": models})}
    deployment = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": pod}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": files},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": service},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": deployment},
    ]


def apply(scenario: Scenario, name: str, script: str = "", *, replicas: int = 1, models: str = "scripted") -> None:
    """Have one in the scenario's namespace, with all its pods ready."""
    items = manifests(name, script, replicas=replicas, models=models)
    scenario.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    scenario.kubectl("rollout", "status", f"deployment/{name}", "--timeout=60s", timeout=90)


@contextmanager
def control(scenario: Scenario, name: str) -> Iterator[httpx.Client]:
    """A client of the server, for PUT on /script, /stats and /requests; with several pods it reaches any of them."""
    with (
        scenario.kube.cluster.service(scenario.namespace, name, 80) as address,
        httpx.Client(base_url=f"http://{address}", trust_env=False, timeout=10) as http,
    ):
        yield http


def _pod(name: str, settings: dict[str, str]) -> Manifest:
    its_name = {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    env = [{"name": key, "value": value} for key, value in settings.items()]
    container = {
        "name": "scripted",
        "image": "agentfleet/operator:dev",
        "command": ["/opt/agentfleet/bin/python", "-m", "e2e.support.scripted"],
        "env": [*env, its_name, {"name": "PORT", "value": str(PORT)}, {"name": "PYTHONPATH", "value": _MOUNTED_AT}],
        "ports": [{"name": "http", "containerPort": PORT}],
        # Not /health: a script may make that one fail, for health checks of others.
        "readinessProbe": {"httpGet": {"path": "/stats", "port": "http"}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        "volumeMounts": [{"name": "program", "mountPath": f"{_MOUNTED_AT}/e2e/support", "readOnly": True}],
    }
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 5,
        "containers": [container],
        "volumes": [{"name": "program", "configMap": {"name": name}}],
    }
