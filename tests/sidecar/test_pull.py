"""Pull progress from events as Ollama sends them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentfleet.sidecar.failures import ModelFailed
from agentfleet.sidecar.pull import PullProgress


def event(digest: str, total: int, completed: int | None = None) -> dict[str, object]:
    fields = {"status": f"pulling {digest}", "digest": digest, "total": total}
    return fields if completed is None else fields | {"completed": completed}


def test_a_whole_pull() -> None:
    progress = PullProgress()
    seen = []
    for one, arrived in (
        ({"status": "pulling manifest"}, 0),
        (event("sha256:a", 900), 0),
        (event("sha256:a", 900, 450), 450),
        (event("sha256:a", 900, 900), 450),
        (event("sha256:b", 100), 0),
        (event("sha256:b", 100, 100), 100),
        ({"status": "verifying sha256 digest"}, 0),
        ({"status": "writing manifest"}, 0),
        ({"status": "success"}, 0),
    ):
        assert progress.feed(one) == arrived
        seen.append((progress.percent, progress.verifying, progress.succeeded))
    assert [percent for percent, _, _ in seen] == [0, 0, 50, 99, 99, 99, 99, 99, 100]
    assert [verifying for _, verifying, _ in seen] == [False] * 6 + [True, True, False]
    assert [succeeded for _, _, succeeded in seen] == [False] * 8 + [True]


def test_bytes_of_an_earlier_pull_did_not_arrive_now() -> None:
    progress = PullProgress()
    assert progress.feed(event("sha256:a", 900, 600)) == 0
    assert progress.feed(event("sha256:a", 900, 700)) == 100
    assert progress.percent == 77


def test_an_error_inside_the_stream_ends_it() -> None:
    with pytest.raises(ModelFailed, match="ModelNotFound: pull model manifest: file does not exist"):
        PullProgress().feed({"error": "pull model manifest: file does not exist"})


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 10**12), st.integers(0, 10**12)), max_size=30))
def test_the_percentage_never_falls_and_100_is_left_to_success(events: list[tuple[str, int, int]]) -> None:
    progress = PullProgress()
    last = 0
    for digest, total, completed in events:
        assert progress.feed(event(digest, total, completed)) >= 0
        assert last <= progress.percent <= 99
        last = progress.percent
