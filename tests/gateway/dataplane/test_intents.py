"""Which requests the decider is asked about, and what conversations that begin alike know of each other."""

import httpx
import pytest

from tests.gateway.dataplane import gateway
from tests.gateway.dataplane.cloudy import INTENT_MS, Route, new


@pytest.fixture
def route(cloudy_route: Route) -> Route:
    return cloudy_route


def _say(route: Route, *texts: str, **more: str) -> str:
    """A conversation of these texts of its user, with answers between; gives the intent that was found."""
    messages = [{"role": role, "content": text} for text in texts for role in ("user", "assistant")][:-1]
    response = route.gateway.client.post(gateway.CHAT, json={"model": "auto", "messages": messages, **more})
    return _intent(response)


def _intent(response: httpx.Response) -> str:
    return response.headers["x-agentroute-decision"].partition("intent=")[2].partition(";")[0]


def test_that_there_is_no_intent_is_known_too(route: Route) -> None:
    text = new("good morning")
    assert [_say(route, text) for _ in range(3)] == ["", "", ""]
    assert len(route.decider.asked) == 1


def test_where_the_decider_fails_it_is_asked_again(route: Route) -> None:
    text = new("good morning")
    route.decider.delay = 2 * INTENT_MS / 1000
    assert _say(route, text) == ""
    route.decider.delay, route.decider.intent = 0.0, "talk"
    assert _say(route, text) == "talk"


def test_two_who_begin_alike(route: Route) -> None:
    """What one goes on with must not decide for the other."""
    hello = new("hi")
    route.decider.intent = "talk"
    assert _say(route, hello) == "talk"
    route.decider.intent = "code"
    assert _say(route, hello, "fix my python") == "code"
    assert _say(route, hello) == "talk"
    route.decider.intent = ""
    assert _say(route, hello, "fix my python", "and now?") == "code"
    assert _say(route, hello, "how are you?") == "talk", "of an unclear second text the first one tells"


def test_users_of_one_application(route: Route) -> None:
    hello = new("hi")
    route.decider.intent = "talk"
    assert _say(route, hello, user="one") == "talk"
    route.decider.intent = "code"
    assert _say(route, hello, user="two") == "code"
