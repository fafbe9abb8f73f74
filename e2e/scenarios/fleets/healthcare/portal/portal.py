"""POST /patients/ID {"token": TOKEN}: what is known of a patient, for the practice's key and the patient's token."""

import hmac
import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PATIENTS = {
    "P-1007": ("violet-otter-52", {"patient": "P-1007", "blood_group": "AB negative", "last_visit": "2026-09-02"})
}


class Portal(BaseHTTPRequestHandler):
    """One request."""

    def do_POST(self) -> None:
        token, record = PATIENTS.get(self.path.removeprefix("/patients/"), ("", {}))
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        shown = str(asked.get("token", ""))
        if not hmac.compare_digest(self.headers.get("Authorization", ""), os.environ["KEY"]):
            self._answer(401, {"error": "the portal knows its own agents alone"})
        elif not token or not hmac.compare_digest(shown, token):
            self._answer(403, {"error": "this is not the token of that patient"})
        else:
            self._answer(200, record)

    def _answer(self, status: int, content: dict[str, str]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Who is asked about stands in the addresses."""


if __name__ == "__main__":
    ThreadingHTTPServer(("", 8080), Portal).serve_forever()
