"""How many replicas the budgets of GPUs allow: scaling.maxGpus, and the namespace's in the operator's settings. Pure.

Budgets limit what the loop adds; what users and other autoscalers ask for is counted, not limited. What is not known
counts as spent: no replica is added then.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from agentfleet.planning.scaling_types import Standing


@dataclass(frozen=True, slots=True)
class Allowance:
    """Most replicas that one server may have."""

    affordable: int | None
    """None where nothing limits them."""
    known: bool = True


def budget_of(namespace: str, budgets: Mapping[str, int]) -> int | None:
    """GPUs of a namespace; None where no budget is set for it. `*` stands for every namespace that is not named."""
    return budgets.get(namespace, budgets.get("*"))


def allowance(standing: Standing, wanted: int, budget: int | None, others: int | None) -> Allowance:
    """What may be afforded within `budget` beside GPUs that `others` of the namespace have or are getting, None where
    these are not known. What there is already is never taken away."""
    limits = [limit for limit in (standing.max_gpus, budget) if limit is not None]
    if standing.gpus == 0 or not limits:
        return Allowance(None)
    if standing.gpus is None or (budget is not None and others is None):
        return Allowance(wanted, known=False)
    if budget is not None:
        limits.append(budget - (others or 0))
    return Allowance(max(wanted, min(limits) // standing.gpus))
