"""HTTP requests as tools, against a real server on the loopback."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from agentfleet.runtime.config_tools import ApprovalRule, Header
from agentfleet.runtime.tools import http
from agentfleet.runtime.types import Caller, ToolError
from tests.runtime.tools.support import Records, call, config, free_port, has_tools, http_entry, serve, toolbox, until

ORDER = {"type": "object", "properties": {"id": {"type": "string"}, "note": {}, "tags": {"type": "array"}}}


class Shop:
    """Tells what it was asked, or answers as the path says."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.begun = self.gone = 0

    def app(self) -> Starlette:
        methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        return Starlette(
            routes=[Route("/as/{how}", self.odd, methods=methods), Route("/{rest:path}", self.echo, methods=methods)]
        )

    async def echo(self, request: Request) -> Response:
        body = await request.body()
        seen = {
            "method": request.method,
            "path": request.scope["raw_path"].decode(),
            "query": request.url.query,
            "body": json.loads(body) if body else None,
        }
        self.seen.append({**seen, "headers": dict(request.headers)})
        return JSONResponse(seen)

    async def odd(self, request: Request) -> Response:  # noqa: PLR0911  one for each way to be odd
        async def drip() -> Any:
            self.begun += 1
            try:
                while True:
                    yield b"x"
                    await asyncio.sleep(0.02)
            finally:
                self.gone += 1

        async def endless() -> Any:
            while True:
                yield b"x" * 65536
                await asyncio.sleep(0)  # uvicorn takes all at once when nobody reads any more

        match request.path_params["how"]:
            case "image":
                return Response(b"\x89PNG\x00", media_type="image/png")
            case "bad-json":
                return Response(b"{not json", media_type="application/json")
            case "deep-json":
                return Response(b"[" * 100_000, media_type="application/json")
            case "nothing":
                return Response(status_code=204)
            case "redirect":
                return Response(status_code=302, headers={"location": "http://127.0.0.1:1/x"})
            case "gone":
                return Response("no such order at 127.0.0.1", status_code=404)
            case "busy":
                return Response(status_code=429)
            case "drip":
                return StreamingResponse(drip(), media_type="text/plain")
            case "endless":
                return StreamingResponse(endless(), media_type="text/plain")
            case _:
                return Response(b"\x1f\x8b", headers={"content-encoding": "gzip"})


def told(result: str) -> Any:
    return json.loads(result.partition("\n")[2].rpartition("\n")[0])


async def test_arguments_go_to_path_query_and_body(tmp_path: Path) -> None:
    shop, token = Shop(), tmp_path / "token"
    token.write_text("key-123456\n")
    headers = (Header("x-api-key", str(token)),)
    async with serve(shop.app()) as url:
        tools = [
            http_entry(f"{url}/orders/{{id}}", "get", input_schema=ORDER, headers=headers),
            http_entry(f"{url}/orders/{{id}}", "put", method="PUT", input_schema=ORDER),
            http_entry(f"{url}/all?page=1", "all", input_schema=ORDER),
            http_entry(f"{url}/plain/{{id}}", "look-up", description="Looks up."),
        ]
        async with toolbox(config(tmp_path, *tools)) as box:
            await has_tools(box, "get", "put", "all", "look_up")
            seen = told(await box.call(call("get", id="a/b?c=1&d#e", note="x y", tags=["p", 2])))
            assert (seen["method"], seen["path"]) == ("GET", "/orders/a%2Fb%3Fc%3D1%26d%23e")
            assert seen["query"] in {"note=x+y&tags=p&tags=2", "note=x%20y&tags=p&tags=2"}
            assert shop.seen[0]["headers"]["x-api-key"] == "key-123456"
            assert shop.seen[0]["headers"]["x-request-id"] == "run-1"
            seen = told(await box.call(call("put", id="7", note={"a": 1})))
            assert (seen["method"], seen["path"], seen["body"]) == ("PUT", "/orders/7", {"note": {"a": 1}})
            assert len(shop.seen[1]["headers"]["idempotency-key"]) == 32
            assert told(await box.call(call("all", note="x")))["query"] == "page=1&note=x"
            (look_up,) = [tool for tool in box.tools if tool.name == "look_up"]
            assert look_up.description == "Looks up."
            assert look_up.parameters["required"] == ["id"]
            for given, wrong in [("..", "must not be"), ("", "must be a text"), (True, "not of type")]:
                with pytest.raises(ToolError, match=wrong):
                    await box.call(call("look_up", id=given))


@pytest.mark.parametrize(
    ("how", "result"),
    [
        ("image", "[image/png, 5 bytes, left out: not text]"),
        ("bad-json", "{not json\n[it says that this is JSON, and it is not]"),
        ("deep-json", "[it says that this is JSON, and it is not]"),
        ("nothing", "(status 204, no content)"),
    ],
)
async def test_answers_that_are_no_json(tmp_path: Path, how: str, result: str) -> None:
    async with (
        serve(Shop().app()) as url,
        toolbox(config(tmp_path, http_entry(f"{url}/as/{how}"), tool_output=200_000)) as box,
    ):
        assert result in await box.call(call("orders"))


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("redirect", "redirect .status 302., which is not followed"),
        ("gone", r"status 404: no such order at \*\*\*"),
        ("busy", "takes no calls now"),
        ("drip", "did not answer within 2 s"),
        ("endless", "more than 4 MiB"),
        ("gzip", "compressed"),
    ],
)
async def test_failures_are_told(tmp_path: Path, how: str, error: str) -> None:
    shop, records = Shop(), Records()
    async with serve(shop.app()) as url:
        entry = http_entry(f"{url}/as/{how}", timeout=2 if how == "drip" else None)
        shown = error.replace("127.0.0.1", "")
        async with toolbox(config(tmp_path, entry), records) as box:
            with pytest.raises(ToolError, match=shown if how != "gone" else "status 404: no such order"):
                await box.call(call("orders"))
            if how == "drip":
                await until(lambda: shop.gone == 1)
    assert records.all[0].outcome == ("timeout" if how == "drip" else "error")


async def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    records = Records()
    async with toolbox(config(tmp_path, http_entry(f"http://127.0.0.1:{free_port()}/")), records) as box:
        await box.ready()
        with pytest.raises(ToolError, match="cannot be reached") as error:
            await box.call(call("orders"))
        assert "127.0.0.1" not in str(error.value)
    assert records.outcomes() == [("error", "unreached")]


async def test_addresses_that_arguments_could_lead_away(tmp_path: Path) -> None:
    assert "as the host" in (http.wrong_address("http://{host}/x") or "")
    assert http.wrong_address("ftp://files/x")
    assert http.wrong_address("file:///etc/passwd")
    assert http.wrong_address("https://shop/{id}?x={y}") is None
    async with toolbox(config(tmp_path, http_entry("http://{host}/x"))) as box:
        assert box.tools == ()
        assert box.problems() == (
            "orders: its address takes an argument as the host: arguments go into path and query alone",
        )


@pytest.mark.parametrize("listed", ["pay-now", "pay_now", "pay"])
async def test_a_call_that_is_listed_waits_however_its_entry_is_spelled(tmp_path: Path, listed: str) -> None:
    entry = http_entry("http://shop/pay", "pay-now", approval=ApprovalRule("Listed", (listed,)))
    async with toolbox(config(tmp_path, entry)) as box:
        assert [(tool.name, tool.approval) for tool in box.tools] == [("pay_now", True)]
        assert len(box.problems()) == (listed == "pay")


async def test_groups_limits_and_arguments_are_refused_and_audited(tmp_path: Path) -> None:
    shop, records = Shop(), Records()
    async with serve(shop.app()) as url:
        tools = [
            http_entry(f"{url}/refund/{{id}}", "refund", allowed_groups=("managers",)),
            http_entry(f"{url}/orders/{{id}}", "orders"),
        ]
        async with toolbox(config(tmp_path, *tools, max_tool_calls=2), records) as box:
            with pytest.raises(ToolError, match="not allowed for whoever is asking"):
                await box.call(call("refund", id="1"))
            boss = Caller("key-2", frozenset({"managers"}))
            assert "refund" in await box.call(call("refund", run="run-2", caller=boss, id="1"))
            with pytest.raises(ToolError, match="do not fit: 'id' is a required property"):
                await box.call(call("orders", run="run-3"))
            one = call("orders", run="run-4", id="1")
            for _ in range(2):
                await one_tool(box).call(one)
            with pytest.raises(ToolError, match="2 calls of tools were made"):
                await one_tool(box).call(one)
            await box.call(call("orders", run="run-4", id="1"))  # another run with the same id
    assert records.outcomes() == [
        ("refused", "group"),
        ("ok", ""),
        ("refused", "arguments"),
        ("ok", ""),
        ("ok", ""),
        ("refused", "limit"),
        ("ok", ""),
    ]
    assert len(shop.seen) == 4, "what is refused is not sent"
    assert records.all[0].input_length == len('{"id": "1"}')


def one_tool(box: Any) -> Any:
    return next(tool for tool in box.tools if tool.name == "orders")


async def test_a_cancelled_run_cancels_the_call(tmp_path: Path) -> None:
    shop, records = Shop(), Records()
    async with serve(shop.app()) as url, toolbox(config(tmp_path, http_entry(f"{url}/as/drip")), records) as box:
        running = asyncio.create_task(box.call(call("orders")))
        await until(lambda: shop.begun == 1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await until(lambda: shop.gone == 1)
    assert records.outcomes() == [("cancelled", "")]


async def test_a_header_whose_file_is_missing_is_named_without_its_place(tmp_path: Path) -> None:
    headers = (Header("x-api-key", str(tmp_path / "gone")),)
    async with serve(Shop().app()) as url, toolbox(config(tmp_path, http_entry(f"{url}/", headers=headers))) as box:
        with pytest.raises(ToolError, match="the value of the header x-api-key cannot be read") as error:
            await box.call(call("orders"))
        assert str(tmp_path) not in str(error.value)
        (tmp_path / "gone").write_text("a\nb")
        with pytest.raises(ToolError, match="characters that no header may have"):
            await box.call(call("orders"))
