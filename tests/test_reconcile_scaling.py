"""The scaling loop and reconcile together: from a decision to replicas and status, mode by mode."""

import copy
from datetime import timedelta
from typing import Any

import pytest

from agentfleet.autoscale.decision import Health, Learnt, Step
from agentfleet.autoscale.samples import EngineSample
from agentfleet.errors import Transient
from agentfleet.objects import APPROVE_ANNOTATION, DELETION_COST, REJECT_ANNOTATION, Key, Manifest
from tests.builders import NAMESPACE
from tests.scripted import Script
from tests.world import KEY, World, meta

APPLY = {"mode": "Apply", "maxReplicas": 8}
HPA = Key("HorizontalPodAutoscaler", NAMESPACE, "hpa")


class ScalingWorld(World):
    """A World whose loop decides by a script."""

    def __init__(self, **settings: Any) -> None:
        self.script = Script()
        super().__init__(**settings)

    def start(self) -> None:
        self.make_controller = self.script
        super().start()

    async def run(self, engine: str = "LlamaCpp", **spec: Any) -> None:
        """Applied, serving, and looked at once by the loop."""
        self.apply(engine, **spec)
        await self.settle()
        await self.tick()
        await self.settle()

    async def decide(self, target: int, *, ticks: int = 1, binding: str = "Demand") -> None:
        self.script.target, self.script.binding = target, binding
        for _ in range(ticks):
            await self.tick()
            self.run_pods()

    def annotate(self, name: str, value: str) -> None:
        live = copy.deepcopy(self.cluster.objects[KEY])
        live["metadata"]["annotations"] = {name: value}
        self.cluster.put(live)

    @property
    def replicas(self) -> int:
        [count] = self.deployments().values()
        return count

    @property
    def scaling(self) -> dict[str, Any]:
        scaling: dict[str, Any] = self.status["scaling"]
        return scaling

    @property
    def decision(self) -> dict[str, Any]:
        decision: dict[str, Any] = self.scaling["decision"]
        return decision

    def events(self) -> list[tuple[str, str]]:
        return [(event["type"], event["reason"]) for event in self.cluster.posted_events]


@pytest.fixture
def world() -> ScalingWorld:
    return ScalingWorld()


def hpa(kind: str = "ModelServer", name: str = "phi") -> Manifest:
    version = "agentfleet.dev/v1alpha1" if kind == "ModelServer" else "apps/v1"
    target = {"apiVersion": version, "kind": kind, "name": name}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": meta("hpa"),
        "spec": {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 9},
    }


# --- Apply -----------------------------------------------------------------------------------------------------------


async def test_apply_begins_with_the_replicas_of_the_spec_within_its_bounds(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY | {"minReplicas": 2})
    assert (world.replicas, world.scaling["desired"], world.scaling["mode"]) == (2, 2, "Apply")


async def test_apply_follows_the_loop_out_and_in(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    await world.decide(4)
    assert (world.replicas, world.scaling["desired"]) == (4, 4)
    assert (world.decision["action"], world.decision["from"], world.decision["to"]) == ("scale_out", 1, 4)
    assert (world.decision["state"], world.decision["inputs"]) == ("Applied", {"demand": "3.21"})
    await world.decide(2)
    assert world.replicas == 2
    assert [(each["from"], each["to"], each["state"]) for each in world.scaling["history"]] == [
        (4, 2, "Applied"),
        (1, 4, "Applied"),
    ]
    assert ("Normal", "ScaledOut") in world.events()
    assert ("Normal", "ScaledIn") in world.events()


async def test_scaling_is_no_rollout_and_ready_stays(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    world.script.target = 5
    await world.tick()
    assert world.condition("Ready") == ("True", "Serving")
    assert world.condition("Reconciling") is None
    assert world.condition("ScalingActive") == ("True", "ScalingApplied")
    assert world.condition("MetricsAvailable") == ("True", "MetricsFound")


async def test_the_decision_is_in_status_before_the_replicas_change(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    world.cluster.writes.clear()
    await world.decide(3)
    verbs = [(verb, key.kind) for verb, key in world.cluster.writes]
    assert verbs.index(("apply_status", "ModelServer")) < verbs.index(("scale", "Deployment"))


async def test_a_restarted_operator_keeps_the_replicas(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    await world.decide(5)
    await world.settle()
    world.script.target = None
    world.start()
    await world.reconcile(KEY)
    await world.tick()
    await world.tick()
    assert world.replicas == 5
    assert world.cluster.writes == []


async def test_status_that_was_lost_costs_no_replica(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    await world.decide(5)
    world.cluster.patch_status(KEY, {})
    world.start()
    await world.settle()
    assert (world.replicas, world.scaling["desired"]) == (5, 5)


async def test_a_write_that_failed_is_made_up_for(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    world.cluster.fail = lambda verb, key: Transient("503") if verb == "scale" else None
    with pytest.raises(Transient):
        await world.decide(3)
    world.cluster.fail = lambda verb, key: None
    await world.settle()
    assert world.replicas == 3
    assert len(world.scaling["history"]) == 1


async def test_advice_is_acted_on_once(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    await world.decide(3)
    for _ in range(3):
        await world.reconcile(KEY)
    assert (world.replicas, len(world.scaling["history"])) == (3, 1)


async def test_old_advice_is_not_acted_on(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    world.script.target = 3
    world.now += timedelta(seconds=5)
    await world.loop.tick()
    world.now += timedelta(minutes=1)
    await world.reconcile(KEY)
    assert world.replicas == 1


async def test_a_spec_that_cannot_be_acted_on_holds_the_number(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    world.apply(replicas=1, scaling=APPLY, extraArgs=["--no-such-flag", "--port=1"])
    await world.reconcile(KEY)
    assert world.condition("Stalled") is not None
    await world.decide(4, ticks=3)
    assert (world.replicas, world.scaling["desired"]) == (1, 1)
    assert world.enqueued == []
    assert world.condition("MetricsAvailable") == ("True", "MetricsFound")


async def test_history_is_of_twenty_changes(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    for number in range(25):
        await world.decide(2 + number % 2)
    assert len(world.scaling["history"]) == 20


# --- Manual and Recommend --------------------------------------------------------------------------------------------


async def test_recommend_is_the_default_and_says_what_it_would_do(world: ScalingWorld) -> None:
    await world.run(replicas=1)
    await world.decide(3)
    assert (world.replicas, world.scaling["desired"], world.scaling["mode"]) == (1, 1, "Recommend")
    assert (world.decision["state"], world.decision["to"]) == ("Recommended", 3)
    assert world.condition("ScalingActive") == ("True", "ScalingRecommended")
    assert ("Normal", "ScalingRecommended") in world.events()


async def test_a_recommendation_keeps_its_id_while_it_is_repeated(world: ScalingWorld) -> None:
    await world.run(replicas=1)
    await world.decide(3)
    first = world.decision
    await world.decide(3, ticks=20)
    assert world.decision == first
    assert world.events().count(("Normal", "ScalingRecommended")) == 1


async def test_a_wish_that_wavers_keeps_its_id_for_a_minute(world: ScalingWorld) -> None:
    await world.run(replicas=1)
    await world.decide(3)
    first = world.decision["id"]
    await world.decide(4, ticks=3)
    await world.decide(1, ticks=3)
    assert world.decision["id"] == first
    await world.decide(4, ticks=14)
    assert (world.decision["to"], world.decision["state"]) == (4, "Recommended")
    assert world.decision["id"] != first
    assert not world.scaling["history"]  # the same advice with another number is no change


async def test_advice_of_a_former_spec_is_not_followed(world: ScalingWorld) -> None:
    await world.run(replicas=1)
    await world.decide(4)
    world.apply(replicas=1, scaling={"mode": "Apply", "maxReplicas": 2})
    await world.settle()
    assert world.replicas == 1
    await world.decide(2)
    assert world.replicas == 2


async def test_a_wish_that_goes_back_and_forth_writes_no_status(world: ScalingWorld) -> None:
    await world.run(replicas=1)
    await world.decide(3)
    first = world.decision["id"]
    for target in (4, 3) * 12:
        await world.decide(target)
    assert world.decision["id"] == first


async def test_a_recommendation_that_is_called_for_no_longer_is_withdrawn(world: ScalingWorld) -> None:
    await world.run(replicas=1)
    await world.decide(3)
    await world.decide(1, ticks=14, binding="Enough")
    assert world.decision["state"] == "Holding"
    assert [each["state"] for each in world.scaling["history"]] == ["Superseded"]


async def test_a_recommendation_that_somebody_followed_is_applied(world: ScalingWorld) -> None:
    await world.run(replicas=1)
    await world.decide(3)
    world.apply(replicas=3)
    await world.settle()
    assert (world.replicas, world.decision["state"]) == (3, "Applied")


async def test_manual_gives_no_advice(world: ScalingWorld) -> None:
    await world.run(replicas=2, scaling={"mode": "Manual"})
    await world.decide(5)
    assert world.replicas == 2
    assert "decision" not in world.scaling
    assert world.condition("ScalingActive") == ("False", "ScalingManual")
    assert world.condition("MetricsAvailable") == ("True", "MetricsFound")


async def test_a_server_that_was_taken_to_zero_by_hand_is_left_there(world: ScalingWorld) -> None:
    await world.run(replicas=0)
    assert world.condition("Ready") == ("True", "ScaledToZero")
    assert (world.script.situations[-1].minimum, world.script.situations[-1].maximum) == (0, 8)
    assert world.condition("ScalingActive") == ("True", "ScalingRecommended")


# --- taking over and handing back ------------------------------------------------------------------------------------


async def test_apply_takes_over_what_there_is(world: ScalingWorld) -> None:
    await world.run(replicas=5)
    world.apply(replicas=1, scaling=APPLY)
    world.cluster.writes.clear()
    world.apply(replicas=5, scaling=APPLY)
    await world.settle()
    assert world.replicas == 5
    assert not [write for write in world.cluster.writes if write[0] == "scale"]


async def test_leaving_apply_holds_until_somebody_sets_replicas(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    await world.decide(4)
    world.script.target = None
    world.apply(replicas=1, scaling={"mode": "Recommend"})
    await world.settle()
    assert (world.replicas, world.scaling["handedBack"]["specReplicas"]) == (4, 1)
    world.now += timedelta(minutes=9)
    await world.reconcile(KEY)
    assert world.replicas == 4
    world.apply(replicas=6, scaling={"mode": "Recommend"})
    await world.settle()
    assert (world.replicas, "handedBack" in world.scaling) == (6, False)


async def test_leaving_apply_ends_after_ten_minutes(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    await world.decide(4)
    world.script.target = None
    world.apply(replicas=1, scaling={"mode": "Manual"})
    after = await world.reconcile(KEY)
    assert after is not None
    assert after <= 600
    world.now += timedelta(minutes=10)
    await world.settle()
    assert (world.replicas, "handedBack" in world.scaling) == (1, False)


async def test_who_leaves_apply_with_another_number_gets_it(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    await world.decide(4)
    world.script.target = None
    world.apply(replicas=2, scaling={"mode": "Manual"})
    await world.settle()
    assert world.replicas == 2


async def test_back_into_apply_within_the_ten_minutes(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    await world.decide(4)
    world.script.target = None
    world.apply(replicas=1, scaling={"mode": "Manual"})
    await world.settle()
    world.apply(replicas=1, scaling=APPLY)
    await world.settle()
    assert (world.replicas, world.scaling["desired"], "handedBack" in world.scaling) == (4, 4, False)


# --- other autoscalers -----------------------------------------------------------------------------------------------


async def test_an_hpa_on_the_model_server_may_stay_outside_of_apply(world: ScalingWorld) -> None:
    world.cluster.put(hpa())
    await world.run(replicas=2)
    assert world.condition("ConflictingAutoscaler") is None


async def test_an_hpa_in_apply_is_a_conflict_and_only_advice_is_given(world: ScalingWorld) -> None:
    world.cluster.put(hpa())
    await world.run(replicas=2, scaling=APPLY)
    assert world.condition("ConflictingAutoscaler") == ("True", "OtherAutoscaler")
    await world.decide(5)
    assert (world.replicas, world.scaling["mode"], world.decision["state"]) == (2, "Recommend", "Recommended")
    await world.decide(2)
    world.cluster.remove(HPA)
    await world.settle()
    assert world.condition("ConflictingAutoscaler") is None
    assert (world.replicas, world.scaling["mode"]) == (2, "Apply")


async def test_an_hpa_that_comes_while_apply_is_in_force_causes_no_dip(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    await world.decide(4)
    world.script.target = None
    world.cluster.put(hpa())
    await world.settle()
    assert (world.replicas, world.scaling["handedBack"]["replicas"]) == (4, 4)
    world.apply(replicas=5, scaling=APPLY)  # the HPA writes /scale
    await world.settle()
    assert world.replicas == 5


async def test_an_hpa_on_our_deployment_is_always_a_conflict(world: ScalingWorld) -> None:
    await world.run(replicas=2)
    [name] = world.deployments()
    world.cluster.put(hpa("Deployment", name))
    await world.settle()
    assert world.condition("ConflictingAutoscaler") == ("True", "OtherAutoscaler")
    world.cluster.put(hpa("Deployment", "phi-model-00000000"))
    await world.settle()
    assert world.condition("ConflictingAutoscaler") is None


async def test_a_scaled_object_of_keda_counts_too(world: ScalingWorld) -> None:
    target = {"apiVersion": "agentfleet.dev/v1alpha1", "kind": "ModelServer", "name": "phi"}
    scaled = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": meta("keda")}
    world.cluster.put(scaled | {"spec": {"scaleTargetRef": target}})
    await world.run(replicas=2, scaling=APPLY)
    assert world.condition("ConflictingAutoscaler") == ("True", "OtherAutoscaler")


# --- approval --------------------------------------------------------------------------------------------------------

APPROVED = APPLY | {"approval": {"required": True, "expiresAfter": "10m"}}


async def test_a_decision_waits_for_approval_and_is_applied_once(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPROVED)
    await world.decide(3, ticks=5)
    assert (world.replicas, world.decision["state"]) == (1, "AwaitingApproval")
    assert world.condition("ScalingActive") == ("False", "AwaitingApproval")
    assert world.events().count(("Normal", "AwaitingApproval")) == 1
    world.annotate(APPROVE_ANNOTATION, world.decision["id"])
    await world.settle()
    assert (world.replicas, world.decision["state"]) == (3, "Applied")
    await world.decide(5)
    assert (world.replicas, world.decision["state"]) == (3, "AwaitingApproval")
    assert world.condition("ScalingActive") == ("False", "AwaitingApproval")


async def test_another_id_is_said_to_be_wrong(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPROVED)
    await world.decide(3)
    world.annotate(APPROVE_ANNOTATION, "0123456789")
    await world.settle()
    assert world.replicas == 1
    assert world.condition("ScalingActive") == ("False", "ApprovalUnknown")


async def test_approval_expires_and_is_asked_for_again(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPROVED)
    await world.decide(3)
    first = world.decision["id"]
    world.now += timedelta(minutes=11)
    await world.reconcile(KEY)
    assert world.decision["state"] == "Expired"
    await world.decide(3)
    assert (world.decision["state"], world.decision["id"] != first) == ("AwaitingApproval", True)
    world.annotate(APPROVE_ANNOTATION, first)
    await world.settle()
    assert (world.replicas, world.condition("ScalingActive")) == (1, ("False", "ApprovalUnknown"))


async def test_a_rejected_change_is_not_asked_for_again_before_its_time(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPROVED)
    await world.decide(3)
    world.annotate(REJECT_ANNOTATION, world.decision["id"])
    await world.settle()
    assert world.decision["state"] == "Rejected"
    await world.decide(3, ticks=10)
    assert (world.replicas, world.decision["state"]) == (1, "Rejected")
    await world.decide(4)
    await world.decide(1, binding="Budget")
    assert world.decision["state"] == "Rejected"  # a number that wavers is no other question
    await world.decide(5)
    assert (world.decision["to"], world.decision["state"]) == (5, "AwaitingApproval")


async def test_an_approved_scale_in_waits_until_data_speaks_for_it_again(world: ScalingWorld) -> None:
    await world.run(replicas=3, scaling=APPROVED)
    await world.decide(1)
    waiting = world.decision["id"]
    await world.decide(3, binding="StaleData")
    world.annotate(APPROVE_ANNOTATION, waiting)
    await world.settle()
    assert world.replicas == 3
    await world.decide(1)
    assert world.replicas == 1


async def test_what_became_of_an_approved_change_is_in_history_too(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPROVED)
    await world.decide(3, ticks=3)
    world.annotate(APPROVE_ANNOTATION, world.decision["id"])
    await world.settle()
    world.script.says = "as foretold"
    await world.tick()
    assert world.scaling["history"][0]["verdict"] == "as foretold"


# --- what holds the loop up ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("binding", "reason"),
    [("Paused", "ScalingPaused"), ("ReversalBreaker", "ReversalBreaker"), ("Budget", "BudgetExceeded")],
)
async def test_what_blocks_is_said(world: ScalingWorld, binding: str, reason: str) -> None:
    await world.run(replicas=2, scaling=APPLY)
    world.script.unconstrained = 5
    await world.decide(2, binding=binding)
    assert world.condition("ScalingActive") == ("False", reason)
    assert (world.decision["state"], world.decision["binding"]) == ("Blocked", binding)
    world.script.unconstrained = 2
    await world.decide(2, binding="Enough")
    assert world.decision["state"] == "Blocked"  # at a budget the wish comes and goes with every few requests
    await world.decide(2, binding="Enough", ticks=36)
    assert world.condition("ScalingActive") == ("True", "ScalingApplied")
    assert world.decision["state"] == "Holding"


@pytest.mark.parametrize(
    ("health", "condition"),
    [
        (Health("Missing", None, silent=("a",)), ("False", "MetricsMissing")),
        (Health("Stale", 20.0), ("False", "MetricsStale")),
        (Health("Partial", 3.0, silent=("a", "b")), ("False", "MetricsPartial")),
        (Health("Starting", None), ("Unknown", "MetricsStarting")),
        (Health("Fresh", 1.0, missing_metrics=("vllm:kv_cache_usage_perc",)), ("False", "MetricsRenamed")),
    ],
)
async def test_how_well_it_is_seen(world: ScalingWorld, health: Health, condition: tuple[str, str]) -> None:
    await world.run(replicas=2)
    world.script.health = health
    await world.tick()
    assert world.condition("MetricsAvailable") == condition
    assert (("Warning", condition[1]) in world.events()) is (condition[0] == "False")


async def test_a_replica_without_a_node_is_capacity_blocked(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    [name] = world.deployments()
    world.script.target = 2
    await world.tick()
    deployment = world.cluster.objects[Key("Deployment", NAMESPACE, name)]
    reason = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
    world.cluster.put(world.pod(deployment, f"{name}-1", conditions=[reason]))
    await world.reconcile(KEY)
    assert world.condition("CapacityBlocked") == ("True", "Unschedulable")
    await world.tick()
    [seen] = [each for each in world.script.last.ticks[-1].replicas if not each.ready]
    assert seen.problem == "Unschedulable"
    world.cluster.put(world.pod(deployment, f"{name}-1"))
    await world.reconcile(KEY)
    assert world.condition("CapacityBlocked") is None


async def test_replicas_that_the_quota_refuses_are_seen_as_stuck(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    [name] = world.deployments()
    world.script.target = 3
    await world.tick()
    refused = {"type": "ReplicaFailure", "status": "True", "message": 'pods "x" is forbidden: exceeded quota: q'}
    world.cluster.patch_status(Key("Deployment", NAMESPACE, name), {"replicas": 1, "conditions": [refused]})
    await world.reconcile(KEY)
    assert world.condition("CapacityBlocked") == ("True", "QuotaExceeded")
    await world.tick()
    problems = [each.problem for each in world.script.last.ticks[-1].replicas]
    assert problems == [None, "QuotaExceeded", "QuotaExceeded"]


async def test_zero_needs_a_source_of_demand(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY | {"minReplicas": 0})
    assert world.script.situations[-1].minimum == 1
    assert world.condition("ScalingActive") == ("True", "NoDemandSource")
    world.looks[KEY] = ({}, None, 1)
    await world.tick()
    assert world.script.situations[-1].minimum == 0
    assert world.condition("ScalingActive") == ("True", "ScalingApplied")
    await world.decide(0)
    await world.settle()
    assert world.replicas == 0
    assert world.condition("Ready") == ("True", "ScaledToZero")


# --- budgets ---------------------------------------------------------------------------------------------------------


async def test_max_gpus_limits_what_is_added() -> None:
    world = ScalingWorld()
    await world.run("VLLM", replicas=1, scaling=APPLY | {"maxGpus": 5}, parallelism={"tensor": 2})
    await world.decide(8)
    assert world.script.situations[-1].affordable == 2
    assert world.replicas == 2


async def test_the_namespace_budget_counts_its_other_servers() -> None:
    world = ScalingWorld(gpu_budgets={"*": 4})
    await world.run("VLLM", replicas=1, scaling=APPLY)
    [name] = world.deployments()
    assert world.script.situations[-1].affordable == 4
    manifest: Manifest = copy.deepcopy(world.cluster.objects[KEY])
    manifest["metadata"] = meta("other") | {"uid": "other"}
    manifest["spec"] = {"engine": "VLLM", "model": {"uri": "hf://a/b@main"}, "replicas": 2}
    manifest.pop("status")
    world.cluster.put(manifest)
    await world.tick()
    assert world.script.situations[-1].affordable == 1, "unknown until it has been reconciled"
    await world.decide(3)
    assert world.deployments()[name] == 1
    await world.reconcile(Key("ModelServer", NAMESPACE, "other"))
    await world.decide(3)
    assert world.deployments()[name] == 2


# --- what is written, and when ---------------------------------------------------------------------------------------


async def test_ticks_without_news_write_nothing(world: ScalingWorld) -> None:
    await world.run(replicas=2, scaling=APPLY)
    world.cluster.writes.clear()
    woken = 0
    for _ in range(30):
        await world.tick()
        woken += len(world.enqueued)
    assert world.cluster.writes == []
    assert woken <= 1  # by the observations, once they know enough


async def test_capacity_is_kept_over_a_restart(world: ScalingWorld) -> None:
    world.script.learnt = Learnt(6.9, 500, world.seconds(), Step(0.011, 0.000079, 0.0000000512), prompt_tokens=1155.0)
    await world.run(replicas=1)
    world.now += timedelta(minutes=6)
    await world.reconcile(KEY)
    capacity = world.status["capacity"]
    assert (capacity["requestsPerSecond"], capacity["step"]["perKvToken"]) == ("6.9", "0.0000000512")
    world.start()
    await world.reconcile(KEY)
    begun = world.script.last.begun_with
    assert begun is not None
    assert (begun.requests_per_second, begun.step) == (6.9, Step(0.011, 0.000079, 0.0000000512))
    world.apply(replicas=1, llamaCpp={"threads": 3})
    await world.reconcile(KEY)
    assert world.script.last.forgotten == 1


async def test_what_became_of_a_change_is_in_history(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    await world.decide(3)
    world.script.says = "TTFT 0.4 s, foretold 0.5 s"
    await world.tick()
    assert world.scaling["history"][0]["verdict"] == "TTFT 0.4 s, foretold 0.5 s"


async def test_victims_are_marked_before_replicas_go(world: ScalingWorld) -> None:
    await world.run(replicas=3, scaling={"mode": "Manual"})
    [name] = world.deployments()

    busy = {
        f"{name}-{number}": EngineSample(at=world.seconds() + 5, running=load)
        for number, load in enumerate((2.0, 0.0, 5.0))
    }
    world.looks[KEY] = (busy, None, 0)
    await world.tick()
    world.cluster.writes.clear()
    world.apply(replicas=2, scaling={"mode": "Manual"})
    await world.reconcile(KEY)
    pods = {key.name: pod for key, pod in world.cluster.objects.items() if key.kind == "Pod"}
    costs = {pod: manifest["metadata"].get("annotations", {}).get(DELETION_COST) for pod, manifest in pods.items()}
    assert costs == {f"{name}-0": None, f"{name}-1": "-1", f"{name}-2": None}
    verbs = [verb for verb, _ in world.cluster.writes]
    assert verbs.index("apply") < verbs.index("scale")


async def test_former_pods_are_scaled_while_a_model_is_fetched_for_new_ones(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    [name] = world.deployments()
    cache = {"type": "PersistentVolume", "size": "1Gi", "preload": True}
    world.apply(replicas=1, scaling=APPLY, model={"uri": "hf://acme/other/m.gguf@main"}, cache=cache)
    await world.reconcile(KEY)
    assert world.condition("Reconciling") == ("True", "PreparingModel")
    world.script.target = 3
    await world.tick()
    assert (world.deployments(), world.scaling["desired"]) == ({name: 3}, 3)


# --- larger and smaller replicas -------------------------------------------------------------------------------------

FACTS = {"attentionHeads": 32, "kvHeads": 8, "layers": 32, "hiddenSize": 4096, "parameters": 8000000000}
VERTICAL = {"vertical": {"mode": "Apply", "maxTensor": 4}}


def node() -> Manifest:
    status = {
        "allocatable": {"nvidia.com/gpu": "8", "cpu": "64", "memory": "512Gi", "pods": "110"},
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    labels = {"nvidia.com/gpu.memory": "81920"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "gpu", "labels": labels},
        "spec": {},
        "status": status,
    }


async def vertical_world(**scaling: Any) -> ScalingWorld:
    world = ScalingWorld()
    world.cluster.put(node())
    model = {"uri": "hf://acme/chat-8b@main", "facts": FACTS}
    await world.run("VLLM", replicas=2, model=model, parallelism={"tensor": "Auto"}, scaling=scaling)
    return world


async def test_a_larger_size_is_recommended_by_default() -> None:
    world = await vertical_world()
    assert world.script.situations[-1].tensors == (1, 2, 4)
    world.script.tensor = 2
    await world.tick()
    assert (world.decision["action"], world.decision["from"], world.decision["to"]) == ("scale_up", 1, 2)
    assert (world.decision["state"], "tensor" in world.scaling) == ("Recommended", False)


async def test_a_larger_size_is_rolled_out_with_new_pods_first_and_not_again_at_once() -> None:
    world = await vertical_world(**VERTICAL)
    [before] = world.deployments()
    world.script.tensor = 2
    await world.tick()
    assert (world.scaling["tensor"], world.decision["state"]) == (2, "Applied")
    assert world.deployments()[before] == 2
    assert world.status["rollout"]["strategy"] == "Surge"
    await world.settle()
    [after] = world.deployments()
    assert after != before
    assert world.status["plan"]["tensor"] == 2
    world.script.tensor = 4
    for _ in range(5):
        await world.tick()
    assert world.scaling["tensor"] == 2
    world.now += timedelta(minutes=30)
    await world.tick()
    await world.settle()
    assert world.scaling["tensor"] == 4


async def test_another_size_in_the_spec_ends_the_chosen_one() -> None:
    world = await vertical_world(**VERTICAL)
    world.script.tensor = 2
    await world.tick()
    await world.settle()
    world.script.tensor = None
    model = {"uri": "hf://acme/chat-8b@main", "facts": FACTS}
    world.apply("VLLM", replicas=2, model=model, parallelism={"tensor": 4}, scaling=VERTICAL)
    await world.settle()
    assert (world.status["plan"]["tensor"], "tensor" in world.scaling) == (4, False)


async def test_a_size_may_be_chosen_though_the_spec_names_another() -> None:
    world = ScalingWorld()
    world.cluster.put(node())
    model = {"uri": "hf://acme/chat-8b@main", "facts": FACTS}
    await world.run("VLLM", replicas=1, model=model)
    assert world.script.situations[-1].tensors == ()
    world.apply("VLLM", replicas=1, model=model, scaling=VERTICAL)
    await world.settle()
    await world.tick()
    assert world.script.situations[-1].tensors == (1, 2, 4)


# --- what is not scaled ----------------------------------------------------------------------------------------------


async def test_pods_of_every_node_are_watched_and_not_scaled(world: ScalingWorld) -> None:
    await world.run(placement={"mode": "PerNode"}, scaling=APPLY)
    assert world.condition("MetricsAvailable") is not None
    assert world.condition("ScalingActive") is None
    assert "scaling" not in world.status


async def test_endpoints_outside_are_neither(world: ScalingWorld) -> None:
    spec = {"engine": "External", "external": {"url": "https://api.example.com/v1", "model": "m"}}
    metadata = meta("phi") | {"uid": "external"}
    world.cluster.put(
        {"apiVersion": "agentfleet.dev/v1alpha1", "kind": "ModelServer", "metadata": metadata, "spec": spec}
    )
    await world.reconcile(KEY)
    await world.tick()
    assert world.condition("MetricsAvailable") is None
    assert "scaling" not in world.status
    assert world.loop.advice(KEY, "external") is None


async def test_a_scheduled_minimum_reaches_the_loop(world: ScalingWorld) -> None:
    window = {"cron": "0 10 * * *", "duration": "1h", "minReplicas": 3}
    await world.run(replicas=1, scaling=APPLY | {"schedule": [window]})
    await world.tick()
    assert (world.script.situations[-1].minimum, world.script.situations[-1].scheduled) == (3, True)
    assert world.replicas == 3
    world.now += timedelta(hours=1)
    await world.tick()
    assert (world.script.situations[-1].minimum, world.script.situations[-1].scheduled) == (1, False)


@pytest.mark.parametrize(
    ("window", "words"),
    [
        ({"cron": "0 8 * * 1-8", "duration": "1h"}, "scaling.schedule[0].cron: '0 8 * * 1-8' is no cron expression"),
        ({"cron": "0 8 30 2 *", "duration": "1h"}, "Bad day-of-month"),
        ({"cron": "0 8 * * *", "duration": "1h", "timeZone": "Mars/X"}, "scaling.schedule[0].timeZone: 'Mars/X'"),
    ],
)
async def test_a_schedule_that_cannot_be_read_is_stalled(world: ScalingWorld, window: Any, words: str) -> None:
    await world.run(replicas=2, scaling=APPLY)
    world.apply(replicas=2, scaling=APPLY | {"schedule": [window]})
    await world.reconcile(KEY)
    assert world.condition("Stalled") == ("True", "InvalidSpec")
    [message] = [each["message"] for each in world.status["conditions"] if each["type"] == "Stalled"]
    assert words in message
    assert world.replicas == 2
