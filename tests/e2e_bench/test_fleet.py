from datetime import UTC, datetime

from e2e.bench.fleet import fleet

NOW = datetime(2026, 11, 21, 10, tzinfo=UTC)


def test_each_member_is_created_and_then_applied_in_the_operators_order() -> None:
    first, second = fleet("demo", 2, NOW)
    assert first.create.target == ("modelservers", "m-0000")
    resources = [request.target[0] for request in first.applies]
    assert resources == ["services", "services", "networkpolicies", "deployments", "modelservers/status"]
    assert not {request.target for request in first.applies} & {request.target for request in second.applies}


def test_an_owner_reference_carries_the_uid_that_the_server_gave() -> None:
    (member,) = fleet("demo", 1, NOW)
    uid = "12345678-1234-4321-8765-123456789abc"
    for request in member.applies[:-1]:
        assert request.body.count(uid.encode()) == 0
        owned = request.owned_by(uid)
        assert uid.encode() in owned.body
        assert owned.owned_by("another").body == owned.body, "no other uid was left in it"
        assert owned.target == request.target
