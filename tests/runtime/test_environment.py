"""Which variables have changed since the process began, by a folder as the kubelet keeps it."""

from pathlib import Path

from agentfleet.runtime.environment import watched
from e2e.support.scripted import serving
from tests.runtime.process import settings, started


def written(folder: Path, **values: str) -> None:
    """All files are replaced at once: a new folder, to which the hidden link points from then on."""
    data = folder / f"..{len(list(folder.iterdir()))}"
    data.mkdir()
    for name, value in values.items():
        (data / name).write_text(value)
    link = folder / "..data"
    (folder / "..tmp").symlink_to(data.name)
    (folder / "..tmp").replace(link)
    for name in values:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    for path in folder.iterdir():
        if path.is_symlink() and not path.exists():
            path.unlink()


def test_a_changed_file_is_named_and_one_that_is_as_it_was_is_not(tmp_path: Path) -> None:
    written(tmp_path, KEY="old", URL="same")
    changed = watched(tmp_path)
    assert changed() == ()
    written(tmp_path, KEY="new", URL="same")
    assert changed() == ("KEY",)
    written(tmp_path, KEY="old", URL="same")
    assert changed() == (), "it is what the process has"


def test_what_comes_later_counts_and_what_goes_does_not(tmp_path: Path) -> None:
    written(tmp_path, KEY="old")
    changed = watched(tmp_path)
    written(tmp_path, OPTIONAL="now")
    assert changed() == ("OPTIONAL",)


def test_a_pod_without_such_variables_has_no_folder(tmp_path: Path) -> None:
    assert watched(tmp_path / "none")() == ()


async def test_the_process_tells_of_it_where_the_operator_looks(tmp_path: Path) -> None:
    folder = tmp_path / "environment"
    folder.mkdir()
    written(folder, KEY="old")
    with serving() as model:
        async with started(tmp_path, settings(model, tmp_path, environment_folder=str(folder))) as agent:
            before = (await agent.answers("/readyz", 200)).json()
            written(folder, KEY="new")
            after = (await agent.answers("/readyz", 200)).json()
    assert (before["changed"], after["changed"]) == ([], ["KEY"])
