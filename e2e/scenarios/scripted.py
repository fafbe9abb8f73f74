"""The scripted OpenAI server in pods of a scenario: a Deployment that runs it in the operator's image, and a Service.

The program comes in a ConfigMap, as the files of this working tree that it is made of.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from e2e.images import build
from e2e.scenarios.kube import Manifest, path_of
from e2e.scenarios.scenario import Scenario

PORT = 8080
LABEL = "e2e.agentfleet.dev/stand-in"
"""Label of Deployments that go when their scenario ends."""
_FILES = ("scripted.py", "answers.py", "script.py", "tally.py")
_FOLDER = build.REPOSITORY / "e2e" / "support"
_IMAGE = "agentfleet/operator:dev"
_MOUNTED_AT = "/program"


def program(name: str) -> Manifest:
    """The ConfigMap of this name that holds the program."""
    files = {file: (_FOLDER / file).read_text(encoding="utf-8") for file in _FILES}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": files}


def manifests(name: str, script: str = "", *, replicas: int = 1, models: str = "scripted") -> list[Manifest]:
    """What makes http://NAME:80 a scripted server; each of its pods calls itself by the pod's name."""
    labels, stand_in = {"app": name}, {LABEL: "true"}
    service = {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": PORT}]}
    pod = {"metadata": {"labels": labels}, "spec": _pod(name, {"SCRIPT": script, "MODELS": models})}
    deployment = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": pod}
    return [
        program(name),
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": service},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "labels": stand_in},
            "spec": deployment,
        },
    ]


def apply(scenario: Scenario, name: str, script: str = "", *, replicas: int = 1, models: str = "scripted") -> None:
    """Have one in the scenario's namespace, with all its pods ready."""
    items = manifests(name, script, replicas=replicas, models=models)
    scenario.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    scenario.kubectl("rollout", "status", f"deployment/{name}", "--timeout=60s", timeout=90)


def apply_all(scenario: Scenario, *names: str) -> None:
    """Have several, which start side by side."""
    items = [item for name in names for item in manifests(name)]
    scenario.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    for name in names:
        scenario.kubectl("rollout", "status", f"deployment/{name}", "--timeout=60s", timeout=90)


@contextmanager
def control(scenario: Scenario, name: str) -> Iterator[httpx.Client]:
    """A client of the server, for PUT on /script, /stats and /requests; with several pods it reaches any of them."""
    with (
        scenario.kube.cluster.service(scenario.namespace, name, 80) as address,
        httpx.Client(base_url=f"http://{address}", trust_env=False, timeout=10) as http,
    ):
        yield http


def model_server(name: str, *, replicas: int | None = 1, script: str = "", **spec: object) -> Manifest:
    """A ModelServer whose engine is a scripted server; `apply_engines` brings it into the cluster. Its pods call
    themselves by their names, so answers and numbers of each can be told apart."""
    engine = {**_container({"SCRIPT": script, "MODELS": name}), "name": "engine", "args": []}
    template = {"spec": {"containers": [engine], "volumes": [_volume("scripted")]}}
    about: Manifest = {"engine": "LlamaCpp", "model": {"uri": "file:///var/lib/agentfleet/models/tiny.gguf"}}
    about |= {"image": _IMAGE, "podTemplate": template, **spec}
    about |= {} if replicas is None else {"replicas": replicas}
    return {"apiVersion": "agentfleet.dev/v1alpha1", "kind": "ModelServer", "metadata": {"name": name}, "spec": about}


def apply_engines(scenario: Scenario, *servers: Manifest) -> None:
    """Have these ModelServers in the scenario's namespace; they are not waited for."""
    items = [program("scripted"), *servers]
    scenario.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))


def stats(scenario: Scenario, name: str) -> dict[str, Manifest]:
    """By pod, what the scripted engines of a ModelServer have counted."""
    return {pod: json.loads(scenario.kube.text(page)) for pod, page in _pages(scenario, name).items()}


def forget(scenario: Scenario, name: str) -> None:
    """Let them count from zero."""
    for page in _pages(scenario, name).values():
        scenario.kube.call("DELETE", page)


def _pages(scenario: Scenario, name: str) -> dict[str, str]:
    pods = (pod["metadata"]["name"] for pod in scenario.children("Pod", name))
    return {pod: f"{path_of('Pod', scenario.namespace, f'{pod}:{PORT}')}/proxy/stats" for pod in pods}


def _container(settings: dict[str, str]) -> Manifest:
    its_name = {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    env = [{"name": key, "value": value} for key, value in settings.items()]
    return {
        "image": _IMAGE,
        "command": ["/opt/agentfleet/bin/python", "-m", "e2e.support.scripted"],
        "env": [*env, its_name, {"name": "PORT", "value": str(PORT)}, {"name": "PYTHONPATH", "value": _MOUNTED_AT}],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        "volumeMounts": [{"name": "program", "mountPath": f"{_MOUNTED_AT}/e2e/support", "readOnly": True}],
    }


def _volume(name: str) -> Manifest:
    return {"name": "program", "configMap": {"name": name}}


def _pod(name: str, settings: dict[str, str]) -> Manifest:
    container = {
        **_container(settings),
        "name": "scripted",
        "ports": [{"name": "http", "containerPort": PORT}],
        # Not /health: a script may make that one fail, for health checks of others.
        "readinessProbe": {"httpGet": {"path": "/stats", "port": "http"}, "periodSeconds": 1},
    }
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 5,
        "containers": [container],
        "volumes": [_volume(name)],
    }
