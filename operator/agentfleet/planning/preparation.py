"""Everything between a spec and its plan: read the model's files, choose, fill the cache. Pure and level-based.

    resolve ─▶ inspection (Job, once) ─▶ resolve again ─▶ loading (claim, Jobs) ─▶ ready for plan()

Called on every pass; it says what has to be made now, and whether pods may follow. What serves meanwhile is left alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from agentfleet.manifests.kinds import pod_template_of
from agentfleet.manifests.names import REVISION_LABEL
from agentfleet.manifests.policy import loader_network_policy
from agentfleet.manifests.workload import workload
from agentfleet.objects import Key, Manifest, key_of
from agentfleet.planning.failures import Failure
from agentfleet.planning.loading import Loading, inspection, loading
from agentfleet.planning.nodes import pod_requests, total
from agentfleet.planning.observed import Observed
from agentfleet.planning.resolve import Basis, Resolution, Situation, resolve, wish_digest
from agentfleet.planning.scaling_goal import vertical_mode
from agentfleet.planning.updates import FIRST, check_schedule, next_look, occasion
from agentfleet.resources.conditions import timestamp
from agentfleet.resources.modelserver import ModelServer
from agentfleet.resources.modelserver_status import ModelServerStatus, SourceFacts
from agentfleet.settings import Settings

_MOST_SOURCES = 9
_LONGEST_NOTE = 512
_MOST_NOTES = 32
_NOTHING = Loading()


@dataclass(frozen=True)
class Preparation:
    """What has to be made and deleted now, and the server to plan with once that is done."""

    server: ModelServer
    status: ModelServerStatus
    """The status before, with what was found and chosen."""
    apply: tuple[Manifest, ...] = ()
    delete: tuple[tuple[Key, str], ...] = ()
    blocked: str | None = None
    """What pods have to wait for, in words; None where nothing."""
    failure: Failure | None = None
    """Why that does not come to its end."""
    after: float | None = None
    """Seconds after which to look again without an event."""


def prepare(
    asked: ModelServer, before: ModelServerStatus, observed: Observed, settings: Settings, now: datetime
) -> Preparation:
    """One look; InvalidSpec where the spec cannot become pods whatever is waited for."""
    if asked.is_external:
        return Preparation(asked, before)
    check_schedule(asked)
    known = {asked.model.uri, *(variant.uri for variant in asked.model.variants)}
    sources = {source.uri: source for source in before.sources if source.uri in known}
    work, failure, looking = _NOTHING, None, ""
    # Each look at a source can lead to another profile with another source, once for each.
    for _ in range(_MOST_SOURCES):
        found = resolve(asked, _situation(asked, before, observed, sources, now), settings)
        due, subject = _due(asked, found, sources, now)
        if due is None:
            break
        look = inspection(subject, observed, settings, due, now)
        work, failure, looking = look.loading, look.loading.failure, look.job
        if look.source is None:
            break
        sources[look.source.uri] = look.source
        work, failure = _NOTHING, None
    blocked = found.inspect is not None or due == FIRST
    known_before = {source.uri for source in before.sources} >= set(sources)
    fill = _NOTHING if blocked else loading(found.server, observed, settings, now)
    notes = (*_failed_look(None if blocked else failure), *fill.notes)
    status = before.model_copy(update=_chosen(found, sources, notes))
    return Preparation(
        server=found.server,
        status=status,
        apply=(*_policy(found.server, (*work.apply, *fill.apply), settings), *work.apply, *fill.apply),
        # Looks are kept until what they found is in status.
        delete=(*work.delete, *fill.delete, *(_looked(asked, observed, looking) if known_before else ())),
        blocked="The model's files are being read." if blocked else _what_fills(found.server, fill, observed, settings),
        failure=failure if blocked else fill.failure,
        after=_soonest(found.after, next_look(asked, now)),
    )


def _policy(server: ModelServer, made: Sequence[Manifest], settings: Settings) -> Iterable[Manifest]:
    """The NetworkPolicy of loaders is there before the first of them."""
    policy = loader_network_policy(server, settings)
    if policy is not None and any(manifest["kind"] == "Job" for manifest in made):
        yield policy


def _looked(server: ModelServer, observed: Observed, looking: str) -> list[tuple[Key, str]]:
    """Jobs of former looks, whatever came of them."""
    named = [(job["metadata"]["name"], job) for job in observed.jobs]
    jobs = [job for name, job in named if name.startswith(f"{server.name}-model-inspect-") and name != looking]
    return [(key_of(job), job["metadata"]["uid"]) for job in jobs]


def needs_nodes(asked: ModelServer) -> bool:
    """Whether preparing depends on Observed.nodes, so that a change of a node has to be looked at."""
    cache, parallelism = asked.spec.cache, asked.spec.parallelism
    auto = parallelism is not None and "Auto" in (parallelism.tensor, parallelism.pipeline)
    preload = cache is not None and cache.type == "HostPath" and bool(cache.preload)
    staged = parallelism is not None and parallelism.nodes is None and parallelism.pipeline not in (None, 1)
    sized = vertical_mode(asked) == "Apply"
    return bool(asked.spec.profiles) or auto or staged or preload or sized or asked.spec.scenario is not None


def _due(
    asked: ModelServer, found: Resolution, sources: Mapping[str, SourceFacts], now: datetime
) -> tuple[str | None, ModelServer]:
    """The look that is due, and at what: for the planner where it needs one, else for an update."""
    if found.inspect is not None:
        return FIRST, found.inspect
    if asked.model.update is None:
        return None, found.server
    return occasion(asked, sources.get(asked.model.uri), now), asked


def _settled(asked: ModelServer, before: ModelServerStatus) -> Basis | None:
    """What the plan of this very spec was reckoned with, from when that was known, or its pods run without it."""
    if before.plan is None or before.plan.settled_for != wish_digest(asked):
        return None
    basis = Basis(before.plan.gpu_memory_bytes, before.plan.gpus_per_node)
    return basis if before.revision is not None or basis != Basis() else None


def _situation(
    asked: ModelServer, before: ModelServerStatus, observed: Observed, sources: Mapping[str, SourceFacts], now: datetime
) -> Situation:
    return Situation(
        now=now,
        nodes=observed.nodes,
        sources=sources,
        profile=before.profile,
        settled=_settled(asked, before),
        better={name: datetime.fromisoformat(since) for name, since in (before.better_profiles or {}).items()},
        held=_held(observed),
    )


def _held(observed: Observed) -> dict[str, dict[str, int]]:
    """Node → what the server's own pods have reserved there, by the template of their revision."""
    templates = {
        manifest["metadata"].get("labels", {}).get(REVISION_LABEL): pod_template_of(manifest)
        for manifest in observed.workload_manifests
    }
    held: dict[str, dict[str, int]] = {}
    for pod in (*observed.pods, *observed.workers):
        node = pod.get("spec", {}).get("nodeName")
        template = templates.get(pod["metadata"].get("labels", {}).get(REVISION_LABEL))
        if node and template and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed"):
            held[node] = total([held.get(node, {}), pod_requests(template)])
    return held


def _failed_look(failure: Failure | None) -> tuple[str, ...]:
    return (f"The last look for an update failed ({failure.reason}): {failure.message}",) if failure else ()


def _chosen(found: Resolution, sources: Mapping[str, SourceFacts], notes: tuple[str, ...]) -> dict[str, object]:
    explanation = (*(note[:_LONGEST_NOTE] for note in notes), *found.plan.explanation)[:_MOST_NOTES]
    better = {name: timestamp(since) for name, since in sorted(found.better.items())}
    return {
        "plan": found.plan.model_copy(update={"explanation": explanation}),
        "profile": found.profile,
        "better_profiles": better or None,
        "sources": tuple(sources[uri] for uri in sorted(sources)),
    }


def _what_fills(server: ModelServer, fill: Loading, observed: Observed, settings: Settings) -> str | None:
    """What pods wait for; nothing where there are such pods already: those have the model, and are looked after."""
    if fill.done or workload(server, settings).revision in {seen.revision for seen in observed.workloads}:
        return None
    if not fill.waiting:
        return "A Job that fills the cache failed."
    return f"The cache is being filled by {len(fill.waiting)} Job{'s' if len(fill.waiting) > 1 else ''}."


def _soonest(*times: float | None) -> float | None:
    return min((time for time in times if time is not None), default=None)
