"""A registry with the tiny models in it: the program, its configuration and its data folder."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import httpx

from e2e import models
from e2e.cluster.shell import wait_until
from e2e.images import BuildError
from e2e.models import ollama

FOLDER = Path(__file__).parent


def fill(program: Path, data: Path, work: Path) -> None:
    """Run the registry for a moment and push every model to library/NAME:latest; `data` is what it keeps."""
    data.mkdir()
    # A socket in a folder of ours instead of a port: no clash, and nobody else can push.
    socket, log = work / "registry.sock", work / "registry.log"
    env = {
        "REGISTRY_HTTP_NET": "unix",
        "REGISTRY_HTTP_ADDR": str(socket),
        "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(data),
        "OTEL_TRACES_EXPORTER": "none",
    }
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [program, "serve", FOLDER / "config.yml"],
            env=os.environ | env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            wait_until(socket.exists, "the registry listens", timeout=20, hint=log.read_text)
            transport = httpx.HTTPTransport(uds=str(socket))
            with httpx.Client(transport=transport, base_url="http://registry") as client:
                for name, gguf in models.prepare(work / "models").items():
                    ollama.push(client, f"library/{name}", "latest", gguf)
        except httpx.HTTPError as error:
            raise BuildError(f"the registry refused a model: {error}; its log: {log.read_text()}") from error
        finally:
            process.terminate()
