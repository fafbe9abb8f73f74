"""The HAProxy of the tests: it is the real one, and where it is missing it says how to get it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import httpx
import pytest

from e2e.cluster.errors import ClusterError
from e2e.images import BuildError, Progress
from e2e.images import haproxy as image
from e2e.support import haproxy
from e2e.support.ports import free_ports

CONFIG = """
global
  tune.lua.bool-sample-conversion normal
  lua-load-per-thread {lua}
defaults
  mode http
  timeout connect 1s
  timeout client 5s
  timeout server 5s
frontend metrics
  bind 127.0.0.1:{port}
  http-request use-service prometheus-exporter if {{ path /metrics }}
  http-request return status 200 content-type text/plain lf-string "%[lua.word]"
"""


@pytest.fixture
def nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with an empty cache; programs can be put into the folder, which is its PATH."""
    monkeypatch.setenv("AGENTFLEET_E2E_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def install(folder: Path, version: str, features: str) -> Path:
    program = folder / "haproxy"
    program.write_text(f"#!/bin/sh\necho 'HAProxy version {version}-1 2026/10/14'\necho 'Feature list : {features}'\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("version", ["3.2", "3.4"])
def test_it_runs_and_has_what_the_gateway_needs(version: haproxy.Version, tmp_path: Path) -> None:
    try:
        words = haproxy.command(version)
    except haproxy.Missing as error:
        if version == "3.2":
            raise
        pytest.skip(str(error))
    image.require(words, version)
    (port,) = free_ports(1)
    lua, config = tmp_path / "word.lua", tmp_path / "haproxy.cfg"
    lua.write_text('core.register_fetches("word", function() return _VERSION end)\n')
    config.write_text(CONFIG.format(lua=lua, port=port))
    subprocess.run([*words, "-dW", "-c", "-f", config], timeout=20, check=True)
    address = f"127.0.0.1:{port}"
    with haproxy.running(config, address, version) as running:
        assert httpx.get(f"http://{address}/", trust_env=False).text == "Lua 5.4"
        assert "haproxy_process_uptime_seconds" in httpx.get(f"http://{address}/metrics", trust_env=False).text
    assert running.process.returncode == 0


def test_a_configuration_that_it_refuses_is_told(tmp_path: Path) -> None:
    config = tmp_path / "haproxy.cfg"
    config.write_text("nonsense\n")
    with (
        pytest.raises(ClusterError, match=r"(?s)HAProxy ended with status 1:.*unknown keyword 'nonsense'"),
        haproxy.running(config, "127.0.0.1:9"),
    ):
        pass


def test_where_there_is_none_it_is_said_how_to_get_it(nothing_here: Path) -> None:
    with pytest.raises(haproxy.Missing, match=r"no HAProxy 3\.2 .* none in PATH.*python3 -m e2e\.support\.haproxy"):
        haproxy.command()


@pytest.mark.parametrize(
    ("version", "features", "why"),
    [
        ("2.6.12", "+LUA +PCRE2 +PROMEX", r"is HAProxy version 2\.6: the tests want 3\.2"),
        ("3.2.26", "-LUA +PCRE2 +PROMEX", r"was built without \+LUA"),
    ],
)
def test_one_in_the_path_that_will_not_do_is_named(nothing_here: Path, version: str, features: str, why: str) -> None:
    install(nothing_here, version, features)
    with pytest.raises(haproxy.Missing, match=why):
        haproxy.command()


@pytest.mark.parametrize("version", ["3.2.0", "3.10.1"])
def test_one_in_the_path_that_will_do_is_taken(nothing_here: Path, version: str) -> None:
    program = install(nothing_here, version, "+LUA +PCRE2 +PROMEX")
    assert haproxy.command() == [str(program)]


def test_the_newer_one_is_no_must(nothing_here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched, told = [], []

    def tree(edition: image.Edition, progress: Progress) -> Path:
        if edition is image.NEWER:
            raise BuildError("no such package")
        fetched.append(edition.minimum)
        return nothing_here

    monkeypatch.setattr(image, "tree", tree)
    haproxy.prepare(told.append)
    assert fetched == ["3.2"]
    assert told == ["tests on HAProxy 3.4 will be skipped: no such package"]
