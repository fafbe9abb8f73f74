"""Specs that cannot work are refused by the API server, in words that name the field, its value and what is legal.

Each file in refused/ says in its first line what the refusal must contain.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.scenarios.kube import Refused
from e2e.scenarios.refusals import check_refused, refused_files
from e2e.scenarios.scenario import Scenario


@pytest.mark.parametrize("file", refused_files(__file__), ids=lambda file: file.stem)
def test_is_refused_in_words_that_help(scenario: Scenario, file: Path) -> None:
    check_refused(scenario, file)


@pytest.mark.parametrize("field", ["uri", "name"])
def test_a_megabyte_of_garbage_is_refused_shortly(scenario: Scenario, field: str) -> None:
    spec = {"engine": "VLLM", "model": {"uri": "hf://acme/chat-7b", field: "x\u0000\ufffe'\"}{%" * 110_000}}
    manifest = {
        "apiVersion": "agentfleet.dev/v1alpha1",
        "kind": "ModelServer",
        "metadata": {"name": "big"},
        "spec": spec,
    }
    with pytest.raises(Refused) as refused:
        scenario.kube.create("ModelServer", manifest, scenario.namespace)
    assert refused.value.status in (400, 413, 422)
    assert f"spec.model.{field}" in str(refused.value)
    assert len(str(refused.value)) < 20_000


def test_nothing_was_stored(scenario: Scenario) -> None:
    assert scenario.kube.list("ModelServer", scenario.namespace) == []
