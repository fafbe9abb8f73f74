"""Settings: read once, and refused by name of the variable."""

import pytest

from agentfleet.errors import InvalidSpec
from agentfleet.settings import Settings


def test_lists_and_durations_are_read_as_people_write_them() -> None:
    settings = Settings.from_environment(
        {
            "AGENTFLEET_WATCH_NAMESPACES": "a, b,",
            "AGENTFLEET_DNS_DELAY": "1m30s",
            "AGENTFLEET_WORKERS": "2",
            "HOME": "/",
        }
    )
    assert settings.watch_namespaces == ("a", "b")
    assert settings.dns_delay == 90
    assert settings.workers == 2


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"AGENTFLEET_WORKERS": "many"}, "AGENTFLEET_WORKERS='many'"),
        ({"AGENTFLEET_DNS_DELAY": "soon"}, "AGENTFLEET_DNS_DELAY='soon'.*write for example 500ms, 30s"),
        (
            {"AGENTFLEET_DENIED_CIDRS": "10.0.0.0/8,10.0.0.0/33"},
            "AGENTFLEET_DENIED_CIDRS=.*'10.0.0.0/33' does not appear",
        ),
        ({"AGENTFLEET_PROFILES": '{"l4": {"gpus": 1}}'}, "AGENTFLEET_PROFILES=.*Extra inputs"),
        ({"AGENTFLEET_PROFILES": "{"}, "AGENTFLEET_PROFILES="),
        ({"AGENTFLEET_WORKER": "2"}, "unknown environment variable AGENTFLEET_WORKER"),
        ({"AGENTFLEET_RENEW_DEADLINE": "20s"}, r"LEASE_DURATION \(15 s\) must be longer than RENEW_DEADLINE \(20 s\)"),
    ],
)
def test_what_cannot_be_is_refused_by_name(environment: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidSpec, match=said):
        Settings.from_environment(environment)
