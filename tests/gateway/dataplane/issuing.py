"""An identity provider for one test: its keys, and tokens that are as they should be, or not."""

import base64
import json
import subprocess
import time
from pathlib import Path
from typing import Any

NAME = "https://idp.example.com/'\"%#"
AUDIENCE = "urn:a b\"'c".replace(" ", "-")


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _plain(signature: bytes) -> bytes:
    """The two numbers of an ECDSA signature on P-256, as JWTs have them: openssl writes them in DER."""
    first = 4 + signature[3]
    numbers = signature[4:first], signature[first + 2 :]
    return b"".join(number[-32:].rjust(32, b"\0") for number in numbers)


class Issuer:
    """Its keys of one algorithm, by the openssl of this machine."""

    def __init__(self, folder: Path, algorithm: str = "RS256") -> None:
        self.algorithm = algorithm
        self.private = folder / "private.pem"
        kind, size = ("RSA", "rsa_keygen_bits:2048") if self._is_rsa else ("EC", "ec_paramgen_curve:P-256")
        self._run("genpkey", "-algorithm", kind, "-pkeyopt", size, "-out", str(self.private))
        self.public = self._run("pkey", "-in", str(self.private), "-pubout")

    def token(self, header: dict[str, Any] | None = None, **changes: Any) -> str:
        claims = {
            "iss": NAME,
            "aud": AUDIENCE,
            "sub": "dora",
            "exp": int(time.time()) + 60,
            "groups": ["red", "a,b"],
        }
        claims = {name: value for name, value in {**claims, **changes}.items() if value is not None}
        parts = [_b64(json.dumps(part).encode()) for part in (header or {"alg": self.algorithm, "typ": "JWT"}, claims)]
        digest = f"-sha{self.algorithm[2:]}"
        signature = self._run("dgst", digest, "-sign", str(self.private), text=".".join(parts).encode())
        return ".".join([*parts, _b64(signature if self._is_rsa else _plain(signature))])

    @property
    def _is_rsa(self) -> bool:
        return self.algorithm.startswith("RS")

    @staticmethod
    def _run(*arguments: str, text: bytes = b"") -> bytes:
        return subprocess.run(["openssl", *arguments], input=text, check=True, capture_output=True).stdout
