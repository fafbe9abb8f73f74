"""Which agentfleet object refers to which other object: reconcile says so, and a change of the one wakes the other.

A plain index without I/O. It is rebuilt by the first reconcile of each object after a start.
"""

from collections.abc import Iterable

from agentfleet.objects import Key

ANY_NODE = Key("Node", "", "*")
"""Refers to all Nodes: for placement, which has to look at every one."""


def served_key(kind: str) -> Key:
    """Refers to whether an optional kind is served."""
    return Key("CustomResourceDefinition", "", kind)


class References:
    """Both directions of "refers to"."""

    def __init__(self) -> None:
        self._of: dict[Key, frozenset[Key]] = {}
        self._to: dict[Key, set[Key]] = {}

    def set(self, parent: Key, references: Iterable[Key]) -> None:
        """`parent` refers to exactly these; an empty set forgets it."""
        new = frozenset(references)
        for key in self._of.get(parent, frozenset()) - new:
            parents = self._to[key]
            parents.discard(parent)
            if not parents:
                del self._to[key]
        for key in new:
            self._to.setdefault(key, set()).add(parent)
        if new:
            self._of[parent] = new
        else:
            self._of.pop(parent, None)

    def parents(self, key: Key) -> list[Key]:
        """Who refers to `key`, sorted; a Node is also referred to through ANY_NODE."""
        found = self._to.get(key, set())
        if key.kind == ANY_NODE.kind:
            found = found | self._to.get(ANY_NODE, set())
        return sorted(found)
