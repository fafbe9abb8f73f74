"""cli/doctor.py."""

import json
from datetime import UTC, datetime

import pytest

from tests.cli.servers import LEASE, LEASES, OPERATORS, FakeApi, condition, listing, model_server

GROUP = "/apis/agentfleet.dev/v1alpha1"
REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
READY_POD = {"metadata": {"name": "op-1"}, "status": {"conditions": [condition("Ready", "True")]}}


@pytest.fixture
def sound(api: FakeApi) -> FakeApi:
    """A cluster without anything to complain about."""
    api.serve(model_server())
    renewed = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    api.answers |= {
        "/version": {"major": "1", "minor": "35+", "gitVersion": "v1.35.4"},
        GROUP: {"resources": [{"name": "modelservers"}, {"name": "modelservers/status"}]},
        OPERATORS: listing(READY_POD),
        LEASES: listing({"spec": LEASE["spec"] | {"renewTime": renewed}}),
        f"{OPERATORS}/op-1:8080/proxy/readyz": {"message": "the cache is warm"},
        REVIEW: {"status": {"allowed": True}},
    }
    return api


async def results(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, str]]:
    code = await api.run("doctor", "-o", "json")
    checks = json.loads(capsys.readouterr().out)
    return code, {check["name"]: f"{check['result']}: {check['message']}" for check in checks}


async def test_all_is_well(sound: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = await results(sound, capsys)
    assert code == 0
    assert [text for text in found.values() if not text.startswith("ok: ")] == []
    assert set(found) == {"API server", "CRDs", "operator", "leader", "HTTP port", "ModelServers", "rights"}


async def test_what_is_wrong_is_told(sound: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    sound.serve(model_server(conditions=[condition("Ready", "False", "OutOfMemory", "too small")]))
    sound.answers |= {
        "/version": {"major": "1", "minor": "32", "gitVersion": "v1.32.0"},
        GROUP: 404,
        LEASES: listing(LEASE),
        f"{OPERATORS}/op-1:8080/proxy/readyz": 403,
        REVIEW: {"status": {"allowed": False}},
    }
    code, found = await results(sound, capsys)
    assert code == 1
    for name, start in {
        "API server": "failed: http://127.0.0.1",
        "CRDs": "failed: agentfleet.dev/v1alpha1 is not served",
        "leader": "failed: op-1 has not renewed the Lease for",
        "HTTP port": "warning: not reached",
        "ModelServers": "warning: 0 of 1 in prod are healthy",
        "chat": "warning: Ready: OutOfMemory: too small",
        "rights": "warning: you may not get pods/proxy in agentfleet-system",
    }.items():
        assert found[name].startswith(start)


async def test_without_an_operator(sound: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    sound.answers[OPERATORS] = listing()
    code, found = await results(sound, capsys)
    assert code == 1
    assert found["operator"].startswith("failed: no operator runs in namespace agentfleet-system")
