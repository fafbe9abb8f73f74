"""The scripted server, asked by the clients that the tests of routes use: it does what its script says, and tells."""

from __future__ import annotations

import ast
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import DefaultHttpxClient, OpenAI

from e2e.cluster.shell import wait_until
from e2e.scenarios import scripted as in_pods
from e2e.support import scripted
from e2e.support.answers import Reply
from e2e.support.script import Script
from e2e.traffic import Rate, traffic

MESSAGES: list[Any] = [{"role": "user", "content": "hello there"}]
TOOLS: list[Any] = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]
CHAT = {"model": "m", "messages": MESSAGES}


@pytest.fixture
def server() -> Iterator[scripted.Server]:
    with scripted.serving("one", models=("a", "b")) as server:
        yield server


@pytest.fixture
def openai(server: scripted.Server) -> Iterator[OpenAI]:
    with (
        DefaultHttpxClient(trust_env=False) as http,
        OpenAI(base_url=f"http://{server.address}/v1", api_key="key", max_retries=0, http_client=http) as client,
    ):
        yield client


@pytest.fixture
def post(server: scripted.Server) -> Iterator[Callable[..., httpx.Response]]:
    """Ask for a chat; a script can be given as header."""
    with httpx.Client(base_url=f"http://{server.address}", trust_env=False, timeout=10) as http:

        def ask(script: str = "", path: str = "/v1/chat/completions", **more: Any) -> httpx.Response:
            return http.post(path, json=CHAT | more, headers={"x-script": script} if script else {})

        yield ask


def test_a_chat_whole_and_streamed(openai: OpenAI) -> None:
    whole = openai.chat.completions.create(model="m", messages=MESSAGES, max_tokens=3)
    assert whole.choices[0].message.content == "w0 w1 w2 "
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 3

    chunks = list(
        openai.chat.completions.create(
            model="m", messages=MESSAGES, max_tokens=3, stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "w0 w1 w2 "
    assert [chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == [3]
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "length"


def test_a_tool_is_called_where_the_script_says_so(openai: OpenAI) -> None:
    said = {"extra_headers": {"x-script": "tool=1"}, "messages": MESSAGES, "tools": TOOLS, "model": "m"}
    whole = openai.chat.completions.create(**said)
    assert [call.function.name for call in whole.choices[0].message.tool_calls or []] == ["look_up"]
    chunks = list(openai.chat.completions.create(**said, stream=True))
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    assert [(call.index, call.function.name, call.function.arguments) for call in calls] == [(0, "look_up", "{}")]
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_what_a_tool_has_answered_can_be_said(server: scripted.Server, openai: OpenAI) -> None:
    server.replies.extend([Reply(text="{result}?"), Reply(text="It says {result}.")])
    messages = [*MESSAGES, {"role": "tool", "tool_call_id": "call-1", "content": "T-1"}]
    said = [
        openai.chat.completions.create(model="m", messages=each).choices[0].message.content
        for each in (MESSAGES, messages)
    ]
    assert said == ["{result}?", "It says T-1."]


def test_completions_responses_embeddings_and_models(openai: OpenAI) -> None:
    assert openai.completions.create(model="m", prompt="x", max_tokens=2).choices[0].text == "w0 w1 "
    texts = [chunk.choices[0].text for chunk in openai.completions.create(model="m", prompt="x", stream=True)]
    assert "".join(texts) == "w0 w1 w2 w3 "

    assert openai.responses.create(model="m", input="x", max_output_tokens=2).output_text == "w0 w1 "
    events = list(openai.responses.create(model="m", input="x", stream=True))
    assert [event.type for event in events][:: len(events) - 1] == ["response.created", "response.completed"]
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == "w0 w1 w2 w3 "

    assert [model.id for model in openai.models.list()] == ["a", "b"]


@pytest.mark.parametrize("encoding", [{"encoding_format": "float"}, {}], ids=["floats", "base64, as the client asks"])
def test_texts_with_words_in_common_lie_close_together(openai: OpenAI, encoding: dict[str, Any]) -> None:
    texts = ["refund my order", "refund this order please", "compile a kernel module"]
    answer = openai.embeddings.create(model="m", input=texts, **encoding)
    near, other, far = (each.embedding for each in answer.data)
    assert sum(a * b for a, b in zip(near, other, strict=True)) > sum(a * b for a, b in zip(near, far, strict=True))


def test_it_tells_who_answered_and_what_arrived(server: scripted.Server, post: Callable[..., httpx.Response]) -> None:
    answer = post("chunks=1", path="/v1/completions", model="kleines-modell")
    assert answer.headers["x-served-by"] == "one"
    about = answer.json()["scripted"]
    assert (about["name"], about["model"], about["path"]) == ("one", "kleines-modell", "/v1/completions")
    assert about["headers"]["x-script"] == "chunks=1"
    (request,) = server.requests
    assert request.sha256 == about["sha256"]
    assert request.size == len(answer.request.content)
    assert server.body == answer.request.content == httpx.get(f"http://{server.address}/body", trust_env=False).content
    assert httpx.get(f"http://{server.address}/requests", trust_env=False).json()[0]["model"] == "kleines-modell"


def test_scripts_by_path_header_and_put(server: scripted.Server, post: Callable[..., httpx.Response]) -> None:
    assert post(path="/status=529/v1/chat/completions").status_code == 529
    refused = post("status=429,retry_after=7")
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "7")
    assert refused.json()["error"]["type"] == "rate_limit_error"

    put = httpx.put(f"http://{server.address}/script", content="status=503,times=2", trust_env=False)
    assert put.status_code == 204
    assert [post().status_code for _ in range(3)] == [503, 503, 200]

    server.play("status=500,health=503")
    assert post("status=200").status_code == 200  # the header is the stronger one
    assert httpx.get(f"http://{server.address}/health", trust_env=False).status_code == 503
    server.forget()
    assert post().status_code == 500
    assert server.stats["answered"] == {"500": 1}


@pytest.mark.parametrize(
    ("script", "why"),
    [("colour=red", "'colour=red' is not of a script: there are status, "), ("delay=soon", "such as delay=1")],
)
def test_a_script_that_makes_no_sense_is_refused(
    server: scripted.Server, post: Callable[..., httpx.Response], script: str, why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        Script().changed(script)
    refused = post(script)
    assert refused.status_code == 400
    assert why in refused.json()["error"]["message"]
    assert httpx.put(f"http://{server.address}/script", content=script, trust_env=False).status_code == 400


def test_a_body_that_is_none_is_refused(server: scripted.Server) -> None:
    url = f"http://{server.address}/v1/chat/completions"
    for body in (b"", b'{"model": ', b"[]", b"{}", b'{"model": 1}', b"\xff\xfe"):
        assert httpx.post(url, content=body, trust_env=False).status_code == 400


def test_it_takes_its_time(post: Callable[..., httpx.Response]) -> None:
    began = time.monotonic()
    post("delay=0.2,gap=0.05,chunks=3")
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize("stream", [True, False])
def test_it_closes_the_connection(post: Callable[..., httpx.Response], stream: bool) -> None:
    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        post("close_after=0", stream=stream)
    with pytest.raises(httpx.RemoteProtocolError, match=r"incomplete|without sending complete"):
        post("close_after=2", stream=stream)


def test_those_at_once_and_those_who_left_are_counted(
    server: scripted.Server, post: Callable[..., httpx.Response]
) -> None:
    with ThreadPoolExecutor(5) as pool, server.holding():
        asked = [pool.submit(post) for _ in range(5)]
        wait_until(lambda: server.in_flight == 5, "all are there", timeout=10)
        assert server.stats["answered"] == {}
    assert {each.result().status_code for each in asked} == {200}
    assert (server.stats["peak"], server.stats["in_flight"]) == (5, 0)

    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"http://{server.address}/delay=60/v1/chat/completions", json=CHAT, timeout=1, trust_env=False)
    wait_until(lambda: server.in_flight == 0, "the place of who left is free", timeout=5)
    assert server.stats["abandoned"] == 1


def test_traffic_takes_it_for_an_engine(server: scripted.Server) -> None:
    with traffic(server.address, "m", Rate(streams=10, shorts=10)) as seen:
        wait_until(lambda: seen.whole("stream") > 3 and seen.whole("short") > 3, "traffic is answered", timeout=10)
    seen.assert_nothing_lost()


def test_it_speaks_https(tmp_path: Path) -> None:
    key, pem = tmp_path / "key.pem", tmp_path / "both.pem"
    request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    about = ["-days", "1", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*request, *about, "-keyout", key, "-out", pem], check=True, capture_output=True)
    pem.write_text(pem.read_text() + key.read_text())
    trust = ssl.create_default_context(cafile=pem)
    with scripted.serving("cloud", certificate=pem) as server:
        assert httpx.get(f"https://{server.address}/health", verify=trust, trust_env=False).status_code == 200


def test_pods_get_all_the_files_that_it_is_made_of() -> None:
    config_map, *_ = in_pods.manifests("cloud")
    imported = {
        f"{node.module.rpartition('.')[2] if node.module != 'e2e.support' else name.name}.py"
        for text in config_map["data"].values()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("e2e")
        for name in node.names
    }
    assert imported | {"scripted.py"} == set(config_map["data"])
