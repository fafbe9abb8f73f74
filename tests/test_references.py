"""references.py: the reverse index."""

from agentfleet.objects import Key
from agentfleet.references import ANY_NODE, References

A, B = Key("ModelServer", "default", "a"), Key("ModelServer", "default", "b")
CLAIM, NODE = Key("PersistentVolumeClaim", "default", "models"), Key("Node", "", "n1")


def test_the_last_set_counts() -> None:
    references = References()
    references.set(A, {CLAIM, NODE})
    references.set(B, {CLAIM})
    assert references.parents(CLAIM) == [A, B]
    assert references.parents(NODE) == [A]
    references.set(A, {NODE})
    assert references.parents(CLAIM) == [B]
    references.set(A, set())
    references.set(B, set())
    assert references.parents(CLAIM) == references.parents(NODE) == []
    assert not references._of and not references._to, "nothing is left behind"


def test_any_node_is_every_node_and_nothing_else() -> None:
    references = References()
    references.set(B, {ANY_NODE})
    references.set(A, {NODE})
    assert references.parents(NODE) == [A, B]
    assert references.parents(Key("Node", "", "other")) == [B]
    assert references.parents(CLAIM) == []
