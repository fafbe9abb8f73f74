"""`audit show` and `audit verify` of an agent: cli/audit.py, cli/audit_show.py and cli/audit_source.py.

The lines are those of an agent's real process, and so is the page of metrics.
"""

import base64
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import pytest_asyncio

from agentfleet.runtime import identity
from agentfleet.runtime.config import Access
from agentfleet.runtime.types import Caller
from e2e.support.scripted import serving
from tests.cli.agents import a_pod, an_agent, kubectl, serve_agents
from tests.cli.servers import FakeApi, refused
from tests.runtime.process import BODY, settings, started

LOG = "/api/v1/namespaces/prod/pods/desk-agent-0/log"
SECRET = "/api/v1/namespaces/prod/secrets/agentfleet-identity"
KEY = b"the namespace's key"
NOISE = '{"level": "WARNING", "message": "what a process says beside its trail"}'


@dataclass
class Trail:
    """What an agent that was asked twice has left."""

    api: FakeApi
    log: str
    """All that the container wrote."""

    @property
    def lines(self) -> list[str]:
        return [line for line in self.log.splitlines() if '"chain":' in line]


@dataclass
class Ran:
    """The process, which goes on running."""

    log: str
    port: int
    folder: Path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ran(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ran]:
    folder = tmp_path_factory.mktemp("agent")
    key = folder / "key"
    key.write_bytes(KEY)
    access = Access(default="Allow", token_review=False, identity_key_file=str(key))
    with serving() as model:
        async with started(folder, replace(settings(model, folder), access=access)) as agent:
            await agent.answers("/readyz", 200)
            signed = identity.sign(KEY, Caller("erin", frozenset()), time.time())
            for _ in range(2):
                answer = await agent.http.post(
                    "/v1/chat/completions", json=BODY, headers={identity.HEADER: signed, "x-request-id": "req-7"}
                )
                assert answer.status_code == 200
            yield Ran(agent.log.read_text(), int(agent.http.base_url.port or 0), folder / "data")


@pytest.fixture
def trail(ran: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api: FakeApi) -> Trail:
    serve_agents(api, an_agent(), pods=[a_pod()])
    api.answers[SECRET] = {"data": {"key": base64.b64encode(KEY).decode()}}
    log = "".join(f"{line}\n{NOISE}\n" for line in ran.log.splitlines())
    api.answers |= {LOG: log, f"{LOG}?container=agent&previous=true": 400}
    kubectl(tmp_path, monkeypatch, forwards_to=ran.port, executes=f"cat {ran.folder}/audit.jsonl")
    return Trail(api, log)


async def test_what_an_agent_did(trail: Trail, capsys: pytest.CaptureFixture[str]) -> None:
    assert await trail.api.run("audit", "show", "agent/desk", "--request", "req-7") == 0
    headers, *rows = capsys.readouterr().out.splitlines()
    assert headers.split() == ["TIME", "KIND", "DECISION", "CALLER", "WHAT", "TOOK", "TOKENS", "REQUEST"]
    assert len(rows) == 2
    assert all(row.split()[1:4] == ["run", "ok", "erin"] for row in rows)
    assert await trail.api.run("audit", "show", "desk", "--kind", "begin", "-o", "json") == 0
    assert capsys.readouterr().out.splitlines() == trail.lines[:1]


@pytest.mark.parametrize("source", ["logs", "files"])
async def test_the_lines_of_an_agent_are_whole(trail: Trail, capsys: pytest.CaptureFixture[str], source: str) -> None:
    assert await trail.api.run("audit", "verify", "agent/desk", "--from", source) == 0
    assert capsys.readouterr().out.endswith("3 lines of 1 chains: whole\n")


async def test_what_was_changed_or_cut_off_shows(trail: Trail, capsys: pytest.CaptureFixture[str]) -> None:
    trail.api.answers[LOG] = trail.log.replace('"caller":"erin"', '"caller":"eric"')
    assert await trail.api.run("audit", "verify", "agent/desk") == 3
    assert "was changed" in capsys.readouterr().out
    trail.api.answers[LOG] = "".join(f"{line}\n" for line in trail.lines[:-1])
    assert await trail.api.run("audit", "verify", "agent/desk") == 3
    assert ": 3 to 3, its end" in capsys.readouterr().out


async def test_without_the_right_to_read_the_key(trail: Trail, capsys: pytest.CaptureFixture[str]) -> None:
    trail.api.answers[SECRET] = 403
    assert await trail.api.run("audit", "verify", "agent/desk", "-o", "json") == 0
    output = capsys.readouterr()
    assert "warning: the key of prod may not be read" in output.err
    (note,) = json.loads(output.out)["notes"]
    assert "has a key: give it" in note["text"]


async def test_collected_lines_and_a_saved_page(
    tmp_path: Path, trail: Trail, capsys: pytest.CaptureFixture[str]
) -> None:
    chain = json.loads(trail.lines[0])["chain"]
    lines, key, page = (tmp_path / name for name in ("lines.jsonl", "the-key", "page"))
    lines.write_text("\n".join(trail.lines))
    key.write_bytes(KEY)
    argv = ("audit", "verify", str(lines), "--key", str(key), "--metrics", str(page))
    page.write_text(f'agentfleet_agent_audit_lines{{chain="{chain}"}} 3.0\n')
    assert await trail.api.run(*argv) == 0
    page.write_text(f'agentfleet_agent_audit_lines{{chain="{chain}"}} 5.0\n')
    assert await trail.api.run(*argv) == 3
    assert "4 to 5, its end" in capsys.readouterr().out
    page.unlink()
    assert "a page of /metrics cannot be read" in await refused(trail.api, capsys, *argv)


async def test_an_agent_without_pods(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    serve_agents(api, an_agent())
    assert "no pod of prod/desk is there" in await refused(api, capsys, "audit", "show", "agent/desk")
