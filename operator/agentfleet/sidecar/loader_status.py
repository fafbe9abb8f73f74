"""GET /status and /healthz of a loader that runs as a Job: the operator reads it as it reads a sidecar's.

A few small answers beside a download need no framework: a thread of the standard library's server gives them.
"""

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import AF_INET, AF_INET6, has_dualstack_ipv6
from typing import Any

from agentfleet.sidecar import progress
from agentfleet.sidecar.models import ModelState, ModelStatus

log = logging.getLogger(__name__)

REQUEST_TIMEOUT = 5.0


@contextmanager
def serving(port: int | None, name: str, state_dir: Path) -> Iterator[int | None]:
    """Answers on `port` as long as the block runs, and gives the port (0 chooses one); without a port, does nothing."""
    if port is None:
        yield None
        return
    with _Server(("", port), _handler(name, state_dir)) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def status(name: str, state_dir: Path) -> dict[str, Any]:
    """The contract of the sidecar's /status, as far as a loader has something to say."""
    loading = progress.read(state_dir)
    model = ModelStatus(name)
    if loading is not None:
        # A loaded model waits for its engine; only an engine makes it Ready.
        state = ModelState.LOADING if loading.state == "Complete" else ModelState(loading.state)
        model = ModelStatus(
            name,
            state,
            progress_percent=loading.percent,
            reason=loading.reason,
            message=loading.message,
            digest=loading.digest,
            size=loading.total,
        )
    return {"engine": None, "engineVersion": None, "ready": False, "inFlight": None, "models": [model.as_json()]}


class _Server(ThreadingHTTPServer):
    address_family = AF_INET6 if has_dualstack_ipv6() else AF_INET  # HTTPServer would answer IPv4 only


def _handler(name: str, state_dir: Path) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_TIMEOUT

        def do_GET(self) -> None:
            if self.path == "/healthz":
                self._answer(200, {"ok": True})
            elif self.path == "/status":
                self._status()
            else:
                self._answer(404, {"error": "there are /status and /healthz"})

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            log.debug(format, *args)

        def _status(self) -> None:
            try:
                answer = status(name, state_dir)
            except (OSError, ValueError) as error:
                self._answer(503, {"error": str(error)})
            else:
                self._answer(200, answer)

        def _answer(self, code: int, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler
