"""An identity provider for scenarios: tokens of whom it knows, and the public key that gateways check them with."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from pathlib import Path

from e2e.scenarios.scenario import Scenario

NAME = "https://login.example.com/"
"""The claim `iss` of its tokens."""


class Issuer:
    """Keeps its private key in a folder."""

    def __init__(self, folder: Path) -> None:
        self._private = folder / "private.pem"
        _openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", str(self._private))

    def publish(self, scenario: Scenario, secret: str) -> None:
        """Have its public key in this Secret of the scenario's namespace."""
        public = _openssl("pkey", "-in", str(self._private), "-pubout").decode()
        item = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret}, "stringData": {"login.pem": public}}
        scenario.kubectl("apply", "-f", "-", stdin=json.dumps(item))

    def token(self, subject: str, issuer: str = NAME) -> str:
        """What the subject shows, good for ten minutes."""
        claims = {"iss": issuer, "sub": subject, "exp": int(time.time()) + 600}
        signed = ".".join(_base64(json.dumps(part).encode()) for part in ({"alg": "RS256", "typ": "JWT"}, claims))
        return f"{signed}.{_base64(_openssl('dgst', '-sha256', '-sign', str(self._private), text=signed.encode()))}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _openssl(*arguments: str, text: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *arguments], input=text, check=True, capture_output=True, timeout=30).stdout
