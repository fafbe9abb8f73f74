"""The one error of the simulator."""

from agentfleet.errors import AgentfleetError


class BadInput(AgentfleetError):
    """A trace, a profile or an option that cannot be used: names it, its value, and what is legal. Exit code 2."""
