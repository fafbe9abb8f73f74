"""What customer service arranges."""

from datetime import datetime
from itertools import count
from typing import Literal

_numbers = count(1)


def create_ticket(
    customer_id: str, issue: str, priority: Literal["low", "medium", "high"] = "medium"
) -> dict[str, str]:
    """Opens a ticket for what cannot be solved at once.

    Args:
        customer_id: Number of the customer.
        issue: What it is about, in one line.
        priority: How soon it must be looked at.
    """
    return {"ticket": f"T-{next(_numbers):04d}", "customer": customer_id, "issue": issue, "priority": priority}


def schedule_callback(customer_id: str, when: datetime) -> str:
    """Has the customer called back.

    Args:
        customer_id: Number of the customer.
        when: Day and time, such as 2026-05-04T15:30.
    """
    return f"{customer_id} is called back on {when:%A, %d %B at %H:%M}"


def escalate_to_human(customer_id: str, reason: str) -> str:
    """Hands the conversation over to a person.

    Args:
        customer_id: Number of the customer.
        reason: Why, in one line.
    """
    return f"A colleague takes over for {customer_id}: {reason}"
