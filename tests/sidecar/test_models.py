"""The decision of the next step, names, statuses, and the words for failures."""

from pathlib import Path

import pytest

from agentfleet.sidecar.engines.base import Health
from agentfleet.sidecar.failures import ModelFailed, load_failure, pull_failure, retry_delay
from agentfleet.sidecar.models import ModelState, ModelStatus, Step, full_name, next_step
from agentfleet.sidecar.progress import Progress, write
from agentfleet.sidecar.supervisor import Status
from agentfleet.sidecar.weights import Weights, status_of

S, A = "smollm2:135m", "small:latest"


@pytest.mark.parametrize(
    ("digests", "verified", "preload", "preloaded", "expected"),
    [
        ({}, None, True, False, Step.PULL),
        ({A: "1"}, None, True, False, Step.PULL),  # an alias of unknown origin
        ({S: "1"}, None, True, False, Step.COPY),
        ({S: "1", A: "2"}, None, True, False, Step.COPY),  # the alias names another model
        ({S: "1", A: "1"}, None, True, False, Step.PRELOAD),
        ({S: "1", A: "1"}, None, True, True, Step.NOTHING),
        ({S: "1", A: "1"}, None, False, False, Step.NOTHING),
        ({A: "1"}, "1", True, True, Step.NOTHING),  # somebody deleted the source's name, the model still serves
        ({A: "2"}, "1", True, True, Step.PULL),
        ({}, "1", True, True, Step.PULL),  # everything vanished
        ({S: "2", A: "1"}, "1", True, True, Step.COPY),  # somebody pulled a newer one
    ],
)
def test_next_step(
    digests: dict[str, str], verified: str | None, *, preload: bool, preloaded: bool, expected: Step
) -> None:
    step = next_step(digests, source=S, alias=A, verified=verified, preload=preload, preloaded=preloaded)
    assert step is expected


def test_a_model_that_keeps_its_name_needs_no_copy() -> None:
    assert next_step({S: "1"}, source=S, alias=S, verified=None, preload=False, preloaded=False) is Step.NOTHING


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("smollm2", "smollm2:latest"),
        ("smollm2:135m", "smollm2:135m"),
        ("library/smollm2", "smollm2:latest"),
        ("registry.ollama.ai/library/smollm2:135m", "smollm2:135m"),
        ("registry.ollama.ai/someone/model", "someone/model:latest"),
        ("someone/model", "someone/model:latest"),
        ("hf.co/org/repo:Q4_K_M", "hf.co/org/repo:Q4_K_M"),
        ("registry:5000/library/tiny", "registry:5000/library/tiny:latest"),
        ("http://registry:5000/library/tiny:1", "registry:5000/library/tiny:1"),
    ],
)
def test_full_name(name: str, expected: str) -> None:
    assert full_name(name) == expected


@pytest.mark.parametrize(
    ("text", "status", "reason"),
    [
        ("pull model manifest: file does not exist", None, "ModelNotFound"),
        ("model not found", 404, "ModelNotFound"),
        ("write /root/.ollama/models/blobs/sha256-1-partial: no space left on device", None, "DiskFull"),
        (
            'Get "https://registry.ollama.ai/v2/": dial tcp: lookup registry.ollama.ai: no such host',
            None,
            "RegistryUnreachable",
        ),
        ("max retries exceeded: unexpected EOF", None, "RegistryUnreachable"),
        ("net/http: TLS handshake timeout", None, "RegistryUnreachable"),
        ("digest mismatch, file must be downloaded again", None, "ChecksumMismatch"),
        ("pull model manifest: 412: this model requires a newer version of Ollama", None, "EngineTooOld"),
        ("insecure protocol http", None, "BadSource"),
        ("unauthorized: access denied", None, "ModelGated"),
        ("something new", None, "PullFailed"),
    ],
)
def test_pull_failure(text: str, status: int | None, reason: str) -> None:
    assert pull_failure(text, status).reason == reason


def test_load_failure() -> None:
    assert load_failure("model requires more system memory (9 GiB) than is available (2 GiB)").reason == "OutOfMemory"
    assert load_failure("unable to load model").reason == "LoadFailed"


def test_retries_slow_down_to_the_cap_and_permanent_causes_start_there() -> None:
    assert [retry_delay("PullFailed", n) for n in range(1, 9)] == [1, 2, 4, 8, 16, 30, 30, 30]
    assert retry_delay("ModelNotFound", 1) == 30


def test_a_state_does_not_inherit_the_reason_of_the_last() -> None:
    status = ModelStatus("m", digest="sha256:1", size=9).to(ModelState.DOWNLOADING, progress_percent=40)
    failed = status.failed(ModelFailed("DiskFull", "no space"))
    assert failed.as_json() == {
        "name": "m",
        "state": "Failed",
        "progressPercent": 40,
        "reason": "DiskFull",
        "message": "no space",
        "digest": "sha256:1",
        "size": 9,
        "category": None,
        "updatedAt": None,
    }
    assert failed.to(ModelState.READY) == ModelStatus("m", ModelState.READY, digest="sha256:1", size=9, settled=True)


@pytest.mark.parametrize(
    ("main", "other", "ready"),
    [
        ([ModelState.READY], [ModelState.READY], True),
        ([ModelState.READY], [ModelState.DOWNLOADING], False),
        ([ModelState.READY], [ModelState.FAILED], True),
        ([ModelState.READY], [ModelState.FAILED, ModelState.DOWNLOADING], True),
        ([ModelState.FAILED], [ModelState.READY], False),
        ([ModelState.READY, ModelState.DOWNLOADING], [ModelState.READY], False),
    ],
)
def test_a_model_that_cannot_be_had_keeps_no_other_from_serving(
    main: list[ModelState], other: list[ModelState], ready: bool
) -> None:
    models = []
    for history in (main, other):
        status = ModelStatus("m")
        for state in history:
            status = status.to(state)
        models.append(status)
    assert Status("Ollama", None, Health.SERVING, tuple(models)).ready is ready
    assert not Status("Ollama", None, Health.LOADING, tuple(models)).ready


LOADING = Progress("Downloading", bytes=5, total=10, percent=50)
DONE = Progress("Complete", bytes=10, total=10, percent=100, digest="d")
FAILED = Progress("Failed", bytes=5, total=10, percent=50, reason="DiskFull", message="full")


@pytest.mark.parametrize(
    ("progress", "health", "state", "percent", "reason"),
    [
        (None, Health.UNREACHABLE, "Loading", None, "EngineStarting"),  # no loader: a mounted model
        (LOADING, Health.UNREACHABLE, "Downloading", 50, None),
        (FAILED, Health.UNREACHABLE, "Failed", 50, "DiskFull"),
        (DONE, Health.UNREACHABLE, "Loading", None, "EngineStarting"),
        (DONE, Health.LOADING, "Loading", None, "EngineStarting"),
        (DONE, Health.SERVING, "Ready", None, None),
        (FAILED, Health.SERVING, "Ready", None, None),  # a file of an earlier pod
    ],
)
def test_weights(
    progress: Progress | None, health: Health, *, state: str, percent: int | None, reason: str | None
) -> None:
    status = status_of(ModelStatus("m"), progress, health)
    assert (str(status.state), status.progress_percent, status.reason) == (state, percent, reason)
    assert progress is None or status.size == 10


async def test_a_loader_that_is_to_come_is_waited_for(tmp_path: Path) -> None:
    weights = Weights("m", tmp_path, expects_loader=True)
    await weights.tick(Health.UNREACHABLE)
    assert weights.statuses()[0].state is ModelState.PENDING
    write(tmp_path, LOADING)
    await weights.tick(Health.UNREACHABLE)
    assert weights.statuses()[0].state is ModelState.DOWNLOADING
