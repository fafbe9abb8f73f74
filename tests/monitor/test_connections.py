"""Connections to sidecars: kept, closed, broken, and told nonsense."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentfleet.monitor.connections import BadAnswer, Connections, _parse

HEAD = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-LENGTH:  5\r\n\r\n"
LARGEST = 1000


class Peer:
    """Answers each request with the next of `answers`, written as they are, piece by piece; an empty one closes."""

    def __init__(self, answers: Sequence[Sequence[bytes]]) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.connected = 0
        self.port = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connected += 1
        try:
            while self.answers:
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                for piece in self.answers.pop(0):
                    if not piece:
                        return
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.001)
            await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def peer(*answers: Sequence[bytes]) -> AsyncIterator[Peer]:
    found = Peer(answers)
    async with await asyncio.start_server(found.handle, "127.0.0.1", 0) as server:
        found.port = server.sockets[0].getsockname()[1]
        yield found


@asynccontextmanager
async def connections(idle: float = 30.0) -> AsyncIterator[Connections]:
    found = Connections(idle=idle, largest=LARGEST)
    yield found
    found.close()
    await asyncio.sleep(0)  # transports say goodbye in the loop's next round


async def test_a_connection_is_kept() -> None:
    async with peer([HEAD, b"he", b"llo"], [HEAD + b"again"]) as found, connections() as ours:
        assert await ours.get("127.0.0.1", found.port, "/engine?names=a") == (200, b"hello")
        assert await ours.get("127.0.0.1", found.port, "/engine?names=a") == (200, b"again")
        assert found.connected == 1
        expected = f"GET /engine?names=a HTTP/1.1\r\nHost: 127.0.0.1:{found.port}\r\nAccept: text/plain\r\n\r\n"
        assert found.requests == [expected.encode()] * 2


async def test_one_that_was_closed_meanwhile_is_made_anew() -> None:
    async with peer([HEAD + b"hello", b""], [HEAD + b"again"]) as found, connections() as ours:
        await ours.get("127.0.0.1", found.port, "/")
        await asyncio.sleep(0.02)
        assert await ours.get("127.0.0.1", found.port, "/") == (200, b"again")
        assert found.connected == 2


async def test_one_that_is_closed_by_the_question_is_made_anew_once() -> None:
    async with peer([HEAD + b"hello"], [b""], [HEAD + b"again"]) as found, connections() as ours:
        await ours.get("127.0.0.1", found.port, "/")
        assert await ours.get("127.0.0.1", found.port, "/") == (200, b"again")
        assert len(found.requests) == 3
    async with peer([b""], [HEAD + b"again"]) as found, connections() as ours:
        with pytest.raises(ConnectionResetError):
            await ours.get("127.0.0.1", found.port, "/")


async def test_an_answer_that_breaks_off_is_an_error() -> None:
    async with peer([HEAD + b"hello"], [HEAD + b"he", b""], [HEAD + b"again"]) as found, connections() as ours:
        await ours.get("127.0.0.1", found.port, "/")
        with pytest.raises(ConnectionResetError):
            await ours.get("127.0.0.1", found.port, "/")


async def test_who_gives_up_waiting_closes() -> None:
    async with peer([b"HTTP/1.1"], [HEAD + b"again"]) as found, connections() as ours:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await ours.get("127.0.0.1", found.port, "/")
        assert await ours.get("127.0.0.1", found.port, "/") == (200, b"again")
        assert found.connected == 2, "the late end of the first answer is not taken for the second"


async def test_two_questions_at_once_take_two_connections() -> None:
    async with peer([HEAD + b"hello"], [HEAD + b"hello"], [HEAD + b"again"]) as found, connections() as ours:
        answers = await asyncio.gather(*(ours.get("127.0.0.1", found.port, "/") for _ in range(2)))
        assert answers == [(200, b"hello")] * 2
        assert await ours.get("127.0.0.1", found.port, "/") == (200, b"again")
        assert found.connected == 2


async def test_what_is_not_used_is_closed() -> None:
    async with peer([HEAD + b"hello"], [HEAD + b"again"]) as found, connections(idle=0.01) as ours:
        await ours.get("127.0.0.1", found.port, "/")
        await asyncio.sleep(0.02)
        ours.close_idle()
        assert await ours.get("127.0.0.1", found.port, "/") == (200, b"again")
        assert found.connected == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        HEAD + b"hello and more",
    ],
)
async def test_some_answers_end_their_connection(answer: bytes) -> None:
    async with peer([answer], [HEAD + b"again"]) as found, connections() as ours:
        assert await ours.get("127.0.0.1", found.port, "/") == (200, b"hello")
        assert await ours.get("127.0.0.1", found.port, "/") == (200, b"again")
        assert found.connected == 2


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", "no status line"),
        (b"HTTP/1.1 two OK\r\n\r\n", "no status line"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "one Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "one Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "one Content-Length"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", "one Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n", "1000 are taken at most"),
        (b"x" * 20_000, "no end of the headers"),
    ],
)
async def test_what_is_no_answer(answer: bytes, complaint: str) -> None:
    async with peer([answer]) as found, connections() as ours:
        with pytest.raises(BadAnswer, match=complaint):
            await ours.get("127.0.0.1", found.port, "/")


@given(st.binary(max_size=200), st.integers(0, 250))
def test_pieces_make_the_same_answer(body: bytes, cut: int) -> None:
    whole = b"HTTP/1.1 503 No\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    assert _parse(whole, LARGEST) == (503, body, True)
    assert _parse(whole[: min(cut, len(whole) - 1)], LARGEST) is None


@given(st.binary(max_size=100))
def test_bytes_that_are_no_answer_are_an_error_or_a_beginning(data: bytes) -> None:
    try:
        found = _parse(data + b"\r\n\r\n", LARGEST)
    except BadAnswer:
        return
    assert found is None or found[0] < 1000
