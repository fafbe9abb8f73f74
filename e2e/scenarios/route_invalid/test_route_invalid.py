"""Routes that cannot work: refused by the API server where one look at them shows it, else a condition says why.

Each file in refused/ says in its first line what the refusal must contain, each route in routes.yaml in a label which
condition it must get.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from e2e.scenarios.kube import Kube
from e2e.scenarios.refusals import check_refused, refused_files
from e2e.scenarios.routes import condition, gateways
from e2e.scenarios.scenario import Scenario

_HERE = Path(__file__).parent
_EXPECTED: dict[str, str] = {
    each["metadata"]["name"]: each["metadata"]["labels"]["expect"]
    for each in yaml.safe_load_all((_HERE / "routes.yaml").read_text(encoding="utf-8"))
}
_WORDS = {
    "no-such-server": "there is no ModelServer absent",
    "no-such-agent": "there is no Agent absent",
    "not-let-in": "allowedNamespaces",
    "cycle-a": "cycle-b",
    "cycle-b": "cycle-a",
    "to-itself": "to-itself",
    "cloud-for-all": "spec.auth",
    "only-clouds": "rule secrets",
    "bad-pattern": "classify.sensitivity.custom order",
    "slow-pattern": "classify.sensitivity.custom order",
    "loopback": "127.0.0.1",
    "metadata-service": "169.254.169.254",
    "name-taken": "name-taken-route",
}
_OTHER = "e2e-route-invalid-b"


@pytest.fixture(scope="module")
def applied(scenario: Scenario, kube: Kube) -> Iterator[None]:
    """All that the API server takes."""
    kube.create("Namespace", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _OTHER}})
    theirs = {"engine": "LlamaCpp", "model": {"uri": "pvc://models/tiny.gguf"}, "replicas": 0}
    about = {"apiVersion": "agentfleet.dev/v1alpha1", "kind": "ModelServer", "metadata": {"name": "theirs"}}
    kube.create("ModelServer", about | {"spec": theirs}, _OTHER)
    scenario.apply("taken.yaml")
    scenario.apply("routes.yaml")
    yield
    kube.delete_all("ModelServer", _OTHER)


@pytest.mark.parametrize("file", refused_files(__file__), ids=lambda file: file.stem)
def test_is_refused_in_words_that_help(scenario: Scenario, file: Path) -> None:
    check_refused(scenario, file)


@pytest.mark.usefixtures("applied")
@pytest.mark.parametrize("name", _EXPECTED)
def test_its_condition_says_why(scenario: Scenario, name: str) -> None:
    kind, reason = _EXPECTED[name].split(".")
    wanted = ("True" if kind == "Stalled" else "False", reason)

    def said() -> bool:
        found = condition(scenario, name, kind)
        return (found.get("status"), found.get("reason")) == wanted

    scenario.until(said, f"{name} is {kind} with reason {reason}", timeout=60)
    assert _WORDS[name] in condition(scenario, name, kind)["message"]
    assert condition(scenario, name, "Ready").get("status") != "True"


_NEVER_RIGHT = {name for name, expected in _EXPECTED.items() if expected.startswith("Stalled.")} - {"cycle-a"}
"""cycle-a was right until there was cycle-b."""


@pytest.mark.usefixtures("applied")
@pytest.mark.parametrize("name", sorted(_NEVER_RIGHT))
def test_nothing_is_made_of_it(scenario: Scenario, name: str) -> None:
    assert gateways(scenario, name) == []
