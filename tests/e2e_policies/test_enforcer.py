"""What nodes are told of policies: which connections are asked about, and the rules that are made of the answers."""

from e2e.policies import enforcer
from e2e.policies.enforcer import Place, outside, place
from e2e.policies.evaluator import Connection, Peer

TILL, DESK, DNS = Peer("10.244.1.2", "shop"), Peer("10.244.2.3", "shop"), Peer("10.244.1.9", "kube-system")


def test_ports_of_all_containers_count() -> None:
    pod = {
        "spec": {
            "containers": [{"ports": [{"containerPort": 8080, "protocol": "TCP", "name": "http"}]}],
            "initContainers": [{"ports": [{"containerPort": 53, "protocol": "UDP"}]}, {}],
        }
    }
    assert place(TILL, pod) == Place(TILL, ((8080, "TCP", "http"), (53, "UDP", "")))


def test_it_is_asked_about_each_way_from_and_to_the_guarded_and_no_other() -> None:
    guarded = [Place(TILL, ((8080, "TCP", "http"),))]
    others = [Place(DESK, ((80, "TCP", ""),)), Place(DNS, ((53, "UDP", ""),)), outside("203.0.113.7", 80)]
    asked = {
        (each.source.address, each.destination.address, each.port, each.protocol)
        for each in enforcer._connections(guarded, others)
    }
    assert asked == {
        ("10.244.1.2", "10.244.1.2", 8080, "TCP"),
        ("10.244.1.2", "10.244.2.3", 80, "TCP"),
        ("10.244.1.2", "10.244.1.9", 53, "UDP"),
        ("10.244.1.2", "203.0.113.7", 80, "TCP"),
        ("10.244.1.2", "203.0.113.7", 80, "UDP"),
        ("10.244.2.3", "10.244.1.2", 8080, "TCP"),
        ("10.244.1.9", "10.244.1.2", 8080, "TCP"),
        ("203.0.113.7", "10.244.1.2", 8080, "TCP"),
    }


def test_what_may_pass_is_named_and_the_rest_of_the_guarded_is_refused() -> None:
    rules = enforcer._rules(["10.244.1.2"], [Connection(TILL, DNS, 53, "UDP")])
    assert "elements = { 10.244.1.2 . 10.244.1.9 . udp . 53 }" in rules
    assert "10.244.1.2 }" in rules
    accepted, refused = rules.index("@open accept"), rules.index("reject with tcp reset")
    assert accepted < refused
