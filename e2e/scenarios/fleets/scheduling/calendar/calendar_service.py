"""A calendar: GET /days/DAY/free?minutes=30, POST /days/DAY/meetings {"time", "minutes", "title"}."""

import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from urllib.parse import parse_qs, urlsplit

TIMES = ("09:30", "11:00", "15:30")
_DAY = re.compile(r"/days/(\d{4}-\d{2}-\d{2})/(free|meetings)")
_booked: dict[tuple[str, str], dict[str, object]] = {}
_lock = Lock()


class Calendar(BaseHTTPRequestHandler):
    """One request."""

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        found = _DAY.fullmatch(asked.path)
        minutes = parse_qs(asked.query).get("minutes", [""])[0]
        if found is None or not minutes.isdigit():
            self._answer(400, {"error": "GET /days/2026-11-24/free?minutes=30"})
            return
        self._answer(200, {"day": found[1], "free": [time for time in TIMES if (found[1], time) not in _booked]})

    def do_POST(self) -> None:
        found = _DAY.fullmatch(self.path)
        meeting = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = (found[1] if found else "", str(meeting.get("time")))
        with _lock:
            free = found is not None and key[1] in TIMES and key not in _booked
            if free:
                _booked[key] = meeting
        if free:
            self._answer(201, {"meeting": f"M-{len(_booked)}", "day": key[0], **meeting})
        else:
            self._answer(409, {"error": f"{key[1]} is not free"})

    def _answer(self, status: int, content: dict[str, object]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Titles of meetings are nobody's business."""


if __name__ == "__main__":
    ThreadingHTTPServer(("", 8080), Calendar).serve_forever()
