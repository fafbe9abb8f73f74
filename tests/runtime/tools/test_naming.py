"""Names of tools as the model knows them."""

import re

from hypothesis import given
from hypothesis import strategies as st

from agentfleet.runtime.tools import naming
from agentfleet.runtime.tools.records import Offer


def offer(name: str) -> Offer:
    return Offer(name, "", {"type": "object"})


def test_names_stay_where_they_can() -> None:
    assert naming.unique([("a", offer("add")), ("b", offer("list-files"))]) == ["add", "list-files"]


def test_both_of_the_same_name_get_their_entry() -> None:
    assert naming.unique([("a", offer("add")), ("b", offer("add")), ("c", offer("x"))]) == ["a_add", "b_add", "x"]


def test_letters_and_length() -> None:
    assert naming.fitting("files.read/all") == "files_read_all"
    assert len(naming.fitting("x" * 200)) == 64
    assert naming.fitting("x" * 200) != naming.fitting("x" * 201)


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "a_b"]), st.text("ab_.ü", max_size=70)), max_size=12, unique=True))
def test_all_are_unique_and_legal(pairs: list[tuple[str, str]]) -> None:
    names = naming.unique([(entry, offer(name)) for entry, name in pairs])
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) for name in names)


def test_an_entry_with_too_many_gives_none() -> None:
    used, left_out, too_many = naming.choose(
        ["few", "many", "last"], [[offer("a")], [offer(f"t{n}") for n in range(64)], [offer("b")]]
    )
    assert [name for name, _ in used] == ["few", "last"]
    assert left_out == ()
    assert too_many == {"many": "it offers 64 tools and there is room for 63: choose with include"}
