"""The traffic of the scenarios tells whole answers from lost ones: what it would not see, no scenario could show."""

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest
from aiohttp import web

from e2e import traffic as module
from e2e.traffic import Rate, Request, Traffic, table, traffic

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
_TOKENS = 3
_RATE = Rate(streams=20, stream_tokens=_TOKENS, shorts=0)
_CHUNK = {"choices": [{"delta": {"content": " br"}, "finish_reason": None}]}
_END = {"choices": [{"delta": {}, "finish_reason": "length"}]}
_USAGE = {"choices": [], "usage": {"completion_tokens": _TOKENS}}
_WHOLE = [_CHUNK, _END, _USAGE, "[DONE]"]


def _data(*events: object) -> bytes:
    texts = (event if isinstance(event, str) else json.dumps(event) for event in events)
    return "".join(f"data: {text}\n\n" for text in texts).encode()


@contextmanager
def _server(answer: Answer) -> Iterator[str]:
    """``host:port`` of a server whose answers `answer` writes, in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> tuple[web.AppRunner, str]:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", answer)
        runner = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        return runner, f"{host}:{port}"

    runner, address = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        yield address
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _streams(*events: object, cut: bool = False) -> Answer:
    """Answers of these events; `cut` breaks the connection off after them."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(_data(*events))
        if cut:
            assert request.transport is not None
            request.transport.abort()
        return response

    return answer


def _first(answer: Answer, rate: Rate = _RATE) -> Request:
    with _server(answer) as address, traffic(address, "tiny", rate) as seen:
        _until_one_has_ended(seen)
    assert seen.started == len(seen.requests)
    return seen.requests[0]


def _until_one_has_ended(seen: Traffic) -> None:
    deadline = time.monotonic() + 10
    while not seen.requests:
        assert time.monotonic() < deadline, "no request came to an end"
        time.sleep(0.01)


def test_a_whole_stream() -> None:
    assert _first(_streams(*_WHOLE)).fate == "whole"


def test_comments_that_keep_a_connection_alive_are_no_content() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=b": ping\n\n" + _data(*_WHOLE), content_type="text/event-stream")

    assert _first(answer).fate == "whole"


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([_CHUNK, _END, _USAGE], "no [DONE]"),
        ([_CHUNK, _USAGE, "[DONE]"], "finish_reason None"),
        ([_CHUNK, {"choices": [{"delta": {}, "finish_reason": "abort"}]}, _USAGE, "[DONE]"], "finish_reason abort"),
        ([_CHUNK, _END, {"choices": [], "usage": {"completion_tokens": 2}}, "[DONE]"], "2 of 3 tokens"),
        ([_CHUNK, _END, "[DONE]"], "None of 3 tokens"),
        ([_CHUNK, {"error": {"message": "engine died"}}, "[DONE]"], "engine died"),
        ([_CHUNK, '{"choices"'], "no JSON"),
        ([*_WHOLE, _CHUNK], "more after [DONE]"),
        ([], "no [DONE]"),
    ],
)
def test_a_stream_that_ends_otherwise_is_truncated(events: list[object], reason: str) -> None:
    request = _first(_streams(*events))
    assert request.fate == "truncated"
    assert reason in request.reason


def test_a_connection_that_breaks_off_is_truncated() -> None:
    assert _first(_streams(_CHUNK, cut=True)).fate == "truncated"


def test_silence_is_truncated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.2)

    async def answer(request: web.Request) -> web.StreamResponse:
        response = await _streams(_CHUNK)(request)
        await asyncio.sleep(1)
        return response

    request = _first(answer)
    assert (request.fate, "ReadTimeout" in request.reason) == ("truncated", True)


def test_an_error_is_a_failure_with_its_words() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=503, text="loading model")

    request = _first(answer)
    assert request.fate == "failed"
    assert "503 loading model" in request.reason


def test_a_refused_connection_is_a_failure() -> None:
    with _server(_streams()) as address:
        pass
    with traffic(address, "tiny", _RATE) as seen:
        _until_one_has_ended(seen)
    assert {request.fate for request in seen.requests} == {"failed"}


@pytest.mark.parametrize(
    ("body", "fate"),
    [
        ({"choices": [{"finish_reason": "length"}], "usage": {"completion_tokens": 2}}, "whole"),
        ({"choices": [{"finish_reason": "length"}], "usage": {"completion_tokens": 1}}, "truncated"),
        ({"choices": [{"finish_reason": "length"}]}, "truncated"),
        ({"choices": []}, "truncated"),
        ({"error": {"message": "engine died"}}, "truncated"),
    ],
)
def test_a_short_answer_is_counted(body: dict[str, object], fate: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        assert "stream" not in await request.json()
        return web.json_response(body)

    request = _first(answer, Rate(streams=0, shorts=20, short_tokens=2))
    assert (request.kind, request.fate) == ("short", fate)


def test_requests_begin_at_their_rate_whatever_became_of_those_before() -> None:
    came, enough = 0, asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal came
        came += 1
        if came == 10:
            enough.set()
        await enough.wait()
        return await _streams(*_WHOLE)(request)

    began = time.monotonic()
    with _server(answer) as address, traffic(address, "tiny", _RATE) as seen:
        _until_one_has_ended(seen)
    assert 10 <= seen.started <= 1 + _RATE.streams * (time.monotonic() - began)
    assert seen.whole() == seen.started


def test_phases_are_told_apart_and_counted() -> None:
    with _server(_streams(*_WHOLE)) as address, traffic(address, "tiny", _RATE) as seen:
        for phase in ("before", "after"):
            seen.phase, since = phase, seen.now
            while not seen.whole(after=since):
                time.sleep(0.01)
    lines = table(seen).splitlines()
    assert [line.split()[1] for line in lines[-3:]] == ["before", "after", "all"]
    assert lines[-1].split()[2:6] == [str(seen.started), str(seen.started), "0", "0"]


def test_nothing_lost_needs_traffic() -> None:
    with _server(_streams(*_WHOLE)) as address, traffic(address, "tiny", Rate(streams=0, shorts=0)) as seen:
        pass
    with pytest.raises(AssertionError, match="no stream was answered"):
        seen.assert_nothing_lost()


def test_what_is_lost_is_named() -> None:
    with _server(_streams(_CHUNK)) as address, traffic(address, "tiny", _RATE) as seen:
        _until_one_has_ended(seen)
    seen.requests.append(Request("stream", "steady", 0, 1, 0.1, "whole"))
    with pytest.raises(AssertionError, match=r"(?s)requests were lost:.*no \[DONE\]"):
        seen.assert_nothing_lost()
