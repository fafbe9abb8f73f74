"""Whether an object lets a namespace refer to it: its allowedNamespaces, read as its NetworkPolicy does. Pure."""

from collections.abc import Mapping
from typing import Any

from agentfleet.objects import Manifest


def lets_in(manifest: Manifest, namespace_labels: Mapping[str, str], *, same: bool) -> bool:
    """`namespace_labels` are those of the namespace that refers; `same` is it where the object is in it, too.

    With a selector the object's own namespace has to match as well.
    """
    allowed = _allowed(manifest)
    if allowed.get("from") != "Selector":
        return same or allowed.get("from") == "All"
    wanted = (allowed.get("selector") or {}).get("matchLabels") or {}
    return all(namespace_labels.get(label) == value for label, value in wanted.items())


def goes_by_labels(manifest: Manifest) -> bool:
    """Whether labels of namespaces decide."""
    return _allowed(manifest).get("from") == "Selector"


def _allowed(manifest: Manifest) -> Mapping[str, Any]:
    allowed: Mapping[str, Any] = manifest.get("spec", {}).get("allowedNamespaces") or {}
    return allowed
