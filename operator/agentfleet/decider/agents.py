"""Which model id stands for an agent type of /chat. Pure.

The types are those of the document; a target's name or one of its tasks is a type as well.
"""

from agentfleet.gateway.types import Policy

TYPES = {
    "customer-service": "customer-service",
    "technical": "technical-support",
    "general": "general-purpose",
}
"""Type → the name or task of a target."""
GENERAL = "general-purpose"


def model_of(policy: Policy, agent_type: str) -> str:
    """The id of the target for this type; for others that of a general one, else the route's own: then it chooses."""
    wanted = _plain(agent_type)
    for name in (TYPES.get(wanted, wanted), GENERAL):
        named = [target for target in policy.targets if _plain(target.name) == name]
        skilled = [target for target in policy.targets if name in map(_plain, target.tasks)]
        if found := named + skilled:
            return found[0].names[0]
    return f"route/{policy.name}"


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", "-")
