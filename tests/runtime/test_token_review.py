"""Tokens of service accounts: against a real API server on loopback, and against one that does not do as it should."""

import asyncio
import base64
import itertools
import json
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from agentfleet.runtime.token_review import Reviewer
from agentfleet.runtime.types import Caller, RunError
from e2e.bench.control_plane import ControlPlane, control_plane

Answer = Callable[[dict[str, Any]], tuple[int, Any]]
ROBOT = Caller("system:serviceaccount:shop:robot", frozenset({"system:serviceaccounts"}))


def _token(aud: Any = "agentfleet", ends: float = 600, **more: Any) -> str:
    claims = {"aud": aud, "exp": int(time.time() + ends), **more}
    parts = ({"alg": "none"}, claims)
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + ".x"


def _yes(body: dict[str, Any]) -> tuple[int, Any]:
    user = {"username": ROBOT.subject, "groups": list(ROBOT.groups)}
    return 201, {"status": {"authenticated": True, "user": user, "audiences": body["spec"]["audiences"]}}


class ApiServer:
    """Answers as it is told, and counts."""

    def __init__(self, folder: Path) -> None:
        self.answer: Answer = _yes
        self.asked: list[dict[str, Any]] = []
        self.tokens: list[str | None] = []
        self.gate, self.reached = asyncio.Event(), asyncio.Event()
        self.gate.set()
        self.token_file = folder / "token"
        self.token_file.write_text("own\n")
        self.ca_file = folder / "ca.crt"
        self.now = time.time()
        self.url = ""

    def reviewer(self) -> Reviewer:
        return Reviewer(
            self.url, audience="agentfleet", token_file=self.token_file, ca_file=self.ca_file, clock=lambda: self.now
        )

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["ApiServer"]:
        key = self.ca_file.with_name("key")
        words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        words += ["-subj", "/CN=api", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
        await asyncio.to_thread(
            subprocess.run, [*words, "-keyout", str(key), "-out", str(self.ca_file)], check=True, capture_output=True
        )
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.ca_file, key)
        app = web.Application()
        app.router.add_post("/apis/authentication.k8s.io/v1/tokenreviews", self._review)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        self.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _review(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.append(body)
        self.reached.set()
        self.tokens.append(request.headers.get("authorization"))
        await self.gate.wait()
        status, answer = self.answer(body)
        return web.json_response(answer, status=status)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[ApiServer]:
    async with ApiServer(tmp_path).serving() as server:
        yield server


@pytest.fixture
async def reviewer(api: ApiServer) -> AsyncIterator[Reviewer]:
    opened = api.reviewer()
    yield opened
    await opened.close()


async def test_a_token_is_asked_about_once_a_minute(api: ApiServer, reviewer: Reviewer) -> None:
    token = _token()
    assert [await reviewer.review(token) for _ in range(3)] == [ROBOT] * 3
    api.token_file.write_text("own, replaced")
    api.now += 61
    assert await reviewer.review(token) == ROBOT
    assert api.tokens == ["Bearer own", "Bearer own, replaced"]
    assert api.asked[0]["spec"] == {"token": token, "audiences": ["agentfleet"]}


async def test_a_token_does_not_outlive_its_end(api: ApiServer, reviewer: Reviewer) -> None:
    token = _token(ends=20)
    assert await reviewer.review(token) == ROBOT
    api.now += 21
    assert await reviewer.review(token) is None
    assert len(api.asked) == 1


async def test_a_no_is_remembered_for_a_short_time(api: ApiServer, reviewer: Reviewer) -> None:
    api.answer = lambda _: (201, {"status": {"authenticated": False, "error": "revoked"}})
    token = _token()
    assert [await reviewer.review(token) for _ in range(3)] == [None] * 3
    assert len(api.asked) == 1
    api.answer = _yes
    api.now += 11
    assert await reviewer.review(token) == ROBOT


@pytest.mark.parametrize(
    "token",
    ["", "sk-junk", "a.b.c", "é.é.é", _token(aud="other"), _token(aud=None), _token(ends=-5), _token(exp="soon"),
     "x" * 20_000, "e30.W10.x"],
)  # fmt: skip
async def test_what_cannot_be_for_us_is_refused_without_asking(api: ApiServer, reviewer: Reviewer, token: str) -> None:
    assert await reviewer.review(token) is None
    assert api.asked == []


@pytest.mark.parametrize(
    "status",
    [
        {"authenticated": False, "user": {"username": ROBOT.subject}, "audiences": ["agentfleet"]},
        {"authenticated": "true", "user": {"username": ROBOT.subject}, "audiences": ["agentfleet"]},
        {"authenticated": True, "user": {"username": ROBOT.subject}},  # an API server that ignores audiences
        {"authenticated": True, "user": {"username": ROBOT.subject}, "audiences": ["other"]},
        {"authenticated": True, "user": {"username": "alice"}, "audiences": ["agentfleet"]},
        {"authenticated": True, "audiences": ["agentfleet"]},
    ],
)
async def test_whom_the_api_server_does_not_vouch_for(api: ApiServer, reviewer: Reviewer, status: Any) -> None:
    api.answer = lambda _: (201, {"status": status})
    assert await reviewer.review(_token()) is None


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        ((403, {}), "may not create tokenreviews"),
        ((401, {}), "may not create tokenreviews"),
        ((500, {}), "status 500"),
        ((429, {}), "status 429"),
        ((200, {}), "status 200"),
        ((201, []), "no TokenReview"),
        ((201, {"status": None}), "no TokenReview"),
    ],
)
async def test_an_api_server_that_does_not_answer_lets_nobody_in(
    api: ApiServer, reviewer: Reviewer, answer: tuple[int, Any], cause: str, caplog: pytest.LogCaptureFixture
) -> None:
    api.answer = lambda _: answer
    with pytest.raises(RunError) as raised:
        await reviewer.review(_token())
    assert (raised.value.status, raised.value.code) == (503, "token_review_unavailable")
    assert cause in caplog.text
    assert cause not in raised.value.message
    api.answer = _yes  # a failure is not remembered
    assert await reviewer.review(_token(nonce=1)) == ROBOT


async def test_many_who_show_one_token_ask_once(api: ApiServer, reviewer: Reviewer) -> None:
    token = _token()
    api.gate.clear()
    asking = [asyncio.ensure_future(reviewer.review(token)) for _ in range(20)]
    await api.reached.wait()
    asking[0].cancel()  # the one by whom it began goes away
    await asyncio.wait([asking[0]])
    api.gate.set()
    assert await asyncio.gather(*asking[1:]) == [ROBOT] * 19
    assert len(api.asked) == 1


async def test_another_certificate_than_the_clusters_is_not_believed(api: ApiServer, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    async with ApiServer(other).serving() as impostor:
        reviewer = Reviewer(
            impostor.url, audience="agentfleet", token_file=api.token_file, ca_file=api.ca_file, clock=time.time
        )
        with pytest.raises(RunError):
            await reviewer.review(_token())
        assert impostor.asked == []
        await reviewer.close()


async def test_a_certificate_that_is_replaced_is_taken_up(api: ApiServer, tmp_path: Path) -> None:
    reviewer = api.reviewer()
    right = api.ca_file.read_bytes()
    other = tmp_path / "other"
    other.mkdir()
    async with ApiServer(other).serving() as unrelated:
        api.ca_file.write_bytes(unrelated.ca_file.read_bytes())
    with pytest.raises(RunError):
        await reviewer.review(_token())
    api.ca_file.write_bytes(right)
    assert await reviewer.review(_token()) == ROBOT
    await reviewer.close()


def test_outside_of_a_pod_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ValueError, match="KUBERNETES_SERVICE_HOST"):
        Reviewer.in_cluster("agentfleet", time.time)


# A real API server


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with control_plane(("admin",)) as started:
        yield started


async def test_a_real_token_of_a_service_account(plane: ControlPlane, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(plane.tokens["admin"])
    context = ssl.create_default_context(cafile=plane.authority)
    headers = {"authorization": f"Bearer {plane.tokens['admin']}"}
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    async with httpx.AsyncClient(base_url=plane.server, verify=context, headers=headers) as admin:

        async def created(path: str, body: dict[str, Any]) -> dict[str, Any]:
            answer = await admin.post(path, json=body)
            assert answer.status_code == 201, answer.text
            found: dict[str, Any] = answer.json()
            return found

        await created(accounts, {"metadata": {"name": "robot"}})
        request = f"{accounts}/robot/token"
        lifetimes = itertools.count(600)  # else two of one second are one
        tokens = [
            (await created(request, {"spec": {"audiences": [audience], "expirationSeconds": next(lifetimes)}}))[
                "status"
            ]["token"]
            for audience in ("agentfleet", "https://bench", "agentfleet")
        ]
        unseen = tokens.pop()
        reviewer = Reviewer(
            plane.server,
            audience="agentfleet",
            token_file=tmp_path / "token",
            ca_file=plane.authority,
            clock=time.time,
        )
        caller = await reviewer.review(tokens[0])
        assert caller
        assert caller.subject == "system:serviceaccount:default:robot"
        assert "system:serviceaccounts:default" in caller.groups
        assert await reviewer.review(tokens[1]) is None
        forged = tokens[0][:-8] + ("A" * 8 if not tokens[0].endswith("A" * 8) else "B" * 8)
        assert await reviewer.review(forged) is None
        assert (await admin.delete(f"{accounts}/robot")).status_code == 200
        # one that the API server has not seen yet: it remembers those it has for ten seconds
        assert await reviewer.review(unseen) is None
        await reviewer.close()
