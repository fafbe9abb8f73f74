"""Calls made while there is no connection: kept on disk, sent once and in order when it is back."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from agentfleet.runtime.tools import offline
from agentfleet.runtime.tools.offline import Kept, Queue
from agentfleet.runtime.tools.records import Busy, Unreached
from agentfleet.runtime.types import Caller, ToolError
from tests.runtime.tools.support import (
    McpServer,
    Records,
    call,
    config,
    free_port,
    has_tools,
    http_entry,
    mcp_entry,
    serve,
    toolbox,
    until,
)


def kept(key: str) -> Kept:
    return Kept(
        key, "create", "create", {"n": key}, "run-1", Caller("c", frozenset({"g"}), "Private"), {"traceparent": "t"}
    )


class Line:
    """A connection that a test can cut: what it does with each call."""

    def __init__(self) -> None:
        self.sent: list[Kept] = []
        self.told: list[tuple[str, str]] = []
        self.error: Exception | None = Unreached("away")
        self.tried = 0

    async def send(self, call: Kept) -> str:
        self.tried += 1
        if self.error is not None:
            raise self.error
        self.sent.append(call)
        return "done"

    def tell(self, call: Kept, outcome: str, _reason: str) -> None:
        self.told.append((call.key, outcome))

    def queue(self, folder: Path) -> Queue:
        return Queue(folder, self.send, self.tell, first_wait=0.01)


async def test_in_order_once_and_over_a_restart(tmp_path: Path) -> None:
    line = Line()
    first = line.queue(tmp_path / "q")
    await first.start()
    for number in range(12):
        await first.put(kept(str(number)))
    await until(lambda: line.tried >= 2)
    await first.close()
    line.error = None
    second = line.queue(tmp_path / "q")
    await second.start()
    await until(lambda: len(line.sent) == 12)
    await until(lambda: len(line.told) == 12)
    assert [call.key for call in line.sent] == [str(number) for number in range(12)]
    assert line.sent[0] == kept("0"), "caller, headers and key last"
    assert len(second) == 0
    await second.put(kept("later"))
    await until(lambda: len(line.told) == 13)
    await second.close()


async def test_what_was_under_way_is_never_sent_again(tmp_path: Path) -> None:
    line = Line()
    hanging = asyncio.Event()

    async def hang(_: Kept) -> str:
        hanging.set()
        await asyncio.Event().wait()
        return ""

    first = Queue(tmp_path / "q", hang, line.tell, first_wait=0.01)
    await first.start()
    await first.put(kept("a"))
    await first.put(kept("b"))
    await hanging.wait()
    await first.close()  # as if it had died
    line.error = None
    second = line.queue(tmp_path / "q")
    await second.start()
    await until(lambda: line.told == [("a", "error"), ("b", "sent")])
    assert [call.key for call in line.sent] == ["b"]
    assert [path.suffix for path in (tmp_path / "q").iterdir()] == [".unclear"]
    await second.close()


async def test_busy_waits_and_failures_are_set_aside(tmp_path: Path) -> None:
    line = Line()
    line.error = Busy("status 503")
    queue = line.queue(tmp_path / "q")
    await queue.start()
    await queue.put(kept("a"))
    await until(lambda: line.tried >= 2)
    line.error = ToolError("status 400")
    await until(lambda: line.told == [("a", "error")])
    assert [path.suffix for path in (tmp_path / "q").iterdir()] == [".failed"]
    await queue.close()


async def test_a_broken_file_does_not_stop_the_others(tmp_path: Path) -> None:
    line = Line()
    line.error = None
    folder = tmp_path / "q"
    folder.mkdir()
    (folder / "0000000000000001-aa.json").write_text("{cut sho")
    (folder / "0000000000000002-bb.draft").write_text("")
    queue = line.queue(folder)
    await queue.start()
    await queue.put(kept("a"))
    await until(lambda: line.told == [("a", "sent")])
    await queue.close()
    assert [path.suffix for path in folder.iterdir()] == [".unreadable"]


async def test_there_is_an_end_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline, "MAX_CALLS", 2)
    queue = Line().queue(tmp_path / "q")
    await queue.put(kept("a"))
    await queue.put(kept("b"))
    with pytest.raises(ToolError, match="2 calls wait for it already"):
        await queue.put(kept("c"))


async def test_a_ticket_made_offline_arrives(tmp_path: Path) -> None:
    tickets: list[tuple[Any, str]] = []

    async def create(request: Request) -> Response:
        tickets.append((await request.json(), request.headers["idempotency-key"]))
        return Response("created")

    port, records = free_port(), Records()
    entry = http_entry(
        f"http://127.0.0.1:{port}/tickets",
        "create_ticket",
        method="POST",
        when_offline="Queue",
        input_schema={"type": "object"},
    )
    async with toolbox(config(tmp_path, entry), records) as box:
        answer = await box.call(call("create_ticket", title="printer"))
        assert "it will be sent when the connection is back" in answer
        key = answer.split("Queued as ")[1].split(":")[0]
        assert records.outcomes() == [("queued", "unreached")]
        async with serve(Starlette(routes=[Route("/tickets", create, methods=["POST"])]), port):
            await until(lambda: tickets == [({"title": "printer"}, key)])
            await until(lambda: records.outcomes() == [("queued", "unreached"), ("sent", "")])
    assert records.all[1].task.id == "run-1"
    assert records.all[1].task.caller == records.all[0].task.caller


async def test_tools_of_an_mcp_server_are_known_after_a_restart_offline(tmp_path: Path) -> None:
    port, server, records, made = free_port(), McpServer(), Records(), []

    async def create(arguments: dict[str, Any]) -> str:
        made.append(arguments)
        return "ok"

    server.add("create", create)
    settings = config(tmp_path, mcp_entry(f"http://127.0.0.1:{port}", when_offline="Queue"))
    async with serve(server.app(), port), toolbox(settings) as box:
        await has_tools(box, "create")
    async with toolbox(settings, records) as box:
        await box.ready()
        assert [tool.name for tool in box.tools] == ["create"]
        assert "Queued as" in await box.call(call("create", a=1))
        async with serve(server.app(), port):
            await until(lambda: made == [{"a": 1}], 20)
            await until(lambda: records.outcomes()[-1] == ("sent", ""))


async def test_what_may_have_arrived_is_not_queued(tmp_path: Path) -> None:
    async def broken(request: Request) -> Response:
        async def body() -> Any:
            yield b"x"
            raise ConnectionResetError

        return StreamingResponse(body())

    records = Records()
    async with serve(Starlette(routes=[Route("/", broken, methods=["POST"])])) as url:
        entry = http_entry(f"{url}/", method="POST", when_offline="Queue")
        async with toolbox(config(tmp_path, entry), records) as box:
            with pytest.raises(ToolError, match="whether it was done is not known"):
                await box.call(call("orders"))
    assert records.outcomes() == [("error", "tool")]
