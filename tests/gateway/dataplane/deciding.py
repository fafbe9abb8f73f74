"""A stand-in for the decider: it answers what it is told to, at the port where haproxy.cfg asks."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Decider:
    """What it says, and what it was asked."""

    def __init__(self) -> None:
        self.intent = ""
        self.complexity = ""
        self.delay = 0.0
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        """Path, headers in lower case, body."""


@contextmanager
def serving(port: int) -> Iterator[Decider]:
    decider = Decider()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.chunks() if "transfer-encoding" in self.headers else self.whole()
            decider.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            time.sleep(decider.delay)
            self.send_response(200)
            if decider.intent:
                self.send_header("x-intent", decider.intent)
            if decider.complexity:
                self.send_header("x-complexity", decider.complexity)
            content = b'{"status":"healthy"}'
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def whole(self) -> bytes:
            return self.rfile.read(int(self.headers.get("content-length", 0)))

        def chunks(self) -> bytes:
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        do_GET = do_POST = answer

        def log_message(self, *_: object) -> None:
            """Nothing: its requests are in `asked`."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="decider")
    thread.start()
    try:
        yield decider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
