"""The office's ticket system: POST and GET /tickets."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_tickets: list[dict[str, str]] = []


class Office(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer(_tickets)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        key = self.headers["idempotency-key"]
        _tickets.append({"ticket": f"T-{len(_tickets) + 1}", "key": key, "priority": "medium", **asked})
        self._answer(_tickets[-1])

    def _answer(self, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("", 8080), Office).serve_forever()
