"""Merging spec.podTemplate over the pod that the operator builds, and comparing wishes with live objects. Pure."""

from collections.abc import Iterable
from typing import Any

_MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
}
"""Lists of a pod template that merge item by item; all other lists are replaced."""

_LIVE_KEYS = _MERGE_KEYS | {"imagePullSecrets": "name", "ownerReferences": "uid", "conditions": "type"}
"""Lists whose items server-side apply keeps apart, so that foreign items may stand beside ours."""

_ATOMIC = {"selector", "nodeSelector"}
"""Maps that have one owner as a whole: one more entry in a Service's selector, and it selects nothing."""


def overlay(base: Any, over: Any, key: str = "") -> Any:
    """`base` with `over` laid on top: maps merge, named lists merge by name, null in `over` removes."""
    if isinstance(base, dict) and isinstance(over, dict):
        merged = {name: base[name] for name in base if over.get(name, base[name]) is not None}
        for name, value in over.items():
            if value is not None:
                merged[name] = overlay(merged.get(name), value, name)
        return merged
    if isinstance(base, list) and isinstance(over, list) and key in _MERGE_KEYS:
        return _overlay_list(base, over, _MERGE_KEYS[key])
    return _without_nulls(over)


_MAPS = {
    "metadata", "labels", "annotations", "spec", "securityContext", "capabilities", "hostPath", "resources", "httpGet",
    "livenessProbe", "readinessProbe", "startupProbe", "affinity", "nodeAffinity", "nodeSelector", "requests", "limits",
    "seccompProfile",
}  # fmt: skip
_LISTS = {"tolerations", "args", "command"}
_NEEDED = {"containers", "initContainers", "matchExpressions"}
_MAP_LISTS = {"ports", "nodeSelectorTerms", "matchExpressions"}


def shape_problems(over: Any, path: str = "podTemplate") -> Iterable[str]:
    """Where `over` is not shaped like a pod template, in words; nothing where it can be merged.

    The API server keeps podTemplate as it is, so this is the first look that anybody takes at it.
    """
    if not isinstance(over, dict):
        return
    for name, value in over.items():
        here = f"{path}.{name}"
        if value is None:
            if name in ("containers", "initContainers", "matchExpressions") or here in (
                "podTemplate.metadata.labels",
                "podTemplate.spec",
            ):
                yield f"{here} cannot be removed"
        elif name in _MAPS and not isinstance(value, dict):
            yield f"{here} must be a map, not {value!r}"
        elif name in _MERGE_KEYS and not _is_named_list(value, _MERGE_KEYS[name]):
            yield f"{here} must be a list of maps, each with a {_MERGE_KEYS[name]}"
        elif name in _MAP_LISTS and not (isinstance(value, list) and all(isinstance(item, dict) for item in value)):
            yield f"{here} must be a list of maps, not {value!r}"
        elif name in _LISTS and not isinstance(value, list):
            yield f"{here} must be a list, not {value!r}"
        elif isinstance(value, list):
            for index, item in enumerate(value):
                yield from shape_problems(item, f"{here}[{index}]")
        else:
            yield from shape_problems(value, here)


def _is_named_list(value: Any, name: str) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) and isinstance(item.get(name), str) for item in value)


def _overlay_list(base: list[Any], over: list[Any], name: str) -> list[Any]:
    changes = {item.get(name): item for item in over}
    merged = [overlay(item, changes.pop(item.get(name))) if item.get(name) in changes else item for item in base]
    return merged + [_without_nulls(item) for item in changes.values()]


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def contains(live: Any, wanted: Any, key: str = "") -> bool:
    """True when all that `wanted` says stands in `live` already, which may say more (defaults, other managers)."""
    if isinstance(wanted, dict) and key not in _ATOMIC:
        return isinstance(live, dict) and all(
            name in live and contains(live[name], value, name) for name, value in wanted.items()
        )
    if isinstance(wanted, list):
        if not isinstance(live, list):
            return False
        if key in _LIVE_KEYS:
            by_name = {item.get(_LIVE_KEYS[key]): item for item in live}
            return all(contains(by_name.get(item.get(_LIVE_KEYS[key])), item) for item in wanted)
        return len(live) == len(wanted) and all(contains(*pair) for pair in zip(live, wanted, strict=True))
    return bool(live == wanted)
