"""The process with a certificate: HTTPS for requests, plain HTTP for probes, and a certificate that is renewed."""

import os
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from agentfleet.runtime.authorities import Authorities
from agentfleet.runtime.config import Tls
from agentfleet.runtime.https import Certificate, PlainPort
from e2e.support.answers import Reply
from e2e.support.scripted import serving
from tests.runtime.process import BODY, free_port, settings, started


def made(folder: Path, name: str = "localhost") -> Tls:
    """A certificate that vouches for itself."""
    pair = Tls(str(folder / "tls.crt"), str(folder / "tls.key"), free_port())
    request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    about = ["-days", "1", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    files = ["-keyout", pair.key_file, "-out", pair.cert_file]
    subprocess.run([*request, *about, *files], check=True, capture_output=True, timeout=60)
    return pair


async def test_requests_are_taken_over_https(tmp_path: Path) -> None:
    pair = made(tmp_path)
    with serving() as model:
        async with started(tmp_path, settings(model, tmp_path, tls=pair)) as agent:
            await agent.answers("/readyz", 200)
            model.replies.append(Reply("In private"))
            url = f"https://127.0.0.1:{pair.port}"
            named = {"sni_hostname": "localhost"}
            async with httpx.AsyncClient(
                verify=Authorities([pair.cert_file]).context, trust_env=False, timeout=60
            ) as known:
                answer = await known.post(f"{url}/v1/chat/completions", json=BODY, extensions=named)
            assert answer.json()["choices"][0]["message"]["content"] == "In private"
            async with httpx.AsyncClient(trust_env=False, timeout=60) as stranger:
                with pytest.raises(httpx.ConnectError, match="certificate"):
                    await stranger.get(f"{url}/healthz", extensions=named)
            agent.process.terminate()
            assert await agent.ended() == 0


@pytest.mark.parametrize(
    ("client", "path", "status"),
    [
        ("10.244.1.7", "/healthz", 200),
        ("10.244.1.7", "/metrics", 200),
        ("10.244.1.7", "/v1/models", 421),
        ("10.244.1.7", "/healthz/../v1/models", 421),
        ("127.0.0.1", "/v1/models", 200),
        ("::1", "/v1/models", 200),
    ],
)
async def test_the_plain_port_is_for_probes_and_for_the_pod_itself(client: str, path: str, status: int) -> None:
    app = Starlette(routes=[Route("/{path:path}", lambda _: PlainTextResponse("here"))])
    transport = httpx.ASGITransport(PlainPort(app), client=(client, 40000))
    async with httpx.AsyncClient(transport=transport, base_url="http://pod:8080") as http:
        answer = await http.get(path)
    assert answer.status_code == status
    if status == 421:
        assert answer.json()["error"]["code"] == "https_required"


def test_a_renewed_certificate_is_taken_and_one_that_does_not_fit_is_not(tmp_path: Path) -> None:
    pair = made(tmp_path)
    certificate = Certificate(pair)
    first = _shown(certificate)
    made(tmp_path, "renewed")
    certificate.renew()
    second = _shown(certificate)
    assert second != first
    Path(pair.key_file).write_text("no key")
    os.utime(pair.key_file, (1, 1))
    certificate.renew()
    assert _shown(certificate) == second


def _shown(certificate: Certificate) -> bytes:
    """What a new connection gets, without a socket."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    client = anybody.wrap_bio(to_client, to_server)
    server = certificate.context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    shown = client.getpeercert(binary_form=True)
    assert shown is not None
    return shown
