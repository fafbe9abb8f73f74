"""The last touch on a pod template: the spellings that the API server stores, and host folders read-only. Pure.

A wish in another spelling than the stored one would never be found in the live object, and be applied for ever.
"""

from typing import Any

from agentfleet.errors import InvalidSpec
from agentfleet.resources.base import canonical_quantity

_CACHE_VOLUME = "models"


def finish(template: dict[str, Any]) -> None:
    """Changes `template` in place; InvalidSpec where an amount is none."""
    spec = template["spec"]
    host = {volume["name"]: volume["hostPath"] for volume in spec.get("volumes", ()) if "hostPath" in volume}
    # A cache is made where it is missing and written to; all other host folders are for reading.
    read_only = {
        name for name, path in host.items() if name != _CACHE_VOLUME or path.get("type") != "DirectoryOrCreate"
    }
    for container in (*spec.get("initContainers", ()), *spec["containers"]):
        container["env"] = [_variable(item) for item in container.get("env", ())]
        container["volumeMounts"] = [
            mount | {"readOnly": True} if mount.get("name") in read_only else mount
            for mount in container.get("volumeMounts", ())
        ]
        container["resources"] = {
            kind: _amounts(container["name"], kind, amounts) if kind in ("requests", "limits") else amounts
            for kind, amounts in container.get("resources", {}).items()
        }
        for name in ("env", "volumeMounts", "resources"):
            if not container[name]:
                del container[name]


def _variable(item: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name != "value" or value != ""}


def _amounts(container: str, kind: str, amounts: dict[str, Any]) -> dict[str, str]:
    try:
        return {name: canonical_quantity(amount) for name, amount in amounts.items()}
    except ValueError as error:
        raise InvalidSpec("InvalidSpec", f"container {container}: resources.{kind}: {error}.") from error
