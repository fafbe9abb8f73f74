"""kstatus, as GitOps tools judge a custom resource: the rules that its authors publish, in a few lines."""

from __future__ import annotations

from typing import Literal

from e2e.scenarios.kube import Manifest

Verdict = Literal["Current", "InProgress", "Failed", "Terminating"]


def kstatus(manifest: Manifest) -> Verdict:
    """The verdict on one object; Ready that is absent counts as progress, as Flux and `kubectl wait` treat it."""
    metadata, status = manifest["metadata"], manifest.get("status", {})
    if "deletionTimestamp" in metadata:
        return "Terminating"
    if status.get("observedGeneration", metadata["generation"]) != metadata["generation"]:
        return "InProgress"
    conditions = {condition["type"]: condition["status"] for condition in status.get("conditions", [])}
    if conditions.get("Reconciling") == "True":
        return "InProgress"
    if conditions.get("Stalled") == "True":
        return "Failed"
    return "Current" if conditions.get("Ready") == "True" else "InProgress"
