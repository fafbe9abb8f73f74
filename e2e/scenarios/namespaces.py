"""The namespaces of scenarios: one is opened for each, and its pods begin to go when it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from e2e.cluster import wait_until
from e2e.scenarios import scripted
from e2e.scenarios.kube import Kube
from e2e.scenarios.operators import Operators
from e2e.scenarios.scenario import Scenario

_PREFIX = "e2e-"


@contextmanager
def opened(kube: Kube, operators: Operators, folder: Path) -> Iterator[Scenario]:
    """The scenario of a folder, in an empty namespace of its own, with an operator that is ready.

    Its removal is only begun: the pods drain while the next scenario runs.
    """
    namespace = _PREFIX + folder.name.replace("_", "-")
    kube.create("Namespace", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    # Before Kubernetes has made it, no pod can be created, and the next attempt is many seconds later.
    wait_until(lambda: kube.get("ServiceAccount", "default", namespace) is not None, "a service account", timeout=30)
    operators.wait_ready()
    yield Scenario(kube, operators, folder, namespace)
    _remove(kube, namespace)


def sweep(kube: Kube) -> None:
    """Remove what scenarios have made. Pods first: a namespace that goes with pods in it waits out half their grace."""
    namespaces = _namespaces(kube)
    for name in namespaces:
        _remove(kube, name)
    _wait(lambda: [pod["metadata"]["name"] for name in namespaces for pod in kube.list("Pod", name)], "pods")
    for name in namespaces:
        kube.delete("Namespace", name)
    _wait(lambda: _namespaces(kube), "namespaces")


def _remove(kube: Kube, namespace: str) -> None:
    """Begin to remove what has pods. Gateways first: one that is going still asks for what its targets answer; and
    agents before their models."""
    for kind in ("AgentRoute", "Agent", "ModelServer"):
        kube.delete_all(kind, namespace)
    kube.delete_all("Deployment", namespace, labels=scripted.LABEL)


def _namespaces(kube: Kube) -> list[str]:
    names = (namespace["metadata"]["name"] for namespace in kube.list("Namespace"))
    return [name for name in names if name.startswith(_PREFIX)]


def _wait(left: Callable[[], list[str]], what: str) -> None:
    wait_until(lambda: not left(), f"{what} of scenarios are gone", timeout=180, interval=0.5, hint=lambda: str(left()))
