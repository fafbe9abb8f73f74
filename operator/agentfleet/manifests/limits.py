"""What pods may not do unless the operator's settings allow it, judged on the finished template. Pure.

ModelServers are made with the operator's power, so whoever may create one must not get more than the settings give.
"""

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from agentfleet.settings import Settings


def violations(template: dict[str, Any], settings: Settings) -> Iterable[str]:
    """Each thing that is not allowed, with the setting that would allow it; nothing where all is well."""
    spec = template["spec"]
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield f"podTemplate.spec.{field}: host namespaces are never allowed"
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account and account != "default" and account not in settings.allowed_service_accounts:
        allowed = ", ".join(settings.allowed_service_accounts) or "none"
        yield f"serviceAccountName: {account} is not in the setting allowedServiceAccounts ({allowed})"
    if spec.get("securityContext", {}).get("sysctls"):
        yield "podTemplate.spec.securityContext.sysctls: kernel settings are never allowed"
    yield from _user_violations("the pod", spec.get("securityContext", {}))
    for volume in spec.get("volumes", ()):
        if "hostPath" in volume:
            yield from _host_path_violations(volume["name"], volume["hostPath"].get("path"), settings)
    for container in (*spec.get("initContainers", ()), *spec["containers"]):
        yield from _container_violations(container)


def _host_path_violations(name: str, path: object, settings: Settings) -> Iterable[str]:
    root = settings.host_path_root
    if not isinstance(path, str):
        yield f"volume {name}: hostPath.path must be a path, not {path!r}"
    elif not root:
        yield f"volume {name}: host path {path} is not allowed: the setting hostPathRoot is empty"
    elif ".." in PurePosixPath(path).parts or not PurePosixPath(path).is_relative_to(root):
        yield f"volume {name}: host path {path} does not lie under {root}, the setting hostPathRoot"


def _container_violations(container: dict[str, Any]) -> Iterable[str]:
    context = container.get("securityContext", {})
    name = container["name"]
    for field in ("privileged", "allowPrivilegeEscalation"):
        if context.get(field):
            yield f"container {name}: securityContext.{field} is never allowed"
    if context.get("capabilities", {}).get("add"):
        yield f"container {name}: securityContext.capabilities.add is never allowed"
    if context.get("procMount", "Default") != "Default":
        yield f"container {name}: securityContext.procMount is never allowed"
    yield from _user_violations(f"container {name}", context)
    if any(port.get("hostPort") for port in container.get("ports", ())):
        yield f"container {name}: ports[].hostPort is never allowed"


def _user_violations(who: str, context: dict[str, Any]) -> Iterable[str]:
    if context.get("runAsUser") == 0 or context.get("runAsNonRoot") is False:
        yield f"{who}: securityContext must not run as root"
    if context.get("seccompProfile", {}).get("type") == "Unconfined":
        yield f"{who}: securityContext.seccompProfile.type Unconfined is never allowed"
    if context.get("seLinuxOptions"):
        yield f"{who}: securityContext.seLinuxOptions is never allowed"
