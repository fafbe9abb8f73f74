"""Who has how many GPUs of a namespace's budget during one tick of the scaling loop. It asks nobody.

Servers decide one after the other, and each sees what those before it have been granted: two that grow at once never
share the last GPU.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from agentfleet.cache import Cache
from agentfleet.monitor.watched import Watched
from agentfleet.objects import Key
from agentfleet.planning.budget import Allowance, allowance, budget_of


@dataclass(slots=True)
class _Spent:
    gpus: int = 0
    unknown: int = 0
    """Servers whose GPUs are not known."""

    def add(self, gpus: int | None, sign: int = 1) -> None:
        if gpus is None:
            self.unknown += sign
        else:
            self.gpus += sign * gpus


class Budgets:
    """`count` at the beginning of a tick, `granting` around each decision."""

    def __init__(self, cache: Cache, budgets: Mapping[str, int]) -> None:
        """`budgets`: namespace, or `*` for all others, → GPUs."""
        self._cache = cache
        self._budgets = budgets
        self._spent: dict[str, _Spent] = {}

    def count(self, watched: Mapping[Key, Watched], stalled: Collection[Key]) -> None:
        """Sum up anew."""
        self._spent = {}
        if not self._budgets:
            return
        for key in self._cache.keys("ModelServer"):
            gpus = watched[key].gpus if key in watched else self._unseen(key, stalled)
            self._spent.setdefault(key.namespace, _Spent()).add(gpus)

    @contextmanager
    def granting(self, watched: Watched) -> Iterator[Allowance]:
        """What one server may have; what it decides to take is counted at the end."""
        namespace = watched.key.namespace
        budget = budget_of(namespace, self._budgets)
        spent = self._spent.setdefault(namespace, _Spent())
        spent.add(watched.gpus, -1)
        try:
            others = None if spent.unknown else spent.gpus
            yield allowance(watched.standing, watched.wanted, budget, others)
        finally:
            spent.add(watched.gpus)

    def _unseen(self, key: Key, stalled: Collection[Key]) -> int | None:
        """A server that could never be acted on, and has no pods, takes none; of others nothing is known yet."""
        return 0 if key in stalled and not self._cache.child_versions(key, "Pod") else None
