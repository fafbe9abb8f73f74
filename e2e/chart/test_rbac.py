"""Who may do what: every verb that the chart grants stands here, so a wider role does not pass unseen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from agentfleet.objects import KINDS
from e2e.chart.rendering import NAMESPACE, Rendered, Values, render

WORK = """\
agentfleet.dev/modelservers: get list watch
agentfleet.dev/agentroutes: get list watch
agentfleet.dev/agents: get list watch
agentfleet.dev/modelservers/status: patch
agentfleet.dev/agentroutes/status: patch
agentfleet.dev/agents/status: patch
apps/deployments: get list watch create patch delete
apps/daemonsets: get list watch create patch delete
apps/statefulsets: get list watch create patch delete
leaderworkerset.x-k8s.io/leaderworkersets: get list watch create patch delete
apps/deployments/scale: patch
leaderworkerset.x-k8s.io/leaderworkersets/scale: patch
batch/jobs: get list watch create patch delete
services: get list watch create patch delete
configmaps: get list watch create patch delete
persistentvolumeclaims: get list watch create patch delete
serviceaccounts: get list watch create patch delete
networking.k8s.io/networkpolicies: get list watch create patch delete
gateway.networking.k8s.io/httproutes: get list watch create patch delete
inference.networking.k8s.io/inferencepools: get list watch create patch delete
secrets: create
policy/poddisruptionbudgets: get list watch create patch delete
autoscaling/horizontalpodautoscalers: list watch
keda.sh/scaledobjects: list watch
pods: get list watch patch
metrics.k8s.io/pods: list
events: list create"""

LEASE = """\
coordination.k8s.io/leases: create
coordination.k8s.io/leases agentfleet: get update"""

NODES = """\
nodes: list watch
namespaces: list watch
metrics.k8s.io/nodes: list"""

VIEW = """\
agentfleet.dev/modelservers: get list watch
agentfleet.dev/modelservers/status: get list watch
agentfleet.dev/modelservers/scale: get list watch
agentfleet.dev/agentroutes: get list watch
agentfleet.dev/agentroutes/status: get list watch
agentfleet.dev/agents: get list watch
agentfleet.dev/agents/status: get list watch"""

EDIT = """\
agentfleet.dev/modelservers: create update patch delete deletecollection
agentfleet.dev/agentroutes: create update patch delete deletecollection
agentfleet.dev/agents: create update patch delete deletecollection
agentfleet.dev/modelservers/scale: update patch"""

SAMPLES = """\
pods: list
pods/proxy: get
coordination.k8s.io/leases: list"""

USERS = {
    "ClusterRole /agentfleet-view": VIEW,
    "ClusterRole /agentfleet-edit": EDIT,
    "ClusterRole /agentfleet-samples": SAMPLES,
}
OWN = {f"Role {NAMESPACE}/agentfleet-lease": LEASE}
CLUSTER = "agentfleet-agentfleet-system"
REVIEW = f"ClusterRole /{CLUSTER}-token-review"
CALLERS = {REVIEW: "authentication.k8s.io/tokenreviews: create"}
"""For pods of Agents, not for the operator."""
NAMESPACED: Values = {"watch": {"namespaces": ["a", "b"]}}

GOLDEN: dict[str, tuple[Values, dict[str, str]]] = {
    "cluster": ({}, USERS | OWN | CALLERS | {f"ClusterRole /{CLUSTER}": WORK, f"ClusterRole /{CLUSTER}-nodes": NODES}),
    "cluster without nodes": ({"watch": {"nodes": False}}, USERS | OWN | CALLERS | {f"ClusterRole /{CLUSTER}": WORK}),
    "namespaced": (
        NAMESPACED,
        USERS
        | OWN
        | CALLERS
        | {f"ClusterRole /{CLUSTER}-nodes": NODES, "Role a/agentfleet": WORK, "Role b/agentfleet": WORK},
    ),
    "namespaced without nodes and callers": (
        {
            "watch": {"namespaces": ["a"], "nodes": False},
            "rbac": {"aggregateRoles": False},
            "agents": {"directCallers": False},
        },
        OWN | {"Role a/agentfleet": WORK},
    ),
}


def _roles(rendered: Rendered) -> list[dict[str, Any]]:
    return rendered.all("Role") + rendered.all("ClusterRole")


def _table(role: dict[str, Any]) -> str:
    """One line per resource, with the API group before it and the names that it is limited to behind it."""
    return "\n".join(
        f"{' '.join((f'{group}/{resource}'.lstrip('/'), *rule.get('resourceNames', ())))}: {' '.join(rule['verbs'])}"
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    )


def _identity(role: dict[str, Any]) -> str:
    return f"{role['kind']} {role['metadata'].get('namespace', '')}/{role['metadata']['name']}"


@pytest.mark.parametrize(("values", "golden"), GOLDEN.values(), ids=GOLDEN)
def test_rights(values: Values, golden: dict[str, str]) -> None:
    assert {_identity(role): _table(role) for role in _roles(render(values))} == golden


@pytest.mark.parametrize("values", [case[0] for case in GOLDEN.values()], ids=GOLDEN)
def test_no_secret_can_be_read_and_nothing_is_a_wildcard(values: Values) -> None:
    for role in _roles(render(values)):
        granted = [word for rule in role["rules"] for words in rule.values() for word in words]
        assert not [word for word in granted if "*" in word or word.startswith("secrets/")], _identity(role)
        on_secrets = {verb for rule in role["rules"] if "secrets" in rule["resources"] for verb in rule["verbs"]}
        assert on_secrets <= {"create"}, _identity(role)
        assert not {"bind", "escalate", "impersonate"} & set(granted), _identity(role)


@pytest.mark.parametrize("values", [case[0] for case in GOLDEN.values()], ids=GOLDEN)
def test_bindings_join_existing_roles_to_the_operator(values: Values) -> None:
    rendered = render(values)
    roles = {_identity(role) for role in _roles(rendered)}
    bound = set(_bound(rendered))
    assert bound <= roles
    assert roles - bound == {role for role in roles if role in USERS}
    account = {"kind": "ServiceAccount", "name": rendered.pod["spec"]["serviceAccountName"], "namespace": NAMESPACE}
    for binding in rendered.all("RoleBinding") + rendered.all("ClusterRoleBinding"):
        if not _is_of_callers(binding):
            assert binding["subjects"] == [account]


def _is_of_callers(binding: dict[str, Any]) -> bool:
    return str(binding["roleRef"]["name"]).endswith("-token-review")


@pytest.mark.parametrize(
    ("values", "groups"),
    [({}, ["system:serviceaccounts"]), (NAMESPACED, ["system:serviceaccounts:a", "system:serviceaccounts:b"])],
)
def test_pods_of_watched_namespaces_may_ask_whose_a_token_is(values: Values, groups: list[str]) -> None:
    [binding] = [each for each in render(values).all("ClusterRoleBinding") if _is_of_callers(each)]
    assert [(subject["kind"], subject["name"]) for subject in binding["subjects"]] == [
        ("Group", name) for name in groups
    ]


def _bound(rendered: Rendered) -> Iterator[str]:
    for binding in rendered.all("RoleBinding") + rendered.all("ClusterRoleBinding"):
        reference = binding["roleRef"]
        namespace = binding["metadata"]["namespace"] if reference["kind"] == "Role" else ""
        yield f"{reference['kind']} {namespace}/{reference['name']}"


def test_a_list_of_namespaces_means_no_write_across_the_cluster() -> None:
    rendered = render(NAMESPACED)
    for binding in rendered.all("ClusterRoleBinding"):
        if _is_of_callers(binding):  # a TokenReview is a question: nothing is stored
            continue
        role = rendered.one("ClusterRole", binding["roleRef"]["name"])
        assert {verb for rule in role["rules"] for verb in rule["verbs"]} <= {"get", "list", "watch"}


def test_without_nodes_and_callers_a_namespaced_operator_has_nothing_cluster_wide() -> None:
    values: Values = {"watch": {"namespaces": ["a"], "nodes": False}, "agents": {"directCallers": False}}
    assert render(values).all("ClusterRoleBinding") == []


def test_everything_that_is_watched_may_be_watched() -> None:
    rights = "\n".join(_table(role) for role in _roles(render()) if _identity(role) not in USERS).splitlines()
    for kind in (kind for kind in KINDS.values() if kind.watched):
        resource = f"{kind.group}/{kind.plural}".lstrip("/")
        verbs = next(line for line in rights if line.startswith(f"{resource}:")).split(": ")[1].split()
        assert {"list", "watch"} <= set(verbs), kind.name


def test_user_roles_add_to_the_clusters_own() -> None:
    prefix = "rbac.authorization.k8s.io/aggregate-to-"
    rendered = render()
    for name, expected in (
        ("agentfleet-view", {"view", "edit", "admin"}),
        ("agentfleet-edit", {"edit", "admin"}),
        ("agentfleet-samples", set()),
    ):
        labels = rendered.one("ClusterRole", name)["metadata"]["labels"]
        assert {key.removeprefix(prefix) for key in labels if key.startswith(prefix)} == expected


def test_the_lease_that_is_granted_is_the_one_that_is_used() -> None:
    for values in ({}, {"fullnameOverride": "models"}):
        rendered = render(values)
        limited = [rule for role in rendered.all("Role") for rule in role["rules"] if "resourceNames" in rule]
        assert [rule["resourceNames"] for rule in limited] == [[rendered.environment["AGENTFLEET_LEASE_NAME"]]]
