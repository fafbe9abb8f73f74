"""The security context that every pod of the operator's making has: Pod Security `restricted`. Pure."""

from typing import Any

USER = 65532
"""The id of `nonroot` in common minimal images; nothing in the pods depends on a name for it."""

CONTAINER_SECURITY: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}

POD_SECURITY: dict[str, Any] = {
    "fsGroup": USER,
    "fsGroupChangePolicy": "OnRootMismatch",
    "runAsGroup": USER,
    "runAsNonRoot": True,
    "runAsUser": USER,
    "seccompProfile": {"type": "RuntimeDefault"},
}
