"""The authorities that a model's server is known by are followed when their file changes, by the process that runs."""

import os
import subprocess
from pathlib import Path

import pytest

from agentfleet.runtime.config import ModelEndpoint
from agentfleet.runtime.model import Model
from agentfleet.runtime.types import RunError
from e2e.support.scripted import serving


def vouched(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate for the loopback that vouches for itself, without and with its key."""
    certificate, key, both = (folder / f"{name}.{kind}" for kind in ("crt", "key", "pem"))
    request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    about = ["-days", "1", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*request, *about, *files], check=True, capture_output=True, timeout=60)
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    return certificate, both


def mounted(file: Path, content: bytes, at: int) -> None:
    """As the kubelet leaves it: a whole file, of another time."""
    file.write_bytes(content)
    os.utime(file, ns=(at, at))


async def test_a_changed_authority_counts_without_a_restart(tmp_path: Path) -> None:
    (other, _), (right, pair) = vouched(tmp_path, "other"), vouched(tmp_path, "right")
    known = tmp_path / "ca.crt"
    mounted(known, other.read_bytes(), 1)
    with serving(certificate=pair) as server:
        model = Model(ModelEndpoint(url=f"https://{server.address}/v1", id="scripted", ca_file=str(known)))
        with pytest.raises(RunError):
            await model.ready()
        mounted(known, b"no certificate", 2)
        with pytest.raises(RunError):
            await model.ready()
        mounted(known, right.read_bytes(), 3)
        await model.ready()
        await model.close()
