"""The errors that reconcile understands, and what it does with each.

    AgentfleetError
    ├── InvalidSpec       a human must change something; Stalled until what it names changes
    ├── NotReady          wait: something we watch, or poll after `after` seconds, has to happen first
    └── Transient         the API server or the network failed; retried with a capped backoff
        └── Conflict      409: somebody else owns the field or the object

Anything else that is raised is a bug: logged with its traceback, shown as reason InternalError, retried with backoff.
Edges translate foreign exceptions into these, so that nothing above them knows an HTTP library.
"""


class AgentfleetError(Exception):
    """Base of all errors that are not bugs."""


class InvalidSpec(AgentfleetError):
    """The object, or a setting it runs into, cannot work as written.

    `reason` is one of the table in resources/conditions.py; the message names field, value, legal values and the fix.
    `after` is when to look again, in seconds, for a cause that no watch shows; None where a watch does.
    """

    def __init__(self, reason: str, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.after = after


class NotReady(AgentfleetError):
    """Nothing is wrong yet; look again after `after` seconds even if no watch event arrives."""

    def __init__(self, reason: str, message: str, after: float) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.after = after


class Transient(AgentfleetError):
    """A request failed in a way that a later try may not: 429, 5xx, refused or timed-out connections."""


class Conflict(Transient):
    """HTTP 409: a field has another owner, or the object changed under us."""
