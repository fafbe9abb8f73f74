"""https:// against a stand-in web server, and where redirects may lead."""

import logging
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from agentfleet.sidecar.failures import ModelFailed
from agentfleet.sidecar.sources.client import Guard
from tests.sidecar.loading import Load, failure, marker, secret, told
from tests.sidecar.standins import Site, etag

GGUF = bytes(range(256)) * 4000


@pytest.fixture
def site(serve: Any) -> Site:
    site = Site()
    site.url = serve(site.application())
    return site


@pytest.fixture
def secure(serve: Any, tls: Any) -> Site:
    """Another site, with TLS."""
    site = Site(ca=tls.ca)
    site.url = serve(site.application(), tls.context)
    return site


def test_one_file_is_loaded_once(load: Load, site: Site, target: Path) -> None:
    site.files = {"models/tiny v1.gguf": GGUF}
    load(site, target, "https://files.acme/models/tiny%20v1.gguf?signature=geheim")
    assert (target / "tiny%20v1.gguf").read_bytes() == GGUF
    assert marker(target)["revision"] == etag(GGUF).strip('"')
    sent = site.sent
    log = load(site, target, "https://files.acme/models/tiny%20v1.gguf?signature=geheim", "--log-level", "DEBUG")
    assert site.sent == sent == len(GGUF) + 1, "the first byte tells the size"
    assert "geheim" not in log


@pytest.mark.parametrize("etags", [True, False])
def test_a_cut_download_goes_on_if_the_file_can_be_told_apart(
    load: Load, site: Site, target: Path, etags: bool
) -> None:
    site.files, site.etags = {"tiny.gguf": GGUF}, etags
    site.cuts = [500_000]
    load(site, target, "https://files.acme/tiny.gguf")
    assert (target / "tiny.gguf").read_bytes() == GGUF
    assert site.ranges == ["bytes=0-0", None, "bytes=500000-" if etags else None]


def test_a_file_that_changed_is_loaded_anew(load: Load, site: Site, target: Path) -> None:
    site.files = {"tiny.gguf": GGUF}
    site.cuts = [500_000, *[0] * 5]
    load(site, target, "https://files.acme/tiny.gguf", code=1)
    assert failure(target)["reason"] == "SourceUnreachable"
    site.files = {"tiny.gguf": GGUF[::-1]}
    site.cuts = []
    load(site, target, "https://files.acme/tiny.gguf")
    assert (target / "tiny.gguf").read_bytes() == GGUF[::-1]


@pytest.mark.parametrize(
    ("keys", "header"),
    [({"token": "geheim123"}, "Bearer geheim123"), ({"username": "me", "password": "pw"}, "Basic bWU6cHc=")],
)
def test_credentials(load: Load, site: Site, target: Path, tmp_path: Path, keys: dict[str, str], header: str) -> None:
    site.files, site.authorization = {"tiny.gguf": GGUF}, header
    log = load(site, target, "https://files.acme/tiny.gguf", *secret(tmp_path, **keys), "--log-level", "DEBUG")
    assert (target / "tiny.gguf").exists()
    assert "geheim123" not in log
    assert "bWU6cHc" not in log


@pytest.mark.parametrize(
    ("uri", "reason", "part"),
    [
        ("https://files.acme/absent", "ModelNotFound", "'absent' on 127.0.0.1 does not exist"),
        ("https://files.acme/secret", "ModelGated", "key 'token' of the Secret"),
        ("https://files.acme/", "BadSource", "names no file"),
        ("https://files.acme/a/..", "BadSource", "names no file"),
        ("https://me:pw@files.acme/a", "BadSource", "without credentials"),
    ],
)
def test_failures(load: Load, site: Site, target: Path, uri: str, reason: str, part: str) -> None:
    site.authorization = "Bearer x" if "secret" in uri else None
    load(site, target, uri, code=1)
    assert failure(target)["reason"] == reason
    assert part in failure(target)["message"]


def test_a_certificate_that_is_not_trusted(load: Load, secure: Site, target: Path) -> None:
    secure.files, secure.ca = {"tiny.gguf": GGUF}, None
    load(secure, target, "https://files.acme/tiny.gguf", code=1)
    assert failure(target)["reason"] == "TLSFailed"
    assert "spec.model.auth.caBundle" in failure(target)["message"]


def test_a_ca_bundle_is_trusted(load: Load, secure: Site, target: Path) -> None:
    secure.files = {"tiny.gguf": GGUF}
    load(secure, target, "https://files.acme/tiny.gguf")
    assert (target / "tiny.gguf").exists()


def test_a_ca_bundle_without_certificates(load: Load, secure: Site, target: Path, tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("nothing")
    secure.ca = tmp_path / "ca.crt"
    for source in ("https://files.acme/tiny.gguf", "s3://bucket/x", "hf://org/tiny"):
        load(secure, target, source, code=1)
        assert failure(target)["reason"] == "TLSFailed"


def test_a_token_does_not_follow_a_redirect(load: Load, site: Site, secure: Site, target: Path, tmp_path: Path) -> None:
    secure.files = {"tiny.gguf": GGUF}
    site.redirects = {"tiny.gguf": f"{secure.url}/tiny.gguf"}
    site.ca = secure.ca
    load(site, target, "https://files.acme/tiny.gguf", *secret(tmp_path, token="geheim123"))
    assert set(site.seen) == {"Bearer geheim123"}
    assert set(secure.seen) == {None}


def test_tls_is_not_given_up(load: Load, site: Site, secure: Site, target: Path) -> None:
    site.files = {"tiny.gguf": GGUF}
    secure.redirects = {"tiny.gguf": site.url.replace("127.0.0.1", "localhost") + "/tiny.gguf"}
    load(secure, target, "https://files.acme/tiny.gguf", code=1)
    assert failure(target)["reason"] == "BadSource"
    assert "TLS" in failure(target)["message"]
    assert site.seen == []


def test_redirects_without_end(load: Load, site: Site, target: Path) -> None:
    site.redirects = {"a": "/b", "b": "/a"}
    load(site, target, "https://files.acme/a", code=1)
    assert "too many redirects" in failure(target)["message"]


NAMES = {
    "inside.example": "10.0.0.7",
    "metadata.example": "169.254.169.254",
    "six.example": "fe80::1%eth0",
    "hub.example": "93.184.216.34",
}


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(host: str, *arguments: object, **options: object) -> list[Any]:
        if host not in NAMES:
            raise socket.gaierror("unknown")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (NAMES[host], 0))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr("agentfleet.sidecar.sources.client.getproxies", dict)


@pytest.mark.parametrize(
    ("origin", "location", "followed"),
    [
        ("https://hub.example/a", "/b", True),
        ("https://hub.example/a", "https://cdn.example/b", True),
        ("https://hub.example/a", "https://inside.example/b", True),
        ("https://hub.example/a", "http://hub.example/b", False),
        ("https://hub.example/a", "http://cdn.example/b", False),
        ("https://hub.example/a", "https://metadata.example/b", False),
        ("https://hub.example/a", "https://six.example/b", False),
        ("https://hub.example/a", "https://169.254.169.254/b", False),
        ("https://hub.example/a", "https://127.0.0.1/b", False),
        ("https://hub.example/a", "https://[::1]/b", False),
        ("https://hub.example/a", "https://[::ffff:169.254.169.254]/b", False),
        ("https://hub.example/a", "https://[fe80::1]/b", False),
        ("https://hub.example/a", "https://0.0.0.0/b", False),
        ("http://hub.example/a", "/b", True),
        ("http://hub.example/a", "http://hub.example:8080/b", True),
        ("http://hub.example/a", "https://cdn.example/b", True),
        ("http://hub.example/a", "http://cdn.example/b", False),
        ("http://hub.example/a", "http://inside.example/b", False),
        ("http://127.0.0.1:5000/a", "https://127.0.0.2/b", True),
    ],
)
def test_where_redirects_may_lead(names: None, origin: str, location: str, followed: bool) -> None:
    response = httpx.Response(302, headers={"Location": location}, request=httpx.Request("GET", origin))
    guard = Guard(origin)
    if followed:
        guard.check_redirect(response)
        return
    with pytest.raises(ModelFailed, match="redirects to") as caught:
        guard.check_redirect(response)
    assert caught.value.reason == "BadSource"


class Stream:
    """A connection to an address that the name did not have when it was looked up."""

    def get_extra_info(self, what: str) -> object:
        return ("169.254.169.254", 443) if what == "server_addr" else None


def test_a_name_that_changes_its_address_is_noticed(names: None) -> None:
    guard = Guard("https://hub.example/a")
    request = httpx.Request("GET", "https://cdn.example/b")
    answer = httpx.Response(200, request=request, extensions={"network_stream": Stream()})
    with pytest.raises(ModelFailed, match="link-local"):
        guard.check_redirect(answer)
    guard.check_redirect(httpx.Response(200, request=httpx.Request("GET", "https://hub.example/a")))


def test_an_empty_file(load: Load, site: Site, target: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    site.files = {"empty": b""}
    load(site, target, "https://files.acme/empty")
    assert (target / "empty").read_bytes() == b""
    assert told(target)["bytes"] == 0
