"""Renders the chart with the real helm and gives its objects as plain data. Decides nothing about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from e2e.cluster import toolchain
from e2e.cluster.shell import run

CHART = Path(__file__).parents[2] / "charts" / "agentfleet"
RELEASE = "agentfleet"
NAMESPACE = "agentfleet-system"

Manifest = dict[str, Any]
Values = dict[str, Any]


@cache
def helm() -> str:
    """Path of the helm program, built on first use."""
    return str(toolchain.helm())


@dataclass(frozen=True)
class Rendered:
    """The objects of one rendering, in helm's order."""

    documents: tuple[Manifest, ...]

    def all(self, kind: str) -> list[Manifest]:
        return [document for document in self.documents if document["kind"] == kind]

    def one(self, kind: str, name: str = "") -> Manifest:
        """The only object of a kind, or the one with this name."""
        found = [document for document in self.all(kind) if name in ("", document["metadata"]["name"])]
        assert len(found) == 1, f"{len(found)} objects {kind} {name}, wanted one"
        return found[0]

    @property
    def pod(self) -> Manifest:
        """The operator's pod template."""
        template: Manifest = self.one("Deployment")["spec"]["template"]
        return template

    @property
    def container(self) -> Manifest:
        container: Manifest = self.pod["spec"]["containers"][0]
        return container

    @property
    def environment(self) -> dict[str, str]:
        """The container's variables as a process would see them in the pod `agentfleet-0`."""
        fields = {"metadata.name": "agentfleet-0", "metadata.namespace": NAMESPACE}
        env = self.container["env"]
        literal = {entry["name"]: entry["value"] for entry in env if "value" in entry}
        referred = {entry["name"]: entry["valueFrom"]["fieldRef"]["fieldPath"] for entry in env if "valueFrom" in entry}
        return literal | {name: fields[path] for name, path in referred.items()}


def render(
    values: Values | None = None, *, namespace: str = NAMESPACE, chart: Path = CHART, served: Sequence[str] = ()
) -> Rendered:
    """The chart's objects under `values`; CommandError with helm's words where it refuses them.

    `served` are kinds that the cluster has besides Kubernetes' own, as `group/version/kind`.
    """
    # Our helm is built without the Kubernetes version that released ones carry, so it is named here.
    options = ["--namespace", namespace, "--kube-version", "1.33.0", "--values", "-"]
    options += [word for kind in served for word in ("--api-versions", kind)]
    text = run([helm(), "template", RELEASE, str(chart), *options], stdin=yaml.safe_dump(values or {}))
    return Rendered(tuple(document for document in yaml.safe_load_all(text) if document))


def nested(path: str, value: Any) -> Values:
    """Values with one leaf: `image.tag`, `x` → `{image: {tag: x}}`."""
    for part in reversed(path.split(".")):
        value = {part: value}
    result: Values = value
    return result


def leaves(values: Values, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Path and value of everything that is not a map with content."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def defaults() -> Values:
    """The chart's values.yaml."""
    values: Values = yaml.safe_load((CHART / "values.yaml").read_text())
    return values
