"""What a gateway tells where nobody has asked for more: nothing of contents, and nothing of its decisions."""

import json
from collections.abc import Iterator

import pytest

from tests.gateway import routes
from tests.gateway.dataplane import dns, gateway

_TEXT = "the quick brown fox"


@pytest.fixture(scope="module")
def route(zone: dns.Zone, port: int) -> Iterator[gateway.Gateway]:
    """With `explain.header: false`, and without `audit.content`."""
    target = routes.target(0, "quiet")
    policy = routes.policy(target)
    layout = routes.layout(policy, backends=(routes.backend(target, port=port),), explain=False)
    with gateway.pods(zone, "quiet", 1, port, first=150), gateway.running(policy, layout, zone) as running:
        running.wait_for(pool_t0=1)
        yield running


def test_the_audit_line_has_no_content(route: gateway.Gateway) -> None:
    line = route.logged(route.ask("auto", _TEXT))
    assert (line["target"], line["status"], line["sensitivity"]) == ("quiet", 200, "Public")
    assert _TEXT not in json.dumps(line)
    assert "content" not in line


def test_no_answer_has_the_decision(route: gateway.Gateway) -> None:
    for model, status in (("auto", 200), ("nobody", 404)):
        response = route.ask(model)
        assert response.status_code == status
        assert response.headers["x-request-id"]
        assert "x-agentroute-decision" not in response.headers
