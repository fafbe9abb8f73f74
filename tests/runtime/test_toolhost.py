"""The container of Python functions beside an agent's process: both real, and started in either order."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agentfleet.runtime.config_tools import PythonTool, ToolEntry
from e2e.support.answers import Reply
from e2e.support.scripted import serving
from tests.runtime.process import BODY, FOLDER, free_port, settings, started

SOURCE = '''def create_ticket(title: str) -> dict:
    """Open a ticket.

    Args:
        title: In a few words.
    """
    return {"ticket": f"T-7 {title}"}
'''


@contextmanager
def toolhost(folder: Path, port: int) -> Iterator[None]:
    command = [sys.executable, "-m", "agentfleet", "toolhost", "--folder", str(folder), "--port", str(port)]
    with (folder.parent / f"toolhost-{port}.log").open("ab") as log:
        process = subprocess.Popen(
            command, env={**os.environ, "PYTHONPATH": str(FOLDER / "operator")}, stdout=log, stderr=log
        )
    try:
        yield
    finally:
        process.kill()
        process.wait()


async def test_it_may_come_after_the_agent_and_be_started_anew(tmp_path: Path) -> None:
    """No probe says when it is up: the agent waits for it by itself, and is not ready before."""
    folder, port = tmp_path / "functions", free_port()
    folder.mkdir()
    (folder / "tickets.py").write_text(SOURCE)
    with serving() as model:
        entry = ToolEntry("tickets", PythonTool(port))
        async with started(tmp_path, settings(model, tmp_path, tools=(entry,))) as agent:
            await agent.problem("tools", "tickets")
            assert (await agent.http.get("/readyz")).status_code == 503
            with toolhost(folder, port):
                told = (await agent.answers("/readyz", 200)).json()
                assert told["tools"] == [{"name": "create_ticket", "source": "tickets"}]
            with toolhost(folder, port):
                await agent.answers(f"http://127.0.0.1:{port}/healthz", 200)
                model.replies += [Reply(calls=(("create_ticket", '{"title": "fire"}'),)), Reply("Opened T-7.")]
                answer = (await agent.http.post("/v1/chat/completions", json=BODY)).json()
                assert answer["choices"][0]["message"]["content"] == "Opened T-7."
                page = (await agent.http.get("/metrics")).text
                assert 'agentfleet_agent_tool_calls_total{outcome="ok",source="tickets"} 1.0' in page
