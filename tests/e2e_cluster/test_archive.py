"""Image archives of static executables."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

from e2e.cluster.archive import pack


def test_an_archive_names_its_image_and_its_layer_holds_the_files(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF...")
    archive = pack(
        tmp_path / "out" / "image.tar", "localhost/x:1", {"/bin/x": program}, ["/bin/x"], links={"/bin/y": "x"}
    )

    with tarfile.open(archive) as tar:
        [manifest] = json.loads(_read(tar, "manifest.json"))
        config = json.loads(_read(tar, manifest["Config"]))
        layer = _read(tar, manifest["Layers"][0])
    assert manifest["RepoTags"] == ["localhost/x:1"]
    assert config["config"]["Entrypoint"] == ["/bin/x"]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}"]
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        assert _read(tar, "bin/x") == b"\x7fELF..."
        assert tar.getmember("bin/x").mode == 0o755
        assert tar.getmember("bin/y").linkname == "x"
        assert tar.getmember("tmp").mode == 0o1777
    assert [path.name for path in archive.parent.iterdir()] == ["image.tar"]


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"x")
    first, second = (pack(tmp_path / name, "localhost/x:1", {"/x": program}, ["/x"]) for name in ("a.tar", "b.tar"))
    assert first.read_bytes() == second.read_bytes()


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None
    return file.read()
