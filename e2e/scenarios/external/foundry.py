"""A stand-in for Foundry Local: it runs on a desk with Windows or macOS, and neither it nor its models can be had here.

It answers the three questions that the real one (2.2) answers about its models, in the same words, and 404 else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

LOADED = "phi-4-mini-instruct-generic-cpu:5"
CACHED = "qwen2.5-0.5b-instruct-generic-cpu:4"
_MODELS = [{"id": name, "object": "model", "owned_by": "Microsoft"} for name in (LOADED, CACHED)]


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        answers: dict[str, Any] = {
            "/status": {"endpoints": [f"http://{self.headers['Host']}"], "modelCachePath": "cache", "pid": 1},
            "/v1/models": {"data": _MODELS, "object": "list"},
            "/models/loaded": [LOADED],
        }
        error = {"error": {"code": None, "message": f"Model not found: {self.path}", "type": "invalid_request_error"}}
        body = json.dumps(answers.get(self.path, error)).encode()
        self.send_response(200 if self.path in answers else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Nothing: pytest's output is for the tests."""


@contextmanager
def serving(host: str, port: int) -> Iterator[None]:
    """Answers for the time of the block."""
    with ThreadingHTTPServer((host, port), _Handler) as server:
        thread = Thread(target=server.serve_forever, name="Foundry Local")
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
