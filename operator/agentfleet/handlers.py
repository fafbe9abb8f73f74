"""kopf's part: watch the kinds of objects.py and pass every event on. Nothing else of kopf is used.

Only `on.event` handlers: they write nothing to the objects, while every other sort of handler patches annotations or
finalizers into them. A handler does no I/O; what an event means is decided in observe.py.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Protocol

import kopf

from agentfleet.objects import FIELD_MANAGER, MANAGED_BY, Kind, Manifest

_BACKOFFS = (1, 1, 2, 3)
_NOT_FOUND = 404
_LAST_BACKOFF = 5


class Observe(Protocol):
    """What is called for each event."""

    def __call__(self, kind: Kind, body: Manifest, *, deleted: bool, initial: bool) -> None:
        """`initial` is True for objects of a listing, at the start and after an outage."""


class ForEver(Iterable[float]):
    """Waiting times that never end: kopf gives up, and with it the process, where they do.

    An outage of the API server must not restart the operator; a dead watch is found by resync.py.
    """

    def __iter__(self) -> Iterator[float]:
        yield from _BACKOFFS
        while True:
            yield _LAST_BACKOFF


class NoMemory(kopf.DiffBaseStorage):
    """Spares kopf the comparison of each object with its last state, which only its stateful handlers need.

    That comparison is two fifths of the CPU of an event.
    """

    def build(self, *, body: kopf.Body, extra_fields: Iterable[Any] | None = None) -> kopf.BodyEssence:
        """Nothing of an object matters."""
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        """No state is kept."""
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Never writes."""


def build_registry(kinds: Collection[Kind], observe: Observe) -> kopf.OperatorRegistry:
    """One handler for each kind, and the login."""
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(kopf.login_via_client)
    for kind in kinds:
        _watch(registry, kind, observe)
    return registry


def _watch(registry: kopf.OperatorRegistry, kind: Kind, observe: Observe) -> None:
    @kopf.on.event(group=kind.group, version=kind.version, plural=kind.plural, id=kind.plural, registry=registry)
    async def changed(event: Any, **_: Any) -> None:
        observe(kind, event["object"], deleted=event["type"] == "DELETED", initial=event["type"] is None)


def kopf_settings(kinds: Collection[Kind]) -> kopf.OperatorSettings:
    """Settings for a process that only watches: patient with the API server, quick to stop."""
    settings = kopf.OperatorSettings()
    settings.networking.error_backoffs = ForEver()
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.posting.enabled = False
    settings.persistence.diffbase_storage = NoMemory()
    # kinds are fixed: no watching of CRDs and namespaces, and no permission for that
    settings.scanning.disabled = True
    # what is idle still holds its last object: these two keep the first listing of thousands from staying in memory
    settings.queueing.idle_timeout = 0.05
    settings.watching.chunk_size = 50
    settings.queueing.exit_timeout = 0.5
    settings.process.ultimate_exiting_timeout = None
    for kind in kinds:
        if kind.managed_only:
            selector = (kind.group, kind.version, kind.plural)
            settings.watching.label_selectors[selector] = f"{MANAGED_BY}={FIELD_MANAGER}"
    return settings


async def watch(
    registry: kopf.OperatorRegistry,
    settings: kopf.OperatorSettings,
    *,
    namespaces: Collection[str],
    identity: str,
    take_signals: Callable[[], None],
) -> None:
    """Watch until cancelled, in `namespaces` or, where empty, in the whole cluster; cluster-scoped kinds always there.

    kopf takes SIGTERM and SIGINT for itself when it starts; `take_signals` is called to take them back.
    """
    for name in _TELLERS:
        logging.getLogger(name).addFilter(_is_no_absence)
    tasks = await kopf.spawn_tasks(
        registry=registry,
        settings=settings,
        standalone=True,
        clusterwide=not namespaces,
        namespaces=namespaces,
        # Left to itself kopf asks for the user's name, and the id that the container runs under has none.
        identity=identity,  # type: ignore[arg-type]  # a NewType over str that kopf does not export
    )
    take_signals()
    await kopf.run_tasks(tasks, ignored=_EveryTask())
    raise RuntimeError("kopf has stopped watching without an error")


_TELLERS = ("kopf._core.reactor.orchestration", "kopf._core.reactor.running")


def _is_no_absence(record: logging.LogRecord) -> bool:
    """False for the errors and tracebacks with which kopf tells that a kind is gone: it raises that as well."""
    error = record.exc_info[1] if record.exc_info else None
    return getattr(error, "status", None) != _NOT_FOUND


class _EveryTask(Collection[asyncio.Task[Any]]):
    """Holds every task: at its end kopf cancels all others of the process that this collection does not hold.

    Without it the Lease could not be handed on after the watches are closed.
    """

    def __contains__(self, task: object) -> bool:
        return True

    def __iter__(self) -> Iterator[asyncio.Task[Any]]:
        return iter(asyncio.all_tasks())

    def __len__(self) -> int:
        return len(asyncio.all_tasks())
