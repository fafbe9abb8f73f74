"""Many requests in one moment: each has its connection before the first of them is sent."""

import json
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.gateway.dataplane import gateway

_TO_ANSWER = 30.0


@dataclass(frozen=True)
class Answer:
    status: int
    served_by: str
    """The pod; empty where none has answered."""


def _of_nobody(_: int) -> dict[str, str]:
    return {}


def at_once(
    gateways: Sequence[gateway.Gateway], model: str, times: int, headers: Callable[[int], dict[str, str]] = _of_nobody
) -> list[Answer]:
    """`times` chats, one after the other to each gateway, all of them sent before any answer is read."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hello there"}]})
    hosts = [str(each.client.base_url.host) for each in gateways]
    ports = [each.client.base_url.port for each in gateways]
    connections = [
        socket.create_connection((hosts[number % len(hosts)], ports[number % len(ports)] or 80))
        for number in range(times)
    ]
    try:
        for number, each in enumerate(connections):
            head = {"host": "x", "connection": "close", "content-length": str(len(body)), **headers(number)}
            lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
            each.sendall(f"POST {gateway.CHAT} HTTP/1.1\r\n{lines}\r\n{body}".encode())
        return _read(connections)
    finally:
        for each in connections:
            each.close()


def _read(connections: Sequence[socket.socket]) -> list[Answer]:
    until = time.monotonic() + _TO_ANSWER
    received: dict[socket.socket, bytes] = dict.fromkeys(connections, b"")
    answers = []
    with selectors.DefaultSelector() as selector:
        for each in connections:
            selector.register(each, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, until - time.monotonic()))
            assert ready, f"{len(selector.get_map())} have no answer after {_TO_ANSWER} s"
            for key, _ in ready:
                connection = key.fileobj
                assert isinstance(connection, socket.socket)
                if part := connection.recv(65536):
                    received[connection] += part
                    continue
                selector.unregister(connection)
                answers.append(_answer(received[connection]))
    return answers


def _answer(raw: bytes) -> Answer:
    first, *lines = raw.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return Answer(int(first.split()[1]), headers.get("x-served-by", ""))
