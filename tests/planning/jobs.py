"""Jobs as the Job controller and their loaders leave them, and one look of the preparation at them."""

import json
from datetime import datetime
from typing import Any

from agentfleet.objects import Manifest
from agentfleet.planning.nodes import NodeView
from agentfleet.planning.observed import Observed
from agentfleet.planning.preparation import Preparation, prepare
from agentfleet.resources.modelserver_status import ModelServerStatus
from agentfleet.settings import Settings
from tests.builders import server
from tests.planning.times import NOW

SETTINGS = Settings(
    host_path_root="/var/lib/agentfleet", sidecar_image="agentfleet/operator:test", network_policies=False
)
FACTS = {"attentionHeads": 14, "kvHeads": 2, "layers": 24, "weightsBytes": 1_000_000_000, "quantization": "awq"}


class Cluster:
    """Jobs as the Job controller and their loaders leave them."""

    def __init__(self) -> None:
        self.jobs: dict[str, Manifest] = {}
        self.pods: list[Manifest] = []
        self.nodes: tuple[NodeView, ...] | None = None

    def take(self, found: Preparation) -> list[str]:
        """Carry out what was asked for; the names of what was made."""
        made = [manifest for manifest in found.apply if manifest["kind"] == "Job"]
        for job in made:
            self.jobs[job["metadata"]["name"]] = job | {"metadata": job["metadata"] | {"uid": f"uid-{len(self.jobs)}"}}
        for key, _ in found.delete:
            del self.jobs[key.name]
        return [manifest["metadata"]["name"] for manifest in found.apply if manifest["kind"] != "NetworkPolicy"]

    def end(self, name: str, said: dict[str, Any], *, code: int = 0, at: datetime = NOW) -> None:
        """The Job's one pod ends."""
        condition = "Complete" if code == 0 else "Failed"
        stamp = at.strftime("%Y-%m-%dT%H:%M:%SZ")
        self.jobs[name]["status"] = {"conditions": [{"type": condition, "status": "True", "lastTransitionTime": stamp}]}
        ended = {"terminated": {"exitCode": code, "message": json.dumps(said)}}
        self.pods.append(
            {
                "metadata": {"name": f"{name}-x", "labels": {"batch.kubernetes.io/job-name": name}},
                "status": {"containerStatuses": [{"name": "loader", "ready": False, "state": ended}]},
            }
        )

    @property
    def observed(self) -> Observed:
        return Observed(jobs=tuple(self.jobs.values()), loader_pods=tuple(self.pods), nodes=self.nodes)


def look(
    cluster: Cluster, before: ModelServerStatus | None = None, now: datetime = NOW, engine: str = "VLLM", **spec: Any
) -> Preparation:
    return prepare(server(engine, **spec), before or ModelServerStatus(), cluster.observed, SETTINGS, now)
