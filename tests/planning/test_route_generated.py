"""Whatever spec of an AgentRoute pydantic accepts, it becomes gateways, or an error that a user can read."""

from functools import cache
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from agentfleet.errors import InvalidSpec, NotReady
from agentfleet.gateway.types import Policy
from agentfleet.objects import Key
from agentfleet.planning.route_targets import references
from agentfleet.resources.agentroute import AgentRoute
from agentfleet.resources.conditions import HINTS
from agentfleet.resources.crd import DEFINITIONS, crd
from tests.builders import NAMESPACE
from tests.planning.route_fleet import RouteFleet, node
from tests.routes import SETTINGS, Held, cloud, route_manifest, to
from tests.specs import JsonSchema, of_schema

HELD = Held().server().server("small").agent("helper", {"modelServerRef": {"name": "phi"}})
TARGETS = (to("phi"), to("small"), to("gone"), cloud(), {"name": "helper", "agentRef": {"name": "helper"}})


@cache
def fields() -> dict[str, JsonSchema]:
    """The CRD's schema of each field of spec."""
    definition = next(definition for definition in DEFINITIONS if definition.kind == "AgentRoute")
    schema = crd(definition)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    found: dict[str, JsonSchema] = schema["properties"]["spec"]["properties"]
    return found


@st.composite
def specs(draw: st.DrawFn) -> dict[str, Any]:
    """Known targets and odd ones, and a few other fields."""
    own = draw(st.lists(st.sampled_from(TARGETS), min_size=1, max_size=5, unique_by=lambda target: str(target["name"])))
    odd = draw(st.lists(of_schema(fields()["targets"]["items"]), max_size=1))
    names = sorted(set(fields()) - {"targets"})
    chosen = draw(st.lists(st.sampled_from(names), max_size=4, unique=True))
    return {"targets": [*own, *odd]} | {name: draw(of_schema(fields()[name])) for name in chosen}


@given(specs())
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
def test_every_spec_becomes_gateways_or_a_readable_error(spec: dict[str, Any]) -> None:
    try:
        asked = AgentRoute.from_manifest(route_manifest() | {"spec": spec})
    except ValidationError:
        return
    fleet = RouteFleet(HELD)
    fleet.nodes = [node("n1", "a"), node("n2", "B_c")]
    assert Key("AgentRoute", NAMESPACE, asked.name) not in references(asked, HELD, SETTINGS)
    try:
        plan = fleet.step(asked)
    except (InvalidSpec, NotReady) as error:
        assert error.reason in HINTS
        assert error.message
        return
    assert {c.reason for c in fleet.status.conditions} <= set(HINTS)
    if plan.revision is None:
        return
    assert fleet.step(asked).apply == plan.apply
    config = fleet.children[Key("ConfigMap", NAMESPACE, f"{asked.name}-route-{plan.revision}")]["data"]
    policy = Policy.from_json(config["route.json"])
    assert {target.id: target.name for target in policy.targets}.items() <= {
        f"t{place}": target.name for place, target in enumerate(asked.spec.targets)
    }.items()
    assert all(target.location != "Cloud" for target in policy.targets) or asked.spec.auth is not None
    assert all(len(key.name) <= 63 for key in fleet.children if key.kind == "Service")
