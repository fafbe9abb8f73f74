"""Agents as those who ask them see them: their state, callers who prove who they are, and clients of their API."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from openai import DefaultHttpxClient, OpenAI
from prometheus_client.parser import text_string_to_metric_families

from e2e.scenarios.kube import Manifest, path_of
from e2e.scenarios.scenario import Scenario, accepts

OWNED = "agentfleet.dev/agent"
"""Label on every child of an Agent; its value is the Agent's name."""
PORT = 8080
"""Of the pods."""
PYTHON = "/opt/agentfleet/bin/python"
"""In all containers of the pods."""
AUDIENCE = "agentfleet"
"""Of the tokens that callers show."""


def wait_ready(scenario: Scenario, *names: str, timeout: int = 90) -> None:
    """``kubectl wait`` until the named Agents are Ready; all of the namespace where none is named."""
    which = [f"agent/{name}" for name in names] or ["agent", "--all"]
    try:
        scenario.kubectl("wait", "--for=condition=Ready", f"--timeout={timeout}s", *which, timeout=timeout + 30)
    except Exception as error:
        raise AssertionError(f"{error}\n{scenario.report()}") from error


def status(scenario: Scenario, name: str) -> Manifest:
    """The status of an Agent."""
    found = scenario.kube.get("Agent", name, scenario.namespace)
    assert found is not None, f"there is no Agent {name} in {scenario.namespace}"
    return dict(found.get("status", {}))


def condition(scenario: Scenario, name: str, kind: str) -> Manifest:
    """One condition of an Agent; empty where it has none."""
    found = status(scenario, name).get("conditions", [])
    return next((each for each in found if each["type"] == kind), {})


def children(scenario: Scenario, kind: str, name: str) -> list[Manifest]:
    """Objects of one kind that belong to an Agent, those on their way out left out."""
    found = scenario.kube.list(kind, scenario.namespace, labels=f"{OWNED}={name}")
    return [child for child in found if "deletionTimestamp" not in child["metadata"]]


def pods(scenario: Scenario, name: str) -> list[str]:
    """The names of an Agent's pods, those on their way out left out."""
    return [pod["metadata"]["name"] for pod in children(scenario, "Pod", name)]


def log(scenario: Scenario, name: str) -> str:
    """What the pods of an Agent have logged: log and audit lines."""
    return "".join(scenario.kubectl("logs", pod, "--container=agent") for pod in pods(scenario, name))


def audit(scenario: Scenario, name: str) -> list[Manifest]:
    """The audit lines of an Agent."""
    lines = [json.loads(line) for line in log(scenario, name).splitlines() if line.startswith("{")]
    return [line for line in lines if "chain" in line]


def metric(scenario: Scenario, name: str, metric: str, /, **labels: str) -> float:
    """Sum over the pods of an Agent of a metric's samples that have these labels."""
    total = 0.0
    for pod in pods(scenario, name):
        text = scenario.kube.text(f"{path_of('Pod', scenario.namespace, f'{pod}:{PORT}')}/proxy/metrics")
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        total += sum(each.value for each in samples if each.name == metric and labels.items() <= each.labels.items())
    return total


def token(scenario: Scenario, account: str = "default") -> str:
    """What a pod of this service account shows to an agent that it asks."""
    return scenario.kubectl("create", "token", account, f"--audience={AUDIENCE}", "--duration=1h").strip()


@contextmanager
def address(scenario: Scenario, name: str) -> Iterator[str]:
    """``host:port`` of the named Agent's Service, which lets connections through: kube-proxy hears of pods last."""
    with scenario.kube.cluster.service(scenario.namespace, f"{name}-agent", 80) as found:
        scenario.until(lambda: accepts(found), f"the Service of {name} lets connections through")
        yield found


@contextmanager
def client(address: str, key: str, *, timeout: float = 60, headers: Sequence[tuple[str, str]] = ()) -> Iterator[OpenAI]:
    """OpenAI's own client of an agent at ``host:port``. It never tries again: a lost request must show."""
    with (
        DefaultHttpxClient(trust_env=False, timeout=timeout) as http,
        OpenAI(
            base_url=f"http://{address}/v1", api_key=key, max_retries=0, http_client=http, default_headers=dict(headers)
        ) as found,
    ):
        yield found
