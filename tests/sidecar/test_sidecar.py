"""The whole sidecar as a process beside stand-in engines: probes, status, drain, metrics, and its end."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from agentfleet.sidecar.idle import IdleOptions
from agentfleet.sidecar.library import Served
from agentfleet.sidecar.options import parse
from agentfleet.sidecar.progress import Progress, write
from agentfleet.sidecar.server import STOP_HEADER

OPERATOR = Path(__file__).parents[2] / "operator"
KEY = "s3cret"
OLLAMA = ("--engine", "Ollama", "--serve", "a=b")


@dataclass
class FakeLlama:
    """llama-server: 503 while it loads, metrics behind the key."""

    loading: bool = False
    processing: int = 0
    deferred: int = 0
    asked: int = field(default=0)

    def application(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [web.get("/health", self._health), web.get("/props", self._props), web.get("/metrics", self._metrics)]
        )
        return app

    async def _health(self, request: web.Request) -> web.Response:
        loading = {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}
        return web.json_response(loading, status=503) if self.loading else web.json_response({"status": "ok"})

    async def _props(self, request: web.Request) -> web.Response:
        return web.json_response({"build_info": "b11669-Debian"})

    async def _metrics(self, request: web.Request) -> web.Response:
        self.asked += 1
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return web.json_response({"error": {"message": "Invalid API Key", "code": 401}}, status=401)
        numbers = f"llamacpp:requests_processing {self.processing}\nllamacpp:requests_deferred {self.deferred}\n"
        return web.Response(text=numbers)


@dataclass
class Sidecar:
    process: subprocess.Popen[str]
    url: str

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        """Status and body; (0, "") while nobody answers."""
        asked = urllib.request.Request(self.url + path, headers=headers)  # noqa: S310 - our own process
        try:
            with urllib.request.urlopen(asked, timeout=20) as response:  # noqa: S310
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def status(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.get("/status")[1])
        return content

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline, "the condition did not become true in time"
            time.sleep(0.05)


Start = Callable[..., Sidecar]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    processes: list[subprocess.Popen[str]] = []

    def run(engine: str, engine_url: str, *arguments: str) -> Sidecar:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        program = "from agentfleet.sidecar.main import main; raise SystemExit(main())"
        command = [sys.executable, "-c", program, "--engine", engine, "--engine-port", engine_url.rsplit(":", 1)[1]]
        command += ["--port", str(port), "--dns-delay", "0.2", "--drain-timeout", "5s", *arguments]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(OPERATOR), "HTTP_PROXY": "http://127.0.0.1:1"}
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        return Sidecar(process, f"http://127.0.0.1:{port}")

    yield run

    for process in processes:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


@pytest.fixture
def key(tmp_path: Path) -> str:
    path = tmp_path / "key"
    path.write_text(KEY + "\n")
    return str(path)


def test_a_pod_from_the_first_byte_to_the_last_answer(start: Start, serve: Any, key: str, tmp_path: Path) -> None:
    llama = FakeLlama(loading=True)
    write(tmp_path, Progress("Complete", 10, 10, 100, digest="abc"))
    state = ("--state-dir", str(tmp_path))
    sidecar = start(
        "LlamaCpp", serve(llama.application()), "--serve", "hf://o/r?x=1=tiny", "--api-key-file", key, *state
    )
    sidecar.until(lambda: '"Loading"' in sidecar.get("/status")[1])
    assert sidecar.get("/readyz")[0] == 503

    llama.loading = False
    sidecar.until(lambda: sidecar.get("/readyz")[0] == 200)
    ready = {"state": "Ready", "progressPercent": None, "reason": None, "message": None}
    assert sidecar.status() == {
        "engine": "LlamaCpp",
        "engineVersion": "b11669-Debian",
        "ready": True,
        "models": [ready | {"name": "tiny", "digest": "abc", "size": 10, "category": None, "updatedAt": None}],
        "inFlight": 0,
    }

    llama.processing, llama.deferred = 1, 2
    answers: list[tuple[int, str]] = []
    drains = [threading.Thread(target=lambda: answers.append(sidecar.get("/drain"))) for _ in range(10)]
    llama.asked, began = 0, time.monotonic()
    for thread in drains:
        thread.start()
    time.sleep(1.2)
    assert answers == []
    assert sidecar.get("/readyz")[0] == 200, "a drain must not take the pod out: anybody can call it"
    assert llama.asked <= most(began), "ten drains ask the engine no more often than one"
    llama.processing = llama.deferred = 0
    for thread in drains:
        thread.join()
    assert {code for code, _ in answers} == {200}
    assert {json.loads(body)["result"] for _, body in answers} == {"idle"}

    asked = "/engine?names=llamacpp:requests_deferred,agentfleet_sidecar_in_flight,absent"
    page = "llamacpp:requests_deferred 0\nagentfleet_sidecar_in_flight 0.0\n"
    assert sidecar.get(asked) == (200, page)
    assert sidecar.get(asked + ",agentfleet_sidecar_page_age_seconds") == (
        200,
        page + "agentfleet_sidecar_page_age_seconds 0.000\n",
    )
    for names in ("", "a b", "a,,b", "x" * 121, ",".join(f"n{number}" for number in range(65))):
        assert sidecar.get("/engine?names=" + names.replace(" ", "%20"))[0] == 400
    llama.asked, began = 0, time.monotonic()
    looks = [threading.Thread(target=sidecar.get, args=(asked,)) for _ in range(10)]
    for thread in looks:
        thread.start()
    for thread in looks:
        thread.join()
    assert llama.asked <= most(began), "whoever asks much asks the sidecar, not the engine"

    page = sidecar.get("/metrics")[1]
    assert "agentfleet_sidecar_in_flight 0.0" in page
    assert 'agentfleet_sidecar_models{state="Ready"} 1.0' in page
    assert 'agentfleet_sidecar_drain_seconds_count{result="idle"} 10.0' in page
    assert "loaded_models" not in page

    resident = Path(f"/proc/{sidecar.process.pid}/status").read_text().split("VmRSS:")[1].split()[0]
    assert int(resident) < 60_000, "kB; every engine pod pays for this"
    sidecar.process.send_signal(signal.SIGTERM)
    assert sidecar.process.wait(20) == 0


def most(began: float) -> float:
    """How often an engine is asked since then: at once, and then when the last answer is a quarter of a second old."""
    return 2 + (time.monotonic() - began) / 0.25


def test_a_pod_that_is_stopped_is_not_ready_before_its_engine_is_told(start: Start, serve: Any, key: str) -> None:
    """llama-server takes requests after SIGTERM and never answers them: nobody may be sent there by then."""
    llama = FakeLlama()
    stopped = ("--stop-token", "secret", "--leave-delay", "4")
    sidecar = start("LlamaCpp", serve(llama.application()), "--api-key-file", key, *stopped)
    sidecar.until(lambda: sidecar.get("/readyz")[0] == 200)
    for wrong in ({}, {STOP_HEADER: ""}, {STOP_HEADER: "secre"}, {STOP_HEADER: "secreté"}):
        assert json.loads(sidecar.get("/drain", **wrong)[1])["waited"] < 4
        assert sidecar.get("/readyz")[0] == 200, "whoever reaches the port can ask for a drain"
    answers: list[tuple[int, str]] = []
    stop = threading.Thread(target=lambda: answers.append(sidecar.get("/drain", **{STOP_HEADER: "secret"})))
    stop.start()
    sidecar.until(lambda: sidecar.get("/readyz")[0] == 503)
    assert answers == [], "the engine is stopped only when all have learnt that the pod is not ready"
    assert json.loads(sidecar.get("/readyz")[1]) == {"ready": False, "leaving": True}
    stop.join()
    answer = json.loads(answers[0][1])
    assert (answer["result"], answer["waited"] >= 4.7) == ("idle", True)
    assert sidecar.get("/readyz")[0] == 503


def test_numbers_that_cannot_be_read_are_not_zero(start: Start, serve: Any, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("wrong")
    url = serve(FakeLlama().application())
    sidecar = start("LlamaCpp", url, "--api-key-file", str(tmp_path / "key"), "--drain-timeout", "1")
    sidecar.until(lambda: sidecar.get("/readyz")[0] == 200)
    assert sidecar.status()["inFlight"] is None
    assert "agentfleet_sidecar_in_flight 0" not in sidecar.get("/metrics")[1]
    assert sidecar.get("/engine?names=agentfleet_sidecar_in_flight") == (503, "/metrics answered 401\n")
    assert json.loads(sidecar.get("/drain")[1])["result"] == "timeout"
    sidecar.process.terminate()
    assert "/metrics answered 401" in sidecar.process.communicate()[1]


def test_an_engine_that_is_gone_holds_nobody(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    sidecar = start("VLLM", url)
    sidecar.until(lambda: sidecar.get("/healthz")[0] == 200)
    assert sidecar.get("/readyz")[0] == 503
    answer = json.loads(sidecar.get("/drain")[1])
    assert answer["result"] == "engine-gone"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--engine", "Ollama"], "needs at least one --serve"),
        (["--engine", "VLLM", "--serve", "a=b", "--serve", "c=d"], "serves one model"),
        (["--engine", "TGI"], "invalid choice: 'TGI'"),
        (["--engine", "Ollama", "--serve", "nothing"], "'nothing' is not SOURCE=ALIAS"),
        (["--engine", "Ollama", "--serve", "a=b", "--keep-alive", "soon"], "'soon' is not a duration"),
        (["--engine", "VLLM", "--api-key-file", "/absent"], "/absent: no such file"),
        (["--engine", "Ollama", "--serve", "a=b,category="], "'a=b,category=' is not SOURCE=ALIAS"),
        (["--engine", "VLLM", "--warm-up", "Chat"], "--warm-up needs --serve"),
        (["--engine", "VLLM", "--warm-up", "Sing"], "invalid choice: 'Sing'"),
        (["--engine", "VLLM", "--unload-after", "300s"], "--unload-after is for --engine Ollama"),
        (["--engine", "LlamaCpp", "--adapters-file", "f"], "--adapters-file is for --engine VLLM"),
        ([*OLLAMA, "--memory-percent", "101"], "'101' is no percentage"),
        ([*OLLAMA, "--max-memory", "8Gi"], "'8Gi' is no number of bytes"),
        ([*OLLAMA, "--update-schedule", "weekly"], "'weekly' is no cron expression"),
        ([*OLLAMA, "--update-schedule", "0 3 * * 0", "--update-time-zone", "Mars/Base"], "'Mars/Base' is no time zone"),
    ],
)
def test_wrong_arguments_are_explained(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse([*arguments, "--engine-port", "1"])
    assert caught.value.code == 2
    assert complaint in capsys.readouterr().err


def test_what_ollama_is_given() -> None:
    options = parse([*OLLAMA, "--engine-port", "1", "--serve", "http://r:5000/x?y=1=m:1,category=Balanced"])
    assert options.serve == [Served("a", "b"), Served("http://r:5000/x?y=1", "m:1", "Balanced")]
    assert not options.idle
    options = parse([*OLLAMA, "--engine-port", "1", "--unload-after", "5m", "--max-memory", "1024"])
    assert options.idle == IdleOptions(unload_after=300, max_memory=1024)


def test_the_sidecar_stays_small() -> None:
    """Neither the operator's libraries nor the loader's are imported."""
    program = "import sys, agentfleet.sidecar.main; print(*sys.modules)"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(OPERATOR)}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert not {"kopf", "kubernetes", "pydantic", "huggingface_hub", "hf_xet"} & set(result.stdout.split())
