"""An agent's process, started as in a pod, and what tests wait for of it."""

import asyncio
import contextlib
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from agentfleet.runtime.config import Access, AgentConfig
from e2e.support.scripted import Server
from tests.runtime.parts import config

FOLDER = Path(__file__).parents[2]
_MANY = httpx.Limits(max_connections=None)
BODY: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}


@dataclass
class Agent:
    process: subprocess.Popen[bytes]
    http: httpx.AsyncClient
    log: Path

    async def answers(self, path: str, status: int, seconds: float = 60.0) -> httpx.Response:
        """Once it does; the log is shown where it does not."""
        last: Any = None
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                last = await self.http.get(path)
                if last.status_code == status:
                    return last
            except httpx.TransportError as error:
                last = error
            await asyncio.sleep(0.05)
        raise AssertionError(f"{path} did not answer {status}: {last}\n{self.log.read_text()}")

    async def problem(self, name: str, words: str) -> None:
        """Once /readyz tells of it in these words."""
        await self._told(lambda problems: words in problems.get(name, ""))

    async def _told(self, wanted: Callable[[dict[str, str]], bool], seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        told: Any = None
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(httpx.TransportError):
                told = (await self.http.get("/readyz")).json()["problems"]
                if wanted(told):
                    return
            await asyncio.sleep(0.05)
        raise AssertionError(f"/readyz says {told}\n{self.log.read_text()}")

    async def ended(self, seconds: float = 60.0) -> int:
        return await asyncio.wait_for(asyncio.to_thread(self.process.wait), seconds)


@asynccontextmanager
async def started(tmp_path: Path, settings: AgentConfig, *options: str) -> AsyncIterator[Agent]:
    file, log = tmp_path / "agent.json", tmp_path / "log"
    file.write_text(settings.to_json())
    port = free_port()
    command = [sys.executable, "-m", "agentfleet", "runtime", "--config", str(file), "--host", "127.0.0.1", *options]
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: ASYNC220 # a moment
            [*command, "--port", str(port)],
            env={**os.environ, "PYTHONPATH": str(FOLDER / "operator")},
            stdout=output,
            stderr=output,
        )
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", timeout=60, limits=_MANY, trust_env=False
        ) as http:
            yield Agent(process, http, log)
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    """Of those that the kernel gives to nobody who asks for any: else somebody may get it before the process does."""
    ports = list(range(20_000, 30_000))
    random.shuffle(ports)
    for port in ports:
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def settings(model: Server, tmp_path: Path, **changes: Any) -> AgentConfig:
    access = Access(default="Allow", token_review=False)
    return config(model.address, access=access, data_folder=str(tmp_path / "data"), **changes)


def in_flight(model: Server, least: int = 1) -> None:
    deadline = time.monotonic() + 30
    while model.in_flight < least:
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def page_has(agent: Agent, text: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if text in (await agent.http.get("/metrics")).text:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{text} did not come")
