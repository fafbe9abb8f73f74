"""`kubectl agentfleet` as users have it: a plugin of the real kubectl."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from e2e.cluster.shell import run
from e2e.scenarios.scenario import Scenario


class Plugin:
    """`kubectl agentfleet`, run in the scenario's namespace."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._cluster = scenario.kube.cluster
        kubectl = next(word for word in self._cluster.kubectl_command() if Path(word).name == "kubectl")
        # kubectl looks for its plugins in PATH, and bench for kubectl
        path = (str(Path(sys.executable).parent), str(Path(kubectl).parent), os.environ["PATH"])
        self._environment = {**os.environ, "PATH": ":".join(path), "KUBECONFIG": str(self._cluster.kubeconfig)}

    def __call__(self, *arguments: str) -> str:
        """What it answers; CommandError where it fails."""
        argv = self._command(*arguments)
        return run(self._cluster.network_command(argv), env=self._environment, shown=argv)

    def data(self, *arguments: str) -> Any:
        """The same, for programs."""
        return json.loads(self(*arguments, "--output=json"))

    def findings(self, name: str) -> list[tuple[str, str]]:
        """What `doctor` finds about something: results and messages. It fails where one of them is a failure."""
        argv = self._cluster.network_command(self._command("doctor", "--output=json"))
        done = subprocess.run(argv, env=self._environment, capture_output=True, text=True, timeout=120, check=False)
        return [(each["result"], each["message"]) for each in json.loads(done.stdout) if each["name"] == name]

    def _command(self, *arguments: str) -> list[str]:
        return ["kubectl", "agentfleet", f"--namespace={self._scenario.namespace}", *arguments]
