"""What the watches have seen, as compact bytes: read by reconcile, filled by handlers.py, repaired by resync.py.

Objects are kept without managedFields (half of a Deployment) and only with what reconcile reads; a dict costs ten
times its JSON, so each entry is one bytes object, parsed when it is asked for.
"""

from agentfleet.objects import Key, Manifest


class Cache:
    """Last seen state of every watched object, indexed by the agentfleet object it belongs to."""

    def observe(self, manifest: Manifest, *, deleted: bool = False) -> bool:
        """Take in an object from a watch or from an answer to a write; False when it is older than what is held.

        `manifest` must carry `kind`. Older is judged by resourceVersion for the same uid.
        """
        raise NotImplementedError

    def get(self, key: Key) -> Manifest | None:
        """A fresh copy of the object, None where unknown."""
        raise NotImplementedError

    def children(self, parent: Key, kind: str) -> list[Manifest]:
        """Objects of `kind` that belong to `parent` (objects.parent_of), sorted by name."""
        raise NotImplementedError

    def keys(self, kind: str) -> list[Key]:
        """All known keys of a kind, sorted."""
        raise NotImplementedError

    def drop(self, key: Key) -> None:
        """Forget an object that a listing has shown to be gone."""
        raise NotImplementedError
