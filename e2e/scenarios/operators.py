"""The operator's pods as tests see them: who leads, what they logged, what they count."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from prometheus_client.parser import text_string_to_metric_families

from e2e.cluster import EmbeddedCluster
from e2e.install import NAMESPACE
from e2e.scenarios.kube import Kube, Manifest, Refused, path_of

_LABELS = "app.kubernetes.io/name=agentfleet,app.kubernetes.io/component=operator"
DEPLOYMENT = "agentfleet"


class Operators:
    """All operator pods of the release."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    def pods(self) -> list[Manifest]:
        """The pods, those on their way out left out."""
        found = self._kube.list("Pod", NAMESPACE, labels=_LABELS)
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def names(self) -> list[str]:
        """The names of these pods."""
        return [pod["metadata"]["name"] for pod in self.pods()]

    def leader(self) -> str | None:
        """Name of the pod that holds the Lease, None where nobody does."""
        lease = self._kube.get("Lease", DEPLOYMENT, NAMESPACE)
        holder: str = (lease or {}).get("spec", {}).get("holderIdentity") or ""
        return holder.rpartition("_")[0] or None

    def restarts(self) -> int:
        """How often containers of the present pods were restarted."""
        return sum(
            status["restartCount"] for pod in self.pods() for status in pod["status"].get("containerStatuses", ())
        )

    def is_ready(self) -> bool:
        """Whether the Deployment is rolled out and a ready pod of it holds the Lease."""
        deployment = self._kube.get("Deployment", DEPLOYMENT, NAMESPACE)
        if deployment is None:
            return False
        status, wanted = deployment["status"], deployment["spec"]["replicas"]
        rolled_out = (
            status.get("observedGeneration") == deployment["metadata"]["generation"]
            and status.get("updatedReplicas") == status.get("readyReplicas") == status.get("replicas") == wanted
        )
        return rolled_out and self.leader() in self.names()

    def wait_ready(self, timeout: float = 60) -> None:
        """Wait until ``is_ready``."""
        deadline = time.monotonic() + timeout
        while not self.is_ready():
            if time.monotonic() > deadline:
                raise AssertionError(f"the operator is not ready after {timeout:.0f} s; its log ends:\n{self.log()}")
            time.sleep(0.2)

    def metric(self, name: str, /, **labels: str) -> float:
        """Sum of the leader's samples of a metric that have these labels."""
        leader = self.leader()
        assert leader is not None, "no operator leads, so there are no metrics to read"
        return self.metric_of(leader, name, **labels)

    def metric_of(self, pod: str, name: str, /, **labels: str) -> float:
        """The same of the named operator pod."""
        text = self._kube.text(f"{path_of('Pod', NAMESPACE, f'{pod}:8080')}/proxy/metrics")
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def kill_leader(self, cluster: EmbeddedCluster) -> None:
        """SIGKILL to the leader's process, as a crash would end it."""
        leader = self._kube.get("Pod", self.leader() or "", NAMESPACE)
        assert leader is not None, "no operator leads"
        container = leader["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
        node = cluster.node(leader["spec"]["nodeName"])
        node.run(["ctr", "-n", "k8s.io", "tasks", "kill", "-s", "SIGKILL", container])

    def log(self, since: datetime | None = None) -> str:
        """What all present pods have logged, each one's earlier containers included as far as they are kept."""
        query = {"sinceTime": since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")} if since else {"tailLines": "200"}
        return "".join(text for pod in self.pods() for text in self._logs_of(pod, query))

    def _logs_of(self, pod: Manifest, query: dict[str, str]) -> Iterator[str]:
        path = f"{path_of('Pod', NAMESPACE, pod['metadata']['name'])}/log"
        restarted = any(status["restartCount"] for status in pod["status"].get("containerStatuses", ()))
        for previous in ("true", "false") if restarted else ("false",):
            try:
                yield self._kube.text(path, previous=previous, **query)
            except Refused as error:
                if error.status not in (400, 404):  # not started yet, or gone again
                    raise


def faults(log: str, expected: str | None = None) -> list[str]:
    """Lines of an operator's log that must not be there: what is no JSON, errors, refused permissions.

    `expected` is a pattern of errors that are due.
    """
    return [line for line in log.splitlines() if _is_fault(line) and not (expected and re.search(expected, line))]


def _is_fault(line: str) -> bool:
    try:
        entry = json.loads(line)
        level, message = entry["level"], entry["msg"]
    except (ValueError, KeyError, TypeError):
        return True
    refused = "forbidden" in message.lower() and "being terminated" not in message
    return level in ("ERROR", "CRITICAL") or "exc" in entry or refused
