"""The decider's parts against a real HAProxy: maps change under it, audit lines and statistics come from it."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from agentfleet.decider import stats
from agentfleet.decider.admin import AdminError, AdminSocket, NotLoaded
from agentfleet.decider.audit import Audit, Line
from agentfleet.decider.budgets import _entry
from agentfleet.decider.demand import Meter, counts
from agentfleet.decider.ledger import Counter
from agentfleet.decider.missing import PATIENCE, Missing
from agentfleet.decider.paths import Paths
from agentfleet.decider.pem import check
from agentfleet.decider.prepare import prepare
from agentfleet.decider.rotation import LoadedMap, Rotation
from agentfleet.decider.stats import TargetLoad
from agentfleet.gateway.decider_config import DemandSource
from e2e.support import haproxy, scripted
from e2e.support.ports import free_port
from tests.decider.haproxies import running

BODY = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


async def eventually(holds: Callable[[], Awaitable[bool]], what: str, timeout: float = 8.0) -> None:
    deadline = asyncio.get_running_loop().time() + timeout
    while not await holds():
        assert asyncio.get_running_loop().time() < deadline, f"not within {timeout} s: {what}"
        await asyncio.sleep(0.02)


@asynccontextmanager
async def client(base: str) -> AsyncIterator[Callable[..., Awaitable[int]]]:
    """Gives a function that asks with a key, and returns the status."""
    async with aiohttp.ClientSession() as session:

        async def ask(key: str, path: str = "/v1/chat/completions", **headers: str) -> int:
            own = {"Authorization": f"Bearer {key}", **headers}
            async with session.post(base + path, json=BODY, headers=own) as answer:
                await answer.read()
                return answer.status

        yield ask


async def test_keys_rotate_without_a_restart(paths: Paths) -> None:
    (paths.keys / "alice").write_text("key-a groups=staff")
    prepare(paths, {})
    admin = AdminSocket(paths.admin_socket)
    rotation = Rotation(paths, admin)
    with scripted.serving() as engine, running(paths, free_port(), engine.address) as base:
        async with client(base) as ask:
            await rotation.step()
            assert (await ask("key-a"), await ask("key-b")) == (200, 401)
            (paths.keys / "alice").unlink()
            (paths.keys / "bob").write_text("key-b")
            for number in range(2000):
                (paths.keys / f"many-{number}").write_text(f"key-{number}")
            await rotation.step()
            assert (await ask("key-a"), await ask("key-b"), await ask("key-1999")) == (401, 200, 200)
            assert rotation.rotations == 2  # keys and groups; HAProxy has no use for credentials.map here: no failure
            assert len((await admin.ask(f"show map {paths.keys_map}\n")).split("\n")) >= 2001
    assert "many-7\n" in paths.keys_map.read_text()


async def test_a_haproxy_that_does_not_answer_gets_its_maps_later(paths: Paths) -> None:
    prepare(paths, {})
    rotation = Rotation(paths, AdminSocket(paths.admin_socket))
    (paths.keys / "alice").write_text("key-a")
    await rotation.step()  # it has not started: nothing to complain of
    assert rotation.failures == 0
    assert "alice" in paths.keys_map.read_text()
    with scripted.serving() as engine, running(paths, free_port(), engine.address) as base:
        async with client(base) as ask:
            assert await ask("key-a") == 200  # read at its start
            await rotation.step()
            (paths.keys / "bob").write_text("key-b")
            await rotation.step()
            assert await ask("key-b") == 200
    (paths.keys / "carl").write_text("key-c")
    await rotation.step()  # its socket is there, but nobody answers
    assert rotation.failures == 1
    assert "carl" in paths.keys_map.read_text()
    with scripted.serving() as engine, running(paths, free_port(), engine.address) as base:
        async with client(base) as ask:
            assert await ask("key-c") == 200


async def test_a_map_that_haproxy_does_not_know_is_an_error(paths: Paths) -> None:
    prepare(paths, {})
    with running(paths, free_port()), pytest.raises(NotLoaded):
        await AdminSocket(paths.admin_socket).replace_map(Path("/nowhere.map"), {"a": "b"})


async def test_audit_lines_wait_for_the_decider_and_arrive_once_each(paths: Paths) -> None:
    (paths.keys / "alice").write_text("key-a groups=staff,all")
    prepare(paths, {})
    lines: list[Line] = []
    with scripted.serving() as engine, running(paths, free_port(), engine.address) as base:
        async with client(base) as ask:
            assert await ask("key-a", **{"x-tokens": "5"}) == 200  # nobody listens yet
            for marker in ("7", "8"):
                async with Audit(lines.append).listening(paths.audit_socket):
                    # What is on its way in the moment of a restart is lost; after that nothing is.
                    await eventually(_arrives(lines, ask), "HAProxy has connected")
                    for _ in range(20):
                        assert await ask("key-a", **{"x-tokens": marker}) == 200
                    await eventually(_twenty(lines, int(marker)), "lines arrive")
    first = next(line for line in lines if line.caller)
    assert first == Line("alice", ("all", "staff"), "any", "small", 200, 1, 5, 0, first.total_ms)
    assert [line.tokens_in for line in lines].count(7) == [line.tokens_in for line in lines].count(8) == 20


async def test_lines_that_a_full_ring_has_forgotten_are_known(paths: Paths) -> None:
    (paths.keys / "alice").write_text("key-a")
    prepare(paths, {})
    port, admin = free_port(), AdminSocket(paths.admin_socket)
    with running(paths, port, ring=70_000) as base:
        async with client(base) as ask, Audit(_nobody).listening(paths.audit_socket) as first:
            missing = Missing(paths.audited, first, admin)
            await eventually(lambda: _arrives_at(first, ask), "lines come before the first look")
            for text in (b"", b"junk\r\n\r\n", b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", b"POST / HTT"):
                await _say(port, text)
            await eventually(lambda: _is_missing(missing, 0), "every request has its line, whatever it was")
            assert first.lines >= 3
        async with client(base) as ask:  # nobody listens now
            for _ in range(1000):
                await ask("key-a", "/encoded")
            asked = stats.parse(await admin.ask(stats.COMMAND)).ended
        async with client(base) as ask, Audit(_nobody).listening(paths.audit_socket) as second:
            missing = Missing(paths.audited, second, admin)
            await eventually(lambda: _arrives_at(second, ask), "HAProxy has connected")
            await eventually(lambda: _has_all(second, missing, admin, first.lines), "what is left in the ring has come")
            later = stats.parse(await admin.ask(stats.COMMAND)).ended - asked
            assert 300 < second.lines - later < 600, "what the ring could hold"
    with running(paths, port) as base:
        async with client(base) as ask, Audit(_nobody).listening(paths.audit_socket) as third:
            missing = Missing(paths.audited, third, admin)
            await eventually(lambda: _arrives_at(third, ask), "its lines come before the first look at it")
            await eventually(lambda: _is_missing(missing, 0), "another HAProxy begins anew")


def _nobody(line: Line) -> None:
    """Who wants no lines."""


async def _say(port: int, text: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text)
    writer.write_eof()
    await reader.read()
    writer.close()


async def _look(missing: Missing) -> None:
    for _ in range(PATIENCE):
        await missing.step()


async def _is_missing(missing: Missing, lines: int) -> bool:
    await _look(missing)
    return missing.lines == lines


async def _has_all(audit: Audit, missing: Missing, admin: AdminSocket, earlier: int) -> bool:
    """Whether no line comes any more, and what is missing is known: all that ended but these, and those of earlier."""
    before = audit.lines
    await _look(missing)
    ended = stats.parse(await admin.ask(stats.COMMAND)).ended
    return audit.lines == before and missing.lines == ended - audit.lines - earlier


async def _arrives_at(audit: Audit, ask: Callable[..., Awaitable[int]]) -> bool:
    await ask("key-a", "/encoded")
    return audit.lines > 0


def _arrives(lines: list[Line], ask: Callable[..., Awaitable[int]]) -> Callable[[], Awaitable[bool]]:
    before = len(lines)

    async def arrives() -> bool:
        await ask("key-a", **{"x-tokens": "1"})
        return len(lines) > before

    return arrives


def _twenty(lines: list[Line], marker: int) -> Callable[[], Awaitable[bool]]:
    async def enough() -> bool:
        return sum(line.tokens_in == marker for line in lines) >= 20

    return enough


async def test_a_spent_budget_refuses_and_frees_again(paths: Paths) -> None:
    (paths.keys / "alice").write_text("key-a")
    prepare(paths, {"key:alice": "spent"})
    with scripted.serving() as engine, running(paths, free_port(), engine.address) as base:
        async with client(base) as ask:
            assert await ask("key-a") == 429
            loaded = LoadedMap(paths.budgets_map, AdminSocket(paths.admin_socket))
            assert await loaded.set({"key:alice": "small"})
            assert await ask("key-a") == 200
            assert not await loaded.set({"key:alice": "small"})


async def test_haproxy_encodes_callers_as_the_decider_does(paths: Paths) -> None:
    (paths.keys / "alice").write_text("key-a")
    prepare(paths, {})
    text = "".join(map(chr, range(33, 127))) + " x"
    with running(paths, free_port()) as base:
        async with aiohttp.ClientSession() as session:
            own = {"Authorization": "Bearer key-a", "x-text": text}
            async with session.get(f"{base}/encoded", headers=own) as answer:
                encoded = await answer.text()
    assert _entry(Counter("Key", text, "tokens", "Day", "")) == f"key:{encoded}"


async def test_demand_counts_what_waits_and_goes_on_over_a_restart_of_haproxy(paths: Paths) -> None:
    (paths.keys / "alice").write_text("key-a")
    prepare(paths, {})
    meter = Meter(AdminSocket(paths.admin_socket), ["t0", "t1", "t2"])
    sources = [DemandSource("t2", "team-a", "qwen"), DemandSource("t1", "team-a", "idle")]
    port = free_port()
    with pytest.raises(AdminError):
        await meter.read()
    with scripted.serving() as engine:
        with running(paths, port, engine.address) as base:
            async with client(base) as ask, asyncio.TaskGroup() as group:
                loads = await meter.read()
                assert loads["t2"] == TargetLoad(ready=1, waiting=0, in_flight=0)
                with engine.holding():
                    tasks = [group.create_task(ask("key-a")) for _ in range(3)]

                    async def seen() -> bool:
                        return (await meter.read())["t2"] == TargetLoad(ready=1, waiting=2, in_flight=1)

                    await eventually(seen, "one in flight, two waiting")
                    held = [group.create_task(ask("key-a", "/held")) for _ in range(3)]

                    async def held_too() -> bool:
                        load = (await meter.read())["t2"]
                        return load.waiting + load.in_flight >= 3 and meter.requests("t2") == 6

                    await eventually(held_too, "six requests came")
                await asyncio.wait(tasks)
                for each in held:
                    each.cancel()
        await asyncio.sleep(1)  # HAProxy says by the second when it has started
        with running(paths, port, engine.address) as base:
            async with client(base) as ask:
                assert await ask("key-a") == 200
                found = counts(meter, await meter.read(), sources)
    assert [(count.name, count.requests, count.waiting) for count in found] == [("qwen", 7, 0), ("idle", 0, 0)]


@pytest.mark.parametrize("make", [
    "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048",
    "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256",
    "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384",
    "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521",
])  # fmt: skip
def test_public_keys_that_pass_do_not_keep_haproxy_from_starting(paths: Paths, make: str) -> None:
    private = subprocess.run(make.split(), check=True, capture_output=True).stdout
    public = subprocess.run(["openssl", "pkey", "-pubout"], input=private, check=True, capture_output=True).stdout
    check(public.decode())
    with pytest.raises(ValueError, match="not one public key"):
        check(private.decode())
    with pytest.raises(ValueError, match=r"damaged|must be an RSA key"):
        check(public.decode().replace("\nM", "\nN", 1))
    key = paths.run / "key.pem"
    key.write_bytes(public)
    config = paths.run / "jwt.cfg"
    config.write_text(
        f"defaults\n  mode http\n  timeout client 1s\nfrontend f\n  bind 127.0.0.1:{free_port()}\n"
        f'  http-request deny unless {{ http_auth_bearer,jwt_verify("RS256","{key}") 1 }}\n'
    )
    checked = subprocess.run([*haproxy.command(), "-c", "-f", str(config)], check=False, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


async def test_a_renewed_certificate_is_handed_to_haproxy(paths: Paths) -> None:
    paths.tls.mkdir()
    _certify(paths, "one")
    prepare(paths, {})
    port = free_port()
    config = paths.run / "tls.cfg"
    config.write_text(
        f"global\n  stats socket {paths.admin_socket} mode 600 level admin\n"
        "defaults\n  mode http\n  timeout client 5s\n"
        f"frontend f\n  bind 127.0.0.1:{port} ssl crt {paths.certificate}\n  http-request return status 200\n"
    )
    with haproxy.running(config, f"127.0.0.1:{port}"):
        rotation = Rotation(paths, AdminSocket(paths.admin_socket))
        assert await _subject(port) == "CN=one"
        _certify(paths, "two")
        await rotation.step()
        assert await _subject(port) == "CN=two"
        assert rotation.failures == 0


def _certify(paths: Paths, name: str) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
               "-subj", f"/CN={name}", "-keyout", str(paths.private_key), "-out", str(paths.certificate)]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)


async def _subject(port: int) -> str:
    command = f"openssl s_client -connect 127.0.0.1:{port} </dev/null | openssl x509 -noout -subject -nameopt RFC2253"
    process = await asyncio.create_subprocess_shell(command, stdout=-1, stderr=-3)
    output, _ = await process.communicate()
    return output.decode().strip().removeprefix("subject=")
