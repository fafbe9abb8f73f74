"""Whether HAProxy takes what was rendered: `haproxy -c`, with every warning an error."""

import subprocess
from pathlib import Path

from agentfleet.gateway import layout as places
from e2e.support import haproxy


def _here(text: str, folder: Path) -> str:
    """The configuration with folders of this machine instead of a pod's."""
    text = text.replace(places.CONFIG_FOLDER, str(folder)).replace(places.RUN_FOLDER, str(folder / "run"))
    return text.replace(places.TLS_FOLDER, str(folder))


def furnish(folder: Path) -> None:
    """What a pod has when HAProxy starts: maps, keys, a certificate."""
    run = folder / "run"
    run.mkdir()
    for name in ("keys", "groups", "credentials", "budgets", "identity", "decider"):
        (run / f"{name}.map").touch()
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=x",
            "-keyout",
            "tls.crt.key",
            "-out",
            "tls.crt",
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    public = ["openssl", "x509", "-in", "tls.crt", "-pubkey", "-noout"]
    key = subprocess.run(public, cwd=folder, check=True, capture_output=True).stdout
    for number in range(4):
        (run / f"jwt-{number}.pem").write_bytes(key)


def check(files: dict[str, str], folder: Path, version: haproxy.Version = "3.2", host: str = "chat-route-0") -> None:
    """HAProxy takes it without a warning."""
    for name, content in files.items():
        (folder / name).write_text(_here(content, folder))
    words = [*haproxy.command(version), "-c", "-dW", "-f", str(folder / "haproxy.cfg")]
    environment = {"HOSTNAME": host, "SITE": "a1b2c"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "WARNING" not in done.stderr
