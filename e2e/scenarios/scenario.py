"""One scenario: a namespace of its own, the manifests beside its test, and waiting that says why it was in vain."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from e2e.chat import Chat, chat
from e2e.scenarios.kstatus import kstatus
from e2e.scenarios.kube import Kube, Manifest
from e2e.scenarios.operators import Operators

Found = TypeVar("Found")
_PERIOD = 0.2
OWNED = "agentfleet.dev/modelserver"
"""Label on every child of a ModelServer; its value is the ModelServer's name."""


class Scenario:
    """What a test does and looks at in its namespace."""

    def __init__(self, kube: Kube, operators: Operators, folder: Path, namespace: str) -> None:
        self.kube = kube
        self.operators = operators
        self.folder = folder
        self.namespace = namespace

    # --- what users do -------------------------------------------------------------------------------------------

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = 60) -> str:
        """Run kubectl in the namespace; CommandError where it fails."""
        return self.kube.cluster.kubectl("-n", self.namespace, *arguments, stdin=stdin, timeout=timeout)

    def apply(self, *files: str, server_side: bool = False) -> str:
        """``kubectl apply`` manifests of the scenario's folder; on the server's side as GitOps tools do, with force."""
        names = [f"--filename={self.folder / file}" for file in files]
        return self.kubectl("apply", *(["--server-side", "--force-conflicts"] if server_side else []), *names)

    def wait_ready(self, *names: str, timeout: int = 60) -> None:
        """``kubectl wait`` until the named ModelServers are Ready; all of the namespace where none is named."""
        which = [f"modelserver/{name}" for name in names] or ["modelserver", "--all"]
        try:
            self.kubectl("wait", "--for=condition=Ready", f"--timeout={timeout}s", *which, timeout=timeout + 30)
        except Exception as error:
            raise AssertionError(f"{error}\n{self.report()}") from error

    @contextmanager
    def address(self, name: str, timeout: float = 15) -> Iterator[str]:
        """``host:port`` of the named ModelServer's Service, which answers.

        Between a pod that is ready and a connection to it stands kube-proxy: it has to hear of the pod first.
        """
        with self.kube.cluster.service(self.namespace, f"{name}-model", 80) as address:
            self.until(lambda: accepts(address), f"the Service of {name} lets connections through", timeout)
            yield address

    @contextmanager
    def chat(self, name: str, model: str = "", *, timeout: float = 15) -> Iterator[Chat]:
        """A client of the named ModelServer, through its Service."""
        with self.address(name, timeout) as address, chat(address, model or name) as client:
            yield client

    # --- what tests look at --------------------------------------------------------------------------------------

    def server(self, name: str) -> Manifest:
        """The ModelServer."""
        found = self.kube.get("ModelServer", name, self.namespace)
        assert found is not None, f"there is no ModelServer {name} in {self.namespace}"
        return found

    def condition(self, name: str, kind: str) -> Manifest | None:
        """One condition of a ModelServer, None where it has none."""
        conditions: list[Manifest] = self.server(name).get("status", {}).get("conditions", [])
        return next((condition for condition in conditions if condition["type"] == kind), None)

    def children(self, kind: str, name: str) -> list[Manifest]:
        """Objects of one kind that belong to a ModelServer, those on their way out left out."""
        found = self.kube.list(kind, self.namespace, labels=f"{OWNED}={name}")
        return [child for child in found if "deletionTimestamp" not in child["metadata"]]

    def stalled(self, name: str) -> str | None:
        """The reason for which the ModelServer is Stalled, None where it is not."""
        condition = self.condition(name, "Stalled")
        return condition["reason"] if condition else None

    def wait_settled(self, name: str, pods: int = 1, timeout: float = 90) -> None:
        """Wait until a ModelServer has one Deployment, of its newest revision, with so many pods, and no troubles."""

        def settled() -> bool:
            server = self.server(name)
            return (
                kstatus(server) == "Current"
                and server["status"].get("updatedReplicas") == server["status"].get("readyReplicas") == pods
                and len(self.children("Deployment", name)) == 1
                and len(self.children("Pod", name)) == pods
            )

        self.until(settled, f"{name} has one Deployment with {pods} pods that serve, and is Current", timeout)

    def until(self, probe: Callable[[], Found | None], what: str, timeout: float = 30) -> Found:
        """Look until ``probe`` gives something; after ``timeout`` seconds fail with all that may explain it."""
        deadline = time.monotonic() + timeout
        while not (found := probe()):
            if time.monotonic() > deadline:
                raise AssertionError(f"not so after {timeout:.0f} s: {what}\n{self.report()}")
            time.sleep(_PERIOD)
        return found

    def stays(self, probe: Callable[[], bool], what: str, seconds: float) -> None:
        """Fail where ``probe`` does not hold for the whole time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert probe(), f"not so for {seconds:.0f} s: {what}\n{self.report()}"
            time.sleep(_PERIOD)

    def report(self) -> str:
        """The state of the namespace for humans: servers, pods, events, and the end of the operator's log."""
        parts = (
            ("AgentRoutes", "get", "agentroutes", "-o", "yaml"),
            ("Agents", "get", "agents", "-o", "yaml"),
            ("ModelServers", "get", "modelservers", "-o", "yaml"),
            ("Pods", "get", "pods", "-o", "wide"),
            ("Events", "get", "events", "--sort-by=.lastTimestamp"),
        )
        sections = [f"--- {title}\n{_last(self.kubectl(*words), 80)}" for title, *words in parts]
        return "\n".join([*sections, f"--- operator\n{_last(self.operators.log(), 30)}"])


def accepts(address: str) -> bool:
    """Whether a connection to ``host:port`` is taken."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except OSError:
        return False
    return True


def _last(text: str, lines: int) -> str:
    return "\n".join(text.splitlines()[-lines:])
