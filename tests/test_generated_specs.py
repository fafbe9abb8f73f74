"""Whatever spec pydantic accepts, planning answers it with a plan or with an error that a user can read."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from pydantic import ValidationError

from agentfleet.errors import AgentfleetError, InvalidSpec
from agentfleet.objects import KINDS, Manifest
from agentfleet.planning.health import assess
from agentfleet.planning.observed import Observed
from agentfleet.planning.plan import Plan, plan
from agentfleet.planning.preparation import Preparation, prepare
from agentfleet.resources.conditions import HINTS
from agentfleet.resources.modelserver import ModelServer
from agentfleet.resources.modelserver_status import ModelServerStatus
from agentfleet.resources.profile import Profile
from agentfleet.settings import Settings
from tests import builders
from tests.specs import garbage, specs

_SETTINGS = Settings(
    host_path_root="/var/lib/agentfleet",
    sidecar_image="agentfleet/operator:test",
    profiles={"cpu": Profile.model_validate({"engine": "LlamaCpp", "gpu": {"count": 0}})},
)
_NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
_patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


def _parsed(spec: Any) -> ModelServer | None:
    manifest: Manifest = builders.manifest() | {"spec": spec}
    try:
        return ModelServer.from_manifest(manifest)
    except ValidationError:
        return None


def _prepared(server: ModelServer) -> Preparation | None:
    try:
        return prepare(server, ModelServerStatus(), Observed(served=frozenset(KINDS)), _SETTINGS, _NOW)
    except InvalidSpec as error:
        assert error.reason in HINTS
        assert error.message
        return None


def _planned(server: ModelServer) -> Plan | None:
    ready = _prepared(server)
    if ready is None:
        return None
    try:
        return plan(ready.server, Observed(served=frozenset(KINDS)), _SETTINGS)
    except InvalidSpec as error:
        assert error.reason in HINTS
        assert error.message
        return None
    except AgentfleetError:
        return None


@given(specs())
@settings(_patient, max_examples=400)
def test_a_legal_spec_is_planned_or_refused_in_words(spec: dict[str, Any]) -> None:
    server = _parsed(spec)
    if server is not None:
        _planned(server)


@given(garbage())
@settings(_patient, max_examples=200)
def test_garbage_is_refused_or_planned_but_never_a_bug(spec: Any) -> None:
    server = _parsed(spec)
    if server is not None:
        _planned(server)


@given(specs())
@settings(_patient, max_examples=100)
def test_planning_twice_gives_the_same(spec: dict[str, Any]) -> None:
    server = _parsed(spec)
    if server is not None:
        assert _planned(server) == _planned(server)


@given(specs())
@settings(_patient, max_examples=100)
def test_a_planned_spec_has_a_status(spec: dict[str, Any]) -> None:
    server = _parsed(spec)
    wanted = _planned(server) if server is not None else None
    if server is not None and wanted is not None:
        found = assess(server, ModelServerStatus(), Observed(), wanted, _SETTINGS, _NOW).status
        assert found.observed_generation == server.generation
        assert {condition.type for condition in found.conditions} >= {"Ready"}


def test_most_generated_specs_are_of_use() -> None:
    """The strategy must not degenerate into specs that nobody parses."""
    planned = []

    @given(specs())
    @settings(_patient, max_examples=60, database=None, derandomize=True)
    def collect(spec: dict[str, Any]) -> None:
        server = _parsed(spec)
        planned.append(server is not None and _planned(server) is not None)

    collect()
    if sum(planned) < len(planned) // 4:
        pytest.fail(f"only {sum(planned)} of {len(planned)} generated specs can be planned")
