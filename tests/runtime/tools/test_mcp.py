"""MCP servers as tools: a real one on the loopback, in both generations of the protocol; and those that misbehave."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from mcp.server.subscriptions import ToolsListChanged
from mcp_types import CallToolResult, ImageContent, TextContent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from agentfleet.runtime.config_tools import ApprovalRule, Header
from agentfleet.runtime.types import RunError, ToolError
from tests.runtime.tools.support import (
    McpServer,
    Records,
    call,
    config,
    free_port,
    has_tools,
    is_ready,
    mcp_entry,
    serve,
    toolbox,
    until,
)

ADD = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a", "b"]}


def legacy(app: Any) -> Any:
    """`app` as a server before 2026-07-28: it knows no discovery, so the client begins a session."""

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            return await app(scope, receive, send)
        message = await receive()
        if b'"server/discover"' in message["body"]:
            answer = {
                "jsonrpc": "2.0",
                "id": json.loads(message["body"])["id"],
                "error": {"code": -32601, "message": "?"},
            }
            return await JSONResponse(answer, 200)(scope, receive, send)
        rest = [message]

        async def again() -> Any:
            return rest.pop() if rest else await receive()

        return await app(scope, again, send)

    return wrapped


@pytest.fixture(params=["modern", "legacy"])
def era(request: pytest.FixtureRequest) -> Any:
    return legacy if request.param == "legacy" else lambda app: app


def adder() -> McpServer:
    server = McpServer()

    async def add(arguments: dict[str, Any]) -> str:
        return str(arguments["a"] + arguments["b"])

    server.add("add", add, ADD)
    return server


async def test_a_tool_is_listed_and_called(tmp_path: Path, era: Any) -> None:
    records, server = Records(), adder()
    async with serve(era(server.app())) as url, toolbox(config(tmp_path, mcp_entry(url)), records) as box:
        await has_tools(box, "add")
        await box.ready()
        (tool,) = box.tools
        assert (tool.description, tool.source, tool.approval) == ("Does add.", "crm", False)
        assert tool.parameters == ADD
        assert await box.call(call("add", a=2, b=3)) == '<tool_result tool="add">\n5\n</tool_result>'
        assert records.outcomes() == [("ok", "")]
        assert server.headers[0]["x-request-id"] == "run-1"
        assert "agentfleet.dev/idempotency-key" in str(server.metas[0])


async def test_headers_come_from_files_and_are_read_anew(tmp_path: Path, era: Any) -> None:
    token = tmp_path / "token"
    token.write_text("Bearer first-secret\n")
    server = adder()

    async def echo(_: dict[str, Any]) -> str:
        return "I was called with " + server.headers[-1]["authorization"]

    server.add("echo", echo)
    entry = mcp_entry("", headers=(Header("authorization", str(token)),))
    async with serve(era(server.app())) as url:
        entry = mcp_entry(url, headers=(Header("authorization", str(token)),))
        async with toolbox(config(tmp_path, entry)) as box:
            await has_tools(box, "add", "echo")
            first = await box.call(call("echo"))
            token.write_text("Bearer second-secret\n")
            second = await box.call(call("echo"))
    assert [each["authorization"] for each in server.headers] == ["Bearer first-secret", "Bearer second-secret"]
    assert "secret" not in first + second, "the model must not see the header that a server echoes"


async def test_include_exclude_and_approval(tmp_path: Path) -> None:
    server = adder()
    for name in ("drop", "list", "hidden"):
        server.add(name, server.tools["add"][1])
    entry = mcp_entry(
        "", include=("add", "drop", "list", "gone"), exclude=("list",), approval=ApprovalRule("Listed", ("drop",))
    )
    async with serve(server.app()) as url:
        entry = mcp_entry(
            url, include=("add", "drop", "list", "gone"), exclude=("list",), approval=ApprovalRule("Listed", ("drop",))
        )
        async with toolbox(config(tmp_path, entry)) as box:
            await has_tools(box, "add", "drop")
            assert {tool.name: tool.approval for tool in box.tools} == {"add": False, "drop": True}
            assert box.problems() == ("crm: it has no tool list, gone",)


async def test_approval_of_a_function_that_is_not_there_is_wanted_for_all(tmp_path: Path) -> None:
    """The name may be a slip of the pen for one that must not be called without a person's word."""
    server = adder()
    server.add("drop", server.tools["add"][1])
    async with serve(server.app()) as url:
        entry = mcp_entry(url, approval=ApprovalRule("Listed", ("drops",)))
        async with toolbox(config(tmp_path, entry)) as box:
            await has_tools(box, "add", "drop")
            assert all(tool.approval for tool in box.tools)
            assert box.problems() == ("crm: approval.tools names drops, which it does not have: all its calls wait",)
            server.add("drops", server.tools.pop("drop")[1])
            await until(lambda: _published(server.bus, ToolsListChanged()))
            await has_tools(box, "add", "drops")
            assert {tool.name: tool.approval for tool in box.tools} == {"add": False, "drops": True}
            assert box.problems() == ()


async def test_changes_of_the_list_are_told(tmp_path: Path) -> None:
    server = adder()
    async with serve(server.app()) as url, toolbox(config(tmp_path, mcp_entry(url))) as box:
        await has_tools(box, "add")
        await box.ready()
        server.add("sum", server.tools.pop("add")[1], ADD)
        # the subscription is made right after the first list
        await until(lambda: _published(server.bus, ToolsListChanged()))
        await has_tools(box, "sum")


async def _published(bus: Any, event: Any) -> bool:
    await bus.publish(event)
    return True


async def test_a_renamed_tool_is_an_error_and_the_new_name_is_found(tmp_path: Path, era: Any) -> None:
    server, records = adder(), Records()
    async with serve(era(server.app())) as url, toolbox(config(tmp_path, mcp_entry(url)), records) as box:
        await has_tools(box, "add")
        server.add("sum", server.tools.pop("add")[1], ADD)
        with pytest.raises(ToolError, match="Unknown tool: add"):
            await box.call(call("add", a=1, b=1))
        with pytest.raises(ToolError, match="There is no tool of that name"):
            await box.call(call("made_up"))
    assert records.outcomes() == [("error", "tool"), ("refused", "unknown")]


async def test_a_hanging_tool_is_timed_out_and_cancelled_for_real(tmp_path: Path, era: Any) -> None:
    server, records = adder(), Records()

    async def hang(_: dict[str, Any]) -> str:
        await asyncio.Event().wait()
        return ""

    server.add("hang", hang)
    async with (
        serve(era(server.app())) as url,
        toolbox(config(tmp_path, mcp_entry(url), tool_timeout=2), records) as box,
    ):
        await has_tools(box, "add", "hang")
        with pytest.raises(ToolError, match=r"hang did not answer within 2 s"):
            await box.call(call("hang"))
        await until(lambda: server.cancelled == 1)
        running = asyncio.create_task(box.call(call("hang")))
        await until(lambda: len(server.headers) == 2)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await until(lambda: server.cancelled == 2)
        assert "5" in await box.call(call("add", a=2, b=3)), "other calls go on"
    assert [outcome for outcome, _ in records.outcomes()] == ["timeout", "cancelled", "ok"]


async def test_results_that_are_no_text_and_too_much_text(tmp_path: Path) -> None:
    server = McpServer()

    async def image(_: dict[str, Any]) -> CallToolResult:
        return CallToolResult(
            content=[TextContent(text="see:"), ImageContent(data="QUJD" * 100, mime_type="image/png")]
        )

    async def much(_: dict[str, Any]) -> str:
        return "x" * 1_000_000

    async def far_too_much(_: dict[str, Any]) -> str:
        return "x" * 5_000_000

    for function in (image, much, far_too_much):
        server.add(function.__name__, function)
    records = Records()
    async with serve(server.app()) as url, toolbox(config(tmp_path, mcp_entry(url), tool_output=100), records) as box:
        await has_tools(box, "image", "much", "far_too_much")
        assert "see:\n[image/png, 300 bytes, left out: not text]" in await box.call(call("image"))
        result = await box.call(call("much"))
        assert "[cut: the result has 1000000 characters, the first 100 are shown]" in result
        assert len(result) < 300
        with pytest.raises(ToolError, match="more than 4 MiB"):
            await box.call(call("far_too_much"))
        assert "left out" in await box.call(call("image")), "and the connection is usable, or made anew"
    assert records.all[1].output_length == 1_000_000


async def test_a_server_that_comes_late_goes_and_comes_back(tmp_path: Path, era: Any) -> None:
    port, server, records = free_port(), adder(), Records()
    entry = mcp_entry(f"http://127.0.0.1:{port}")
    async with toolbox(config(tmp_path, entry), records) as box:
        with pytest.raises(RunError, match="crm: ") as refused:
            await box.ready()
        assert refused.value.status == 503
        assert "127.0.0.1" not in refused.value.message
        async with serve(era(server.app()), port):
            await has_tools(box, "add")
            assert "5" in await box.call(call("add", a=2, b=3))
        with pytest.raises(ToolError, match="cannot be reached"):
            await box.call(call("add", a=2, b=3))
        await until(lambda: _told(box, "crm: it does not answer (no connection)"))
        async with serve(era(server.app()), port):  # knows nothing of the old session
            await until(lambda: is_ready(box))
            assert "5" in await box.call(call("add", a=2, b=3))
    assert records.outcomes() == [("ok", ""), ("error", "unreached"), ("ok", "")]


async def test_a_forgotten_session_is_made_anew_within_the_call(tmp_path: Path) -> None:
    port, server = free_port(), adder()
    async with toolbox(config(tmp_path, mcp_entry(f"http://127.0.0.1:{port}"))) as box:
        async with serve(legacy(server.app()), port):
            await has_tools(box, "add")
        async with serve(legacy(server.app()), port):  # restarted: the next POST gets 404
            assert "5" in await box.call(call("add", a=2, b=3))


EVIL = {"name": "evil", "description": "Does it.", "inputSchema": {"type": "object"}}


def hostile(how: str, tool: Any = EVIL) -> Starlette:
    """A server that lists one tool as it should, and answers calls of it as no server should."""

    async def post(request: Request) -> Response:
        asked = await request.json()
        if asked["method"] == "server/discover":
            result: Any = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "resultType": "complete"}
            result |= {"ttlMs": 0, "cacheScope": "public"}
        elif asked["method"] == "tools/list":
            result = {"tools": [tool], "resultType": "complete", "ttlMs": 0, "cacheScope": "public"}
        elif asked["method"] == "tools/call":
            how_now = asked["params"]["arguments"].get("how", how)
            if how_now != "slow":
                return _answer(how_now, asked["id"])
            await asyncio.sleep(0.5)
            result = {"content": [{"type": "text", "text": "slow but sure"}], "resultType": "complete"}
        else:
            return JSONResponse({"jsonrpc": "2.0", "id": asked.get("id"), "error": {"code": -32601, "message": "no"}})
        return JSONResponse({"jsonrpc": "2.0", "id": asked["id"], "result": result})

    return Starlette(routes=[Route("/mcp", post, methods=["POST"])])


def _answer(how: str, number: Any) -> Response:  # noqa: PLR0911  one for each way to be bad
    async def drip() -> Any:
        while True:
            yield b" "
            await asyncio.sleep(0.05)

    async def half() -> Any:
        yield b'{"jsonrpc": "2.0", "id": '
        raise ConnectionResetError

    match how:
        case "junk":
            return Response(b"\x00\xff not json", media_type="application/json")
        case "wrong":
            return JSONResponse({"jsonrpc": "2.0", "id": number, "result": {"content": "no list"}})
        case "html":
            return Response("<html>login</html>", media_type="text/html")
        case "drip":
            return StreamingResponse(drip(), media_type="application/json")
        case "half":
            return StreamingResponse(half(), media_type="application/json")
        case "bomb":
            return Response(b"\x1f\x8b", headers={"content-encoding": "gzip"}, media_type="application/json")
        case "redirect":
            return Response(status_code=307, headers={"location": "http://127.0.0.1:1/elsewhere"})
        case "busy":
            return Response(status_code=503)
        case _:
            return Response(status_code=500)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("junk", "refuses the call|no result"),
        ("wrong", "no result"),
        ("html", "refuses the call"),
        ("drip", "did not answer within"),
        ("half", "connection broke|refuses"),
        ("bomb", "compressed"),
        ("redirect", "redirects .status 307., which is not followed"),
        ("busy", "takes no calls now"),
        ("error", r"status 500"),
    ],
)
async def test_hostile_answers_are_contained(tmp_path: Path, how: str, told: str) -> None:
    seconds = 1.0 if how == "drip" else 60.0
    async with serve(hostile(how)) as url, toolbox(config(tmp_path, mcp_entry(url), tool_timeout=seconds)) as box:
        await has_tools(box, "evil")
        for _ in range(2):
            with pytest.raises(ToolError, match=told) as error:
                await box.call(call("evil"))
            assert "127.0.0.1" not in str(error.value)
        await until(lambda: is_ready(box))


async def test_a_call_that_breaks_does_not_break_others(tmp_path: Path) -> None:
    async with serve(hostile("half")) as url, toolbox(config(tmp_path, mcp_entry(url))) as box:
        await has_tools(box, "evil")
        await until(lambda: is_ready(box))
        slow = asyncio.create_task(box.call(call("evil", how="slow")))
        for how in ("half", "half", "junk", "bomb"):
            with pytest.raises(ToolError):
                await box.call(call("evil", how=how))
        assert "slow but sure" in await slow


async def test_a_hanging_server_of_old_is_told_of_the_end_and_left(tmp_path: Path) -> None:
    """Before 2026-07-28 a call is cancelled by a message; a server that hangs on that, too, holds nobody up."""
    server, told = McpServer(), []

    async def hang(_: dict[str, Any]) -> str:
        await asyncio.Event().wait()
        return ""

    server.add("hang", hang)
    server.add("add", adder().tools["add"][1], ADD)
    inner = legacy(server.app())

    async def stuck(scope: Any, receive: Any, send: Any) -> None:
        async def watched() -> Any:
            message = await receive()
            if b"notifications/cancelled" in message.get("body", b""):
                told.append(message)
                await asyncio.Event().wait()
            return message

        await inner(scope, watched, send)

    async with (
        serve(stuck) as url,
        toolbox(config(tmp_path, mcp_entry(url), tool_timeout=60)) as box,
    ):
        await has_tools(box, "hang", "add")
        running = asyncio.create_task(box.call(call("hang")))
        await until(lambda: len(server.headers) == 1)
        running.cancel()
        assert "5" in await box.call(call("add", a=2, b=3))
        with pytest.raises(asyncio.CancelledError):
            await running
        await until(lambda: len(told) == 1)


async def test_it_closes_at_any_moment(tmp_path: Path, era: Any) -> None:
    async with serve(era(adder().app())) as url:
        for step in range(25):
            async with asyncio.timeout(30):
                async with toolbox(config(tmp_path, mcp_entry(url))):
                    await asyncio.sleep(step * 0.004)


async def test_a_list_that_is_too_long(tmp_path: Path) -> None:
    server = McpServer()
    for number in range(1000):
        server.add(f"tool_{number}", adder().tools["add"][1])
    other = adder()
    async with (
        serve(server.app()) as url,
        serve(other.app()) as second,
        toolbox(config(tmp_path, mcp_entry(url), mcp_entry(second, "calc"))) as box,
    ):
        await has_tools(box, "add")
        await until(lambda: _told(box, "crm: it offers 1000 tools and there is room for 64: choose with include"))


async def _told(box: Any, text: str) -> bool:
    try:
        await box.ready()
    except RunError as error:
        return text in error.message
    return False


async def test_a_schema_that_is_none_leaves_one_tool_out(tmp_path: Path) -> None:
    server = adder()
    server.add("broken", server.tools["add"][1], {"type": "object", "properties": {"a": {"type": "intger"}}})
    async with serve(server.app()) as url, toolbox(config(tmp_path, mcp_entry(url))) as box:
        await has_tools(box, "add")
        (problem,) = box.problems()
        assert problem.startswith("crm: broken is left out: its schema is no JSON Schema")


async def test_a_schema_that_is_no_object_is_told(tmp_path: Path) -> None:
    """The client library refuses the whole list for it: nothing of that server is used, and it is said why."""
    bad = {"name": "text", "inputSchema": {"type": "string"}}
    async with serve(hostile("error", bad)) as url, toolbox(config(tmp_path, mcp_entry(url))) as box:
        await until(lambda: _told(box, "perhaps a tool in its list, is not as the protocol has it"))
        assert box.tools == ()
