"""What sidecars say about their models, as it goes into status."""

from agentfleet.manifests.names import REVISION_LABEL
from agentfleet.planning.models import served_models
from agentfleet.planning.observed import Observed
from agentfleet.resources.modelserver_status import ModelServerStatus
from tests.builders import server


def test_what_the_sidecar_says_is_told() -> None:
    pod = {"metadata": {"name": "a", "labels": {REVISION_LABEL: "r1"}}}
    said = {"name": "tiny", "state": "Ready", "digest": "abc", "size": 10, "updatedAt": "2026-01-02T03:04:05Z"}
    observed = Observed(pods=(pod,), sidecars={"a": {"models": [said]}})
    (model,) = served_models(server(), ModelServerStatus(), observed, "r1")
    assert model.dump() == said
