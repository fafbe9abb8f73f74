"""The guarded GET, against real servers on loopback that a test's own resolver and rule lead to."""

import ipaddress
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext
from typing import Any

import pytest
from aiohttp import web

from agentfleet.sidecar import endpoint as module
from agentfleet.sidecar.endpoint import LARGEST, Endpoint, judged_by, parse_url, resolve
from agentfleet.sidecar.failures import ModelFailed
from agentfleet.sidecar.guard import Address

LOOPBACK = ipaddress.ip_address("127.0.0.1")
KEY = "s3cret-key"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def anything(address: Address, scheme: str) -> None:
    """Tests have to connect to loopback."""


async def to_loopback(host: str, port: int) -> list[Address]:
    return [LOOPBACK]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA, and a certificate of it for endpoint.test."""
    folder = tmp_path_factory.mktemp("tls")
    openssl = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    name = ["-subj", "/CN=endpoint.test", "-addext", "subjectAltName=DNS:endpoint.test"]
    subprocess.run(
        [*openssl, *name, "-keyout", folder / "key.pem", "-out", folder / "ca.pem"], check=True, capture_output=True
    )
    return folder


@asynccontextmanager
async def serving(handler: Handler, tls: SSLContext | None = None) -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def ask(handler: Handler, **options: Any) -> Any:
    async with serving(handler) as port:
        url = f"http://endpoint.test:{port}/v1"
        return await Endpoint(url, anything, resolve=to_loopback, **options).get(f"{url}/models")


async def failure(handler: Handler, **options: Any) -> ModelFailed:
    with pytest.raises(ModelFailed) as caught:
        await ask(handler, **options)
    return caught.value


async def test_it_sends_the_name_and_the_key_of_the_moment(tmp_path: Path) -> None:
    seen: list[tuple[str, str | None, str | None]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.host.partition(":")[0], request.headers.get("Authorization"), request.path))
        return web.json_response({"data": []})

    (tmp_path / "apiKey").write_text(KEY + "\n")
    assert await ask(handler, credentials_dir=tmp_path) == {"data": []}
    assert seen == [("endpoint.test", f"Bearer {KEY}", "/v1/models")]
    await ask(handler, credentials_dir=tmp_path / "empty")
    assert seen[1][1] is None


async def test_a_key_that_no_header_takes_is_told_without_the_key(tmp_path: Path) -> None:
    (tmp_path / "apiKey").write_text(f"{KEY}\nmore")
    error = await failure(answer(200), credentials_dir=tmp_path)
    assert error.reason == "EndpointUnauthorized"
    assert KEY not in str(error)


def answer(status: int, **options: Any) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=status, **options)

    return handler


@pytest.mark.parametrize(
    ("handler", "reason", "words"),
    [
        (answer(401), "EndpointUnauthorized", "'apiKey'"),
        (answer(403), "EndpointUnauthorized", "403"),
        (answer(404), "EndpointUnreachable", "path right"),
        (answer(503), "EndpointUnreachable", "503"),
        (answer(302, headers={"Location": "http://169.254.169.254/"}), "EndpointRefused", "redirects"),
        (answer(307, headers={"Location": "https://other/"}), "EndpointRefused", "redirects"),
        (answer(200, text="<html>"), "EndpointUnreachable", "no JSON"),
        (answer(200, body=b"\xff\xfe"), "EndpointUnreachable", "no JSON"),
        (answer(200, text="[" * 100_000), "EndpointUnreachable", "no JSON"),
        (answer(200, body=b" " * (LARGEST + 1)), "EndpointUnreachable", "more than"),
        (answer(204), "EndpointUnreachable", "204"),
    ],
)
async def test_answers_that_are_none(handler: Handler, reason: str, words: str) -> None:
    error = await failure(handler)
    assert error.reason == reason
    assert words in error.message


async def test_a_compressed_bomb_is_not_unpacked() -> None:
    async def handler(request: web.Request) -> web.Response:
        response = web.Response(body=b"0" * 50 * LARGEST)
        response.enable_compression(web.ContentCoding.gzip)
        return response

    assert (await failure(handler)).reason == "EndpointUnreachable"


async def test_dripping_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await module.asyncio.sleep(0.05)

    monkeypatch.setattr(module, "TIMEOUT", 0.5)
    error = await failure(handler)
    assert error.message.endswith("did not answer within 0.5 seconds")


async def test_redirects_and_the_guard_come_before_any_connection() -> None:
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response([])

    async with serving(handler) as port:
        url = f"http://127.0.0.1:{port}/v1"
        with pytest.raises(ModelFailed, match=r"EndpointRefused.*loopback"):
            await Endpoint(url, judged_by(())).get(f"{url}/models")
        url = f"http://2130706433:{port}/v1"  # 127.0.0.1 as one number
        with pytest.raises(ModelFailed, match=r"EndpointRefused.*loopback"):
            await Endpoint(url, judged_by(())).get(f"{url}/models")
    assert asked == []


async def test_one_bad_address_spoils_the_name() -> None:
    async def rebinding(host: str, port: int) -> list[Address]:
        return [ipaddress.ip_address("10.1.2.3"), ipaddress.ip_address("169.254.169.254")]

    with pytest.raises(ModelFailed, match="metadata"):
        await Endpoint("http://a/v1", judged_by(()), resolve=rebinding).get("http://a/v1/models")


async def test_plain_http_is_for_private_addresses() -> None:
    judge = judged_by(())
    assert judge(ipaddress.ip_address("10.1.2.3"), "http") is None
    assert judge(ipaddress.ip_address("8.8.8.8"), "https") is None
    assert "https://" in (judge(ipaddress.ip_address("8.8.8.8"), "http") or "")


async def test_the_next_address_is_tried_where_nobody_listens_at_the_first() -> None:
    async def two(host: str, port: int) -> list[Address]:
        return [ipaddress.ip_address("127.0.0.2"), LOOPBACK]

    async with serving(answer(200, text="[]")) as port:
        url = f"http://endpoint.test:{port}"
        assert await Endpoint(url, anything, resolve=two).get(f"{url}/models") == []


async def test_a_host_that_cannot_be_reached_or_resolved() -> None:
    async def nowhere(host: str, port: int) -> list[Address]:
        raise OSError("no such host")

    with pytest.raises(ModelFailed, match=r"EndpointUnreachable: nowhere\.test cannot be resolved: no such host"):
        await Endpoint("http://nowhere.test", anything, resolve=nowhere).get("http://nowhere.test/models")
    with pytest.raises(ModelFailed, match="EndpointUnreachable"):
        await Endpoint("http://a:1", anything, resolve=to_loopback).get("http://a:1/models")


async def test_tls_is_verified_for_the_name(certificates: Path) -> None:
    context = SSLContext(PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "ca.pem", certificates / "key.pem")
    trusting = {"ca_bundle": certificates / "ca.pem", "resolve": to_loopback}
    async with serving(answer(200, text="[]"), context) as port:
        good, other = f"https://endpoint.test:{port}", f"https://other.test:{port}"
        assert await Endpoint(good, anything, **trusting).get(f"{good}/models") == []  # type: ignore[arg-type]
        with pytest.raises(ModelFailed, match=r"TLSFailed.*Hostname mismatch"):
            await Endpoint(other, anything, **trusting).get(f"{other}/models")  # type: ignore[arg-type]
        with pytest.raises(ModelFailed, match=r"TLSFailed.*self-signed"):
            await Endpoint(good, anything, resolve=to_loopback).get(f"{good}/models")
        with pytest.raises(ModelFailed, match=r"TLSFailed.*CA bundle"):
            await Endpoint(good, anything, ca_bundle=certificates / "key.pem", resolve=to_loopback).get(
                f"{good}/models"
            )
    async with serving(answer(200, text="[]")) as port:
        with pytest.raises(ModelFailed, match="TLSFailed"):
            url = f"https://endpoint.test:{port}"
            await Endpoint(url, anything, resolve=to_loopback).get(url)


@pytest.mark.parametrize(
    "url", ["https://host/v1", "http://10.0.0.5:8080", "https://[fd00::1]:8443/v1", "https://h/v1/"]
)
def test_urls(url: str) -> None:
    assert parse_url(url) == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "host/v1",
        "ftp://host",
        "https://",
        "https://user:key@host/v1",
        "https://h/v1?key=1",
        "https://h/#x",
        "https://h:99999/v1",
        "https://h:0",
        "https://h/a b",
        "file:///etc/passwd",
        "https://h/\r\nX: y",
        "https://[::1",
    ],
)
def test_what_is_no_url_of_an_endpoint(url: str) -> None:
    with pytest.raises(ValueError, match="is no URL of an endpoint"):
        parse_url(url)


async def test_the_systems_resolver() -> None:
    assert LOOPBACK in await resolve("localhost", 80)
