"""The model's id is replaced in the body that a target gets, and nothing else is."""

from collections.abc import Iterator

import pytest

from agentfleet.gateway.types import Policy, Target
from e2e.support import haproxy
from tests.gateway.lua.gateway import BUFFER, Answer, Gateway, running

HEADERS = {"x-test-endpoint": "chat/completions"}
POLICY = Policy("team", "r", ("auto",), (Target("t0", "small", "ModelServer", "t0", ("model/small", "t0")),))


@pytest.fixture(scope="module", params=["3.2", "3.4"])
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Its one target wants the id t0. With x-test-hop it does not know where the model is, as in a hop."""
    try:
        haproxy.command(request.param)
    except haproxy.Missing as error:
        if request.param == "3.2":
            raise
        pytest.skip(str(error))
    rules = "  http-request unset-var(txn.model_at) if { req.hdr(x-test-hop) -m found }\n"
    with running(tmp_path_factory.mktemp("rewrite"), POLICY, rules=rules, version=request.param) as found:
        yield found


def sent_on(gateway: Gateway, body: object, **headers: str) -> Answer:
    """What the target has got, and its Content-Length as x-length."""
    dashed = {name.replace("_", "-"): value for name, value in headers.items()}
    return gateway.post("/v1/chat/completions", body, {**HEADERS, **dashed})


@pytest.mark.parametrize("hop", [{}, {"x_test_hop": "1"}], ids=["entry", "hop"])
@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b'{"model":"auto"}', b'{"model":"t0"}'),
        (b'{"model":"t0"}', b'{"model":"t0"}'),
        (b'{ "x": {"model": "b"}, "model" :\n"auto" , "y":1}', b'{ "x": {"model": "b"}, "model" :\n"t0" , "y":1}'),
        (b'{"\\u006dodel":"\\u0061uto"}', b'{"\\u006dodel":"t0"}'),
        ('{"a":"é😀\\"","model":"auto"}'.encode(), '{"a":"é😀\\"","model":"t0"}'.encode()),
    ],
)  # fmt: skip
def test_bodies(gateway: Gateway, hop: dict[str, str], body: bytes, wanted: bytes) -> None:
    answer = sent_on(gateway, body, **hop)
    assert answer.body == wanted
    assert answer.headers["x-length"] == str(len(wanted))


def test_a_model_that_only_the_header_names(gateway: Gateway) -> None:
    assert sent_on(gateway, b'{"model":"x"}', x_gateway_model_name="auto").body == b'{"model":"t0"}'
    assert sent_on(gateway, b'{"model":7}', x_gateway_model_name="auto").body == b'{"model":"t0"}'
    assert sent_on(gateway, b'{"a":1}', x_gateway_model_name="auto").body == b'{"a":1}'


def test_chunks(gateway: Gateway) -> None:
    chunks = [b'{"model":', b'"auto"', b',"x":"', b"y" * 100_000, b'"}']
    answer = sent_on(gateway, chunks, transfer_encoding="chunked")
    assert answer.body == b'{"model":"t0","x":"' + b"y" * 100_000 + b'"}'
    assert answer.headers.get("x-length", "") == ""


@pytest.mark.parametrize("size", [BUFFER - 100, BUFFER, BUFFER + 1, 3 * BUFFER, 10_000_000])
def test_bodies_over_the_buffer(gateway: Gateway, size: int) -> None:
    """The echo has a buffer too, so what is compared is how it begins, and its length."""
    body = b'{"model":"auto","x":"' + b"y" * size + b'"}'
    answer = sent_on(gateway, body)
    assert answer.body.startswith(b'{"model":"t0","x":"yyy')
    assert answer.headers["x-length"] == str(len(body) - 2)


def test_a_body_over_the_buffer_whose_model_comes_late(gateway: Gateway) -> None:
    body = b'{"x":"' + b"y" * 2 * BUFFER + b'","model":"auto"}'
    answer = sent_on(gateway, body, x_gateway_model_name="auto")
    assert answer.body.startswith(b'{"x":"yyy')
    assert answer.headers["x-length"] == str(len(body))


def test_requests_on_one_connection_do_not_mix(gateway: Gateway) -> None:
    for number in range(50):
        body = b'{"n":%d,"model":"auto"}' % number
        assert sent_on(gateway, body).body == body.replace(b"auto", b"t0")
