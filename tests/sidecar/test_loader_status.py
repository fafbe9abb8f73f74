"""GET /status of a loader that runs as a Job: what the operator reads while a model arrives."""

import asyncio
import socket
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from agentfleet.planning.models import _models as read_by_the_operator
from agentfleet.sidecar import progress
from agentfleet.sidecar.loader_status import serving, status
from agentfleet.sidecar.progress import Progress
from tests.sidecar.loading import Load
from tests.sidecar.standins import Site


@pytest.mark.parametrize(
    ("loading", "state", "percent"),
    [
        (None, "Pending", None),
        (Progress("Pending", message="asking"), "Pending", None),
        (Progress("Downloading", 30, 100, 30), "Downloading", 30),
        (Progress("Verifying", 100, 100, 100), "Verifying", 100),
        (Progress("Complete", 100, 100, 100, digest="d"), "Loading", 100),
        (Progress("Failed", 3, 100, 3, "DiskFull", "no room"), "Failed", 3),
    ],
)
def test_states(tmp_path: Path, loading: Progress | None, state: str, percent: int | None) -> None:
    if loading is not None:
        progress.write(tmp_path, loading)
    answer = status("chat", tmp_path)
    (model,) = answer["models"]
    assert (model["name"], model["state"], model["progressPercent"]) == ("chat", state, percent)
    (known,) = read_by_the_operator(answer)
    assert (known.name, known.state) == ("chat", state)


def test_routes(tmp_path: Path) -> None:
    with serving(0, "chat", tmp_path) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        assert client.get("/healthz").json() == {"ok": True}
        assert client.get("/status").json()["models"][0]["state"] == "Pending"
        assert client.get("/elsewhere").status_code == 404
        (tmp_path / "progress.json").write_text("[]")
        assert client.get("/status").status_code == 503
    with serving(None, "chat", tmp_path) as port:
        assert port is None


def test_a_job_tells_its_progress(
    load: Load, serve: Any, until: Any, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(files={"tiny.gguf": bytes(1000)})
    hold = threading.Event()
    send = site.send

    async def held(*arguments: Any) -> Any:
        await asyncio.to_thread(hold.wait, 10)
        return await send(*arguments)

    monkeypatch.setattr(site, "send", held)
    site.url = serve(site.application())
    answers: list[Any] = []

    def ask() -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            until(lambda: site.seen)
            answers.append(client.get("/status").json()["models"][0])
        hold.set()

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    operator = threading.Thread(target=ask)
    operator.start()
    load(site, target, "https://x/tiny.gguf", "--status-port", str(port), "--name", "chat")
    operator.join()
    assert (answers[0]["name"], answers[0]["state"]) == ("chat", "Pending")
