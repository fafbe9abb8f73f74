"""Replicas of an Agent by the real scaling loop and the real controller, over what its pods and gateways say."""

import copy
from typing import Any

import pytest

from agentfleet.autoscale.samples import DemandSample, EngineSample
from agentfleet.objects import DELETION_COST, Key
from tests.builders import NAMESPACE
from tests.reconcilers.agents import AGENT, DEPLOYMENT, AgentWorld

SCALED = {"maxReplicas": 4, "targetConcurrency": 5, "stabilization": {"in": "20s"}}


class Scaled(AgentWorld):
    """An Agent whose pods say what tests want."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.arrived = 0.0

    async def begin(self, **scaling: Any) -> None:
        self.agent(scaling=SCALED | scaling)
        await self.settle()

    def pods(self) -> list[str]:
        return sorted(key.name for key in self.cluster.objects if key.kind == "Pod")

    async def load(
        self,
        running: float | dict[str, float],
        *,
        seconds: float = 5.0,
        waiting: float = 0.0,
        silent: tuple[str, ...] = (),
        held: float | None = None,
        **sample: Any,
    ) -> None:
        """Looks for so long: what each pod has in flight; `held` at a gateway, None where there is none."""
        for _ in range(int(seconds / 5)):
            at = self.seconds() + 5.0
            of = running if isinstance(running, dict) else dict.fromkeys(self.pods(), running)
            said = {
                pod: EngineSample(at=at, running=of.get(pod, 0.0), waiting=waiting, asked=0.0, **sample)
                for pod in self.pods()
                if pod not in silent
            }
            self.arrived += held or 0.0
            gateway = None if held is None else DemandSample(at, self.arrived, held, 1, 1, in_flight=0.0)
            self.looks[AGENT] = (said, gateway, 0 if held is None else 1)
            await self.tick()
            self.run_deployment()
            await self.once()

    @property
    def replicas(self) -> int:
        count: int = self.cluster.objects[DEPLOYMENT]["spec"]["replicas"]
        return count

    @property
    def decision(self) -> dict[str, Any]:
        decision: dict[str, Any] = self.status["scaling"]["decision"]
        return decision


@pytest.fixture
def world() -> Scaled:
    return Scaled()


async def test_replicas_follow_runs_in_flight_and_those_that_wait(world: Scaled) -> None:
    await world.begin()
    assert world.replicas == 1
    await world.load(5.0, seconds=30)
    assert world.replicas == 1, "five in flight are what one replica shall have"
    await world.load(10.0, waiting=3.0, seconds=60)
    assert world.replicas == 4, "13 for each: more than four could be of use, and four is the most"
    assert (world.decision["action"], world.decision["binding"]) == ("scale_out", "Maximum")
    assert world.status["scaling"]["desired"] == 4
    assert world.condition("ScalingActive") == ("True", "ScalingApplied")
    assert world.condition("MetricsAvailable") == ("True", "MetricsFound")
    assert world.condition("Reconciling") is None, "scaling is no rollout"
    assert ("Normal", "ScaledOut") in [(event["type"], event["reason"]) for event in world.cluster.posted_events]
    await world.load(0.0, seconds=400)
    assert world.replicas == 1
    assert world.decision["action"] == "scale_in"


async def test_the_least_busy_go_first(world: Scaled) -> None:
    await world.begin(minReplicas=2)
    await world.load(10.0, seconds=60)
    assert world.replicas == 4
    busy = dict.fromkeys(world.pods(), 1.0) | {"helper-agent-1": 0.0}
    costs: dict[str, str] = {}
    while world.replicas == 4:
        before = copy.deepcopy(world.cluster.objects)
        await world.load(busy)
        costs = {
            key.name: each["metadata"].get("annotations", {}).get(DELETION_COST, "0")
            for key, each in (before | world.cluster.objects).items()
            if key.kind == "Pod"
        }
        assert world.now.hour < 11, "nobody goes"
    assert costs["helper-agent-1"] == "-1"
    assert sorted(costs.values()).count("-1") == 4 - world.replicas


async def test_nothing_is_taken_away_on_what_is_not_seen(world: Scaled) -> None:
    await world.begin()
    await world.load(10.0, seconds=60)
    assert world.replicas == 4
    await world.load(0.0, seconds=600, silent=("helper-agent-2",))
    assert world.replicas == 4
    assert world.condition("MetricsAvailable") == ("False", "MetricsPartial")
    await world.load(0.0, seconds=600, silent=tuple(world.pods()))
    assert world.replicas == 4
    world.start()
    await world.once()
    await world.load(0.0, seconds=15)
    assert world.replicas == 4, "an operator that has just begun knows too little"


async def test_nothing_is_taken_away_while_pods_are_replaced(world: Scaled) -> None:
    await world.begin()
    await world.load(10.0, seconds=60)
    assert world.replicas == 4
    former = Key("Pod", NAMESPACE, "helper-agent-9")
    old = copy.deepcopy(world.cluster.objects[Key("Pod", NAMESPACE, "helper-agent-0")])
    old["metadata"] |= {"name": former.name, "uid": "former"}
    old["metadata"]["labels"] = old["metadata"]["labels"] | {"agentfleet.dev/revision": "former"}
    world.cluster.put(old)
    await world.load(0.0, seconds=600)
    assert world.replicas == 4
    world.cluster.remove(former)
    await world.load(0.0, seconds=400)
    assert world.replicas == 1


async def test_who_leads_next_follows_the_same_decision(world: Scaled) -> None:
    await world.begin()
    await world.load(10.0, seconds=60)
    assert world.replicas == 4
    world.start()
    await world.settle()
    assert world.replicas == 4
    world.cluster.objects[DEPLOYMENT]["spec"]["replicas"] = 1
    await world.settle()
    assert world.replicas == 4, "somebody else's number is no decision"


async def test_one_number_leaves_nothing_to_decide(world: Scaled) -> None:
    await world.begin(minReplicas=2, maxReplicas=2)
    await world.load(50.0, seconds=60)
    assert world.replicas == 2
    assert world.condition("ScalingActive") is None
    assert "scaling" not in world.status
    world.agent(scaling={"minReplicas": 1, "maxReplicas": 1})
    await world.settle()
    assert world.replicas == 1, "at once"


# --- zero ----------------------------------------------------------------------------------------------------------


ZERO = {"minReplicas": 0, "maxReplicas": 3, "scaleToZeroAfter": "30s"}


async def test_it_sleeps_behind_a_route_and_wakes_for_a_request(world: Scaled) -> None:
    await world.begin(**ZERO)
    assert world.replicas == 1, "at first it shows that it can"
    await world.load(0.0, seconds=120, held=0.0)
    assert world.replicas == 0
    assert world.condition("Ready") == ("True", "ScaledToZero")
    assert world.condition("ModelReady") == ("Unknown", "ScaledToZero")
    assert world.status["replicas"] == 0
    assert (world.decision["to"], world.decision["binding"]) == (0, "Idle")
    await world.settle()
    assert world.replicas == 0, "nothing but a request wakes it"
    await world.load(0.0, held=12.0)
    assert world.replicas == 3, "twelve wait, and one shall have five"
    assert world.decision["binding"] == "Wake"
    assert world.condition("Ready") == ("True", "Serving")


async def test_without_a_route_one_replica_stays(world: Scaled) -> None:
    await world.begin(**ZERO)
    await world.load(0.0, seconds=900)
    assert world.replicas == 1
    assert world.condition("ScalingActive") == ("True", "NoDemandSource")


async def test_who_is_asked_past_the_route_stays_awake(world: Scaled) -> None:
    """Other agents ask its Service; a run may be over before the next look."""
    await world.begin(**ZERO)
    for count in range(60):
        said = {pod: EngineSample(world.seconds() + 5, running=0.0, waiting=0.0, asked=count) for pod in world.pods()}
        world.looks[AGENT] = (said, DemandSample(world.seconds() + 5, 0.0, 0.0, 1, 1, in_flight=0.0), 1)
        await world.tick()
    assert world.replicas == 1
    await world.load(0.0, seconds=120, held=0.0)
    assert world.replicas == 0


async def test_while_it_wakes_it_is_neither_broken_nor_in_progress(world: Scaled) -> None:
    await world.begin(**ZERO)
    await world.load(0.0, seconds=120, held=0.0)
    world.looks[AGENT] = ({}, DemandSample(world.seconds() + 5, 9.0, 9.0, 1, 1, in_flight=0.0), 1)
    await world.tick()
    world.run_deployment(ready=False)
    await world.once()
    assert world.condition("Ready") == ("Unknown", "WaitingForPods")
    assert world.condition("Reconciling") is None


# --- what pods say of themselves -----------------------------------------------------------------------------------


ALERTS = {"alerts": [{"metric": "ResponseTime", "threshold": "2s", "action": "SmallerTier"}]}


async def test_alerts_of_pods_are_a_condition(world: Scaled) -> None:
    world.agent(monitoring=ALERTS)
    await world.settle()
    assert world.condition("Alerting") is None, "nobody has been asked yet"
    await world.load(1.0)
    assert world.condition("Alerting") == ("False", "NoAlert")
    await world.load(1.0, alerts=("ResponseTime",))
    assert world.condition("Alerting") == ("True", "AlertRaised")
    assert "ResponseTime (SmallerTier)" in world.message("Alerting")
    await world.load(1.0, silent=tuple(world.pods()))
    assert world.condition("Alerting") == ("True", "AlertRaised"), "silence ends no alert"
    world.start()
    await world.once()
    assert world.condition("Alerting") == ("True", "AlertRaised"), "nor does a new operator"
    await world.load(1.0)
    assert world.condition("Alerting") == ("False", "NoAlert")


async def test_without_alerts_there_is_no_such_condition(world: Scaled) -> None:
    world.agent()
    await world.settle()
    await world.load(1.0)
    assert world.condition("Alerting") is None


async def test_functions_that_a_pod_has_found_are_in_status(world: Scaled) -> None:
    await world.begin()
    world.answers["helper-agent-0"] = {"ready": True, "tools": [{"name": "crm_find", "source": "crm"}, "junk", {}]}
    await world.once()
    assert world.status["tools"] == [{"name": "crm_find", "source": "crm"}]
    del world.answers["helper-agent-0"]
    await world.once()
    assert world.status["tools"] == [{"name": "crm_find", "source": "crm"}], "what is not said is not gone"
