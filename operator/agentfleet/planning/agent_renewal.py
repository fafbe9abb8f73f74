"""When pods of an Agent have to be replaced because variables that they began with have changed. Pure.

The time of it is an annotation of the pod template: it makes another revision, and whoever leads next finds it there.
"""

from datetime import UTC, datetime, timedelta

from agentfleet.manifests.agent_environment import RENEWED_ANNOTATION
from agentfleet.manifests.names import REVISION_LABEL
from agentfleet.objects import Manifest

_AT_MOST_EVERY = timedelta(minutes=5)
"""However often a Secret is written, or an image of the user's own says so."""
_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def renewed(workload: Manifest | None, outdated: str | None, now: datetime) -> str | None:
    """Value of the annotation; None where pods were never replaced for it.

    `outdated` is the revision whose pods have told of changed variables. Once another one is there, its pods have read
    them anew.
    """
    if workload is None:
        return None
    template = workload["spec"]["template"]["metadata"]
    last: str | None = template.get("annotations", {}).get(RENEWED_ANNOTATION)
    if not outdated or template.get("labels", {}).get(REVISION_LABEL) != outdated or _is_recent(last, now):
        return last
    return now.astimezone(UTC).strftime(_FORMAT)


def _is_recent(last: str | None, now: datetime) -> bool:
    try:
        return last is not None and now - datetime.strptime(last, _FORMAT).replace(tzinfo=UTC) < _AT_MOST_EVERY
    except ValueError:  # somebody else's writing
        return False
