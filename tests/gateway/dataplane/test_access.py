"""Who may ask, and how much: API keys, tokens of an identity provider, signed identities, limits, budgets."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

from agentfleet.gateway.layout import Budget, Jwt, Limit
from e2e.cluster.shell import wait_until
from e2e.support.scripted import Server
from tests.gateway import routes
from tests.gateway.dataplane import dns, gateway, issuing

_KEYS = {"key-alice": "alice", "key-bob": "bob", "key-carol": "carol"}


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> issuing.Issuer:
    return issuing.Issuer(tmp_path_factory.mktemp("issuer"))


@pytest.fixture(scope="module")
def agent(zone: dns.Zone, port: int) -> Iterator[Server]:
    with gateway.pods(zone, "helper", 1, port, first=30) as (agent,):
        yield agent


@pytest.fixture(scope="module")
def route(zone: dns.Zone, port: int, issuer: issuing.Issuer, agent: Server) -> Iterator[gateway.Gateway]:
    helper = routes.target(0, "helper", kind="Agent", side_effects=True)
    cloud = routes.target(1, "cloud", kind="External", location="Cloud")
    policy = routes.policy(helper, cloud)
    backends = (routes.backend(helper, port=port), routes.backend(cloud, host="127.0.0.1", port=9, health=None))
    layout = routes.layout(
        policy,
        backends=backends,
        api_keys=True,
        jwt=Jwt(issuing.NAME, (issuing.AUDIENCE, "other"), "RS256", "groups", "sub"),
        budgets=(Budget("Key", "tokens", "5", "Day", "Reject"), Budget("Group", "usd", "5", "Day", "LocalOnly")),
    )
    files = {f"run/jwt-{number}.pem": issuer.public for number in range(4)}
    with gateway.running(
        policy, layout, zone, keys=_KEYS, groups={"alice": "red,blue"}, credentials={}, files=files
    ) as running:
        running.wait_for(pool_t0=1)
        yield running


def _bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def _ask(route: gateway.Gateway, **headers: str) -> gateway.httpx.Response:
    return route.ask("agent/helper", headers={name.replace("_", "-"): value for name, value in headers.items()})


def _received(response: gateway.httpx.Response) -> dict[str, str]:
    """The headers with which this very request came to its target."""
    return dict(response.json()["scripted"]["headers"])


def test_a_key_tells_who_it_is(route: gateway.Gateway) -> None:
    response = _ask(route, **_bearer("key-alice"))
    line = route.logged(response)
    assert (line["caller"], line["groups"], line["status"]) == ("alice", "red,blue", 200)
    assert "authorization" not in _received(response)


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer nobody"}, {"authorization": "Basic a2V5LWFsaWNl"}])
def test_without_a_key_nobody_gets_in(route: gateway.Gateway, headers: dict[str, str]) -> None:
    for response in (_ask(route, **headers), route.client.get("/v1/models", headers=headers)):
        assert response.status_code == 401
        assert response.json()["error"]["code"] == "invalid_api_key"
        assert response.headers["www-authenticate"] == "Bearer"


def test_a_key_that_is_added_counts_at_once(route: gateway.Gateway) -> None:
    digest = hashlib.sha256(b"key-new").hexdigest()
    assert _ask(route, **_bearer("key-new")).status_code == 401
    route.command(f"add map {route.folder}/run/keys.map {digest} newcomer")
    assert route.logged(_ask(route, **_bearer("key-new")))["caller"] == "newcomer"


def test_a_token_tells_who_it_is(route: gateway.Gateway, issuer: issuing.Issuer) -> None:
    line = route.logged(_ask(route, **_bearer(issuer.token())))
    assert (line["caller"], line["groups"], line["status"]) == ("jwt:dora", "red", 200)


@pytest.mark.parametrize("algorithm", ["ES256", "RS512"])
def test_tokens_of_other_algorithms(zone: dns.Zone, port: int, agent: Server, tmp_path: Path, algorithm: str) -> None:
    ours, theirs = (tmp_path / name for name in ("ours", "theirs"))
    ours.mkdir()
    theirs.mkdir()
    issuer = issuing.Issuer(ours, algorithm)
    policy = routes.policy(routes.target(0, "helper"))
    jwt = Jwt(issuing.NAME, (issuing.AUDIENCE,), algorithm, "groups", "sub")
    layout = routes.layout(policy, backends=(routes.backend(policy.targets[0], port=port),), jwt=jwt)
    files = {f"run/jwt-{number}.pem": issuer.public for number in range(4)}
    with gateway.running(policy, layout, zone, files=files) as running:
        running.wait_for(pool_t0=1)
        line = running.logged(running.ask("auto", headers=_bearer(issuer.token())))
        assert (line["caller"], line["groups"], line["status"]) == ("jwt:dora", "red", 200)
        for token, code in (
            (issuing.Issuer(theirs, algorithm).token(), "token_signature"),
            (issuer.token(header={"alg": "RS256"}), "token_algorithm"),
        ):
            refused = running.ask("auto", headers=_bearer(token))
            assert (refused.status_code, refused.json()["error"]["code"]) == (401, code)


def test_a_token_for_several_audiences(route: gateway.Gateway, issuer: issuing.Issuer) -> None:
    assert _ask(route, **_bearer(issuer.token(aud=["else", "other"]))).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": 1, "code": "token_expired"},
        {"exp": None, "code": "token_expired"},
        {"exp": "never", "code": "token_expired"},
        {"nbf": 4_000_000_000, "code": "token_early"},
        {"iss": "https://idp.example.com", "code": "token_issuer"},
        {"iss": None, "code": "token_issuer"},
        {"aud": "another", "code": "token_audience"},
        {"aud": None, "code": "token_audience"},
        {"aud": ["an", "other "], "code": "token_audience"},
        {"sub": None, "code": "token_subject"},
        {"sub": "", "code": "token_subject"},
        {"header": {"alg": "none"}, "code": "token_algorithm"},
        {"header": {"alg": "HS256"}, "code": "token_algorithm"},
        {"header": {"alg": "RS512"}, "code": "token_algorithm"},
    ],
)
def test_tokens_that_do_not_count(route: gateway.Gateway, issuer: issuing.Issuer, changes: dict[str, Any]) -> None:
    code = changes["code"]
    refused = _ask(route, **_bearer(issuer.token(**{name: changes[name] for name in changes if name != "code"})))
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, code)
    assert route.logged(refused)["reason"] == code


def test_a_token_of_another_issuer(route: gateway.Gateway, tmp_path: Path) -> None:
    refused = _ask(route, **_bearer(issuing.Issuer(tmp_path).token()))
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "token_signature")


@pytest.mark.parametrize(
    ("claim", "off", "status"), [("nbf", 30, 200), ("nbf", 120, 401), ("exp", -30, 200), ("exp", -120, 401)]
)
def test_clocks_may_differ(route: gateway.Gateway, issuer: issuing.Issuer, claim: str, off: int, status: int) -> None:
    token = issuer.token(**{claim: int(time.time()) + off})
    assert _ask(route, **_bearer(token)).status_code == status


def test_nobody_takes_the_name_of_a_client_with_a_key(route: gateway.Gateway, issuer: issuing.Issuer) -> None:
    budgets = f"{route.folder}/run/budgets.map"
    route.command(f"add map {budgets} key:alice spent")
    assert _ask(route, **_bearer("key-alice")).status_code == 429
    assert route.logged(_ask(route, **_bearer(issuer.token(sub="alice"))))["caller"] == "jwt:alice"
    route.command(f"add map {budgets} key:jwt%3Aalice spent")
    assert _ask(route, **_bearer(issuer.token(sub="alice"))).status_code == 429
    route.command(f"clear map {budgets}")


def test_agents_get_a_signed_identity(route: gateway.Gateway) -> None:
    received = _received(_ask(route, **_bearer("key-alice")))
    claims, signature = received["x-agentfleet-identity"].split(".")
    assert signature == hmac.new(gateway.IDENTITY_KEY, claims.encode(), hashlib.sha256).hexdigest()
    said = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    assert {name: said[name] for name in ("sub", "groups", "mode")} == {
        "sub": "alice",
        "groups": ["red", "blue"],
        "mode": "Standard",
    }
    assert time.time() < said["exp"] < time.time() + 1000


def test_a_caller_without_groups_has_none_in_its_identity(route: gateway.Gateway) -> None:
    received = _received(_ask(route, **_bearer("key-bob")))
    claims = received["x-agentfleet-identity"].split(".")[0]
    assert json.loads(base64.urlsafe_b64decode(claims + "=="))["groups"] == []


def test_an_agent_that_calls_is_known_by_its_identity(route: gateway.Gateway) -> None:
    line = route.logged(_ask(route, **gateway.identity()))
    assert (line["caller"], line["groups"], line["mode"], line["status"]) == ("erin", "red", "Private", 200)
    assert route.ask("target/cloud", headers=gateway.identity(mode="Offline")).status_code == 403


@pytest.mark.parametrize("changes", [{"key": b"another"}, {"exp": 1}, {"mode": "Open"}, {"sub": None}])
def test_identities_that_do_not_count(route: gateway.Gateway, changes: dict[str, Any]) -> None:
    response = _ask(route, **gateway.identity(**changes), **_bearer("key-alice"))
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "invalid_identity"


def test_while_the_key_is_replaced_another_one_holds_as_well(route: gateway.Gateway) -> None:
    former, identities = b"the key before", f"{route.folder}/run/identity.map"
    assert _ask(route, **gateway.identity(former)).status_code == 401
    route.command(f"add map {identities} previous {base64.b64encode(former).decode()}")
    try:
        assert _ask(route, **gateway.identity(former)).status_code == 200
        assert _ask(route, **gateway.identity()).status_code == 200
        assert _ask(route, **gateway.identity(b"another")).status_code == 401
    finally:
        route.command(f"del map {identities} previous")
    assert _ask(route, **gateway.identity(former)).status_code == 401


def test_a_spent_budget(route: gateway.Gateway) -> None:
    budgets = f"{route.folder}/run/budgets.map"
    route.command(f"add map {budgets} key:carol spent,local")
    response = _ask(route, **_bearer("key-carol"))
    assert response.status_code == 429
    assert response.json()["error"]["code"] == "insufficient_quota"
    assert int(response.headers["retry-after"]) > 0
    route.command(f"add map {budgets} group:blue local")
    assert route.ask("target/cloud", headers=_bearer("key-alice")).status_code == 403
    assert route.logged(_ask(route, **_bearer("key-alice")))["local"] == 1
    route.command(f"clear map {budgets}")
    assert _ask(route, **_bearer("key-carol")).status_code == 200


@contextmanager
def _with_limits(zone: dns.Zone, port: int, *limits: Limit) -> Iterator[gateway.Gateway]:
    policy = routes.policy(routes.target(0, "helper"))
    backends = (routes.backend(policy.targets[0], port=port),)
    layout = routes.layout(policy, backends=backends, api_keys=True, limits=limits)
    keys = {f"key-{name}": name for name in ("one", "two", "three", "four", "five", "six")}
    groups = {"one": "g1,g2", "two": "g2"}
    with gateway.running(policy, layout, zone, keys=keys, groups=groups) as running:
        running.wait_for(pool_t0=1)
        yield running


@pytest.fixture(scope="module")
def limited(zone: dns.Zone, port: int, agent: Server) -> Iterator[gateway.Gateway]:
    limits = (
        Limit("Key", "requests", 5, 3600),
        Limit("Group", "requests", 8, 3600),
        Limit("Key", "tokens", 500, 3600),
        Limit("Route", "requests", 10_000, 3600),
    )
    with _with_limits(zone, port, *limits) as running:
        yield running


def _statuses(route: gateway.Gateway, key: str, times: int, **more: Any) -> list[int]:
    return [route.ask("auto", headers=_bearer(key), **more).status_code for _ in range(times)]


def test_requests_of_a_key_and_of_a_group(limited: gateway.Gateway) -> None:
    assert _statuses(limited, "key-one", 7) == [200] * 5 + [429] * 2
    assert _statuses(limited, "key-two", 4) == [200] * 3 + [429]
    refused = limited.ask("auto", headers=_bearer("key-two"))
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert int(refused.headers["retry-after"]) > 0


def test_tokens_are_corrected_by_the_answer(limited: gateway.Gateway) -> None:
    # 300 tokens of answer are more than the estimate, and after them there is room for one of 100, not for a third.
    assert _statuses(limited, "key-three", 1, max_tokens=300) == [200]
    assert _statuses(limited, "key-three", 1, max_tokens=200) == [200]
    assert _statuses(limited, "key-three", 1, max_tokens=1) == [429]


def test_requests_of_the_whole_route(zone: dns.Zone, port: int, agent: Server) -> None:
    agent.forget()
    with _with_limits(zone, port, Limit("Route", "requests", 5, 60)) as route:
        statuses = [_statuses(route, f"key-{name}", 2) for name in ("one", "two", "three", "four")]
        assert statuses == [[200, 200], [200, 200], [200, 429], [429, 429]]
        refused = route.ask("auto", headers=_bearer("key-five"))
        assert (refused.json()["error"]["code"], refused.headers["retry-after"]) == ("rate_limit_exceeded", "6")
    assert agent.received == 5


@pytest.mark.parametrize(("scope", "stranger"), [("Route", 429), ("Group", 200)])
def test_tokens_that_several_keys_share(
    zone: dns.Zone, port: int, agent: Server, scope: Literal["Route", "Group"], stranger: int
) -> None:
    with _with_limits(zone, port, Limit(scope, "tokens", 500, 3600)) as route:
        assert _statuses(route, "key-two", 1, max_tokens=600) == [200]
        assert _statuses(route, "key-one", 1, max_tokens=1) == [429]
        assert _statuses(route, "key-three", 1, max_tokens=1) == [stranger]


def test_errors_cost_no_tokens(limited: gateway.Gateway, agent: Server) -> None:
    agent.play("status=400")
    assert _statuses(limited, "key-four", 2, content="x" * 3000) == [400, 400]
    agent.play("")
    assert _statuses(limited, "key-four", 1) == [200]


def test_tokens_of_streams(limited: gateway.Gateway) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}}
    assert _statuses(limited, "key-five", 1, max_tokens=600, **options) == [200]

    def is_refused() -> bool:
        return limited.ask("auto", headers=_bearer("key-five")).status_code == 429

    wait_until(is_refused, "the stream's tokens count", timeout=3, interval=0.3)
