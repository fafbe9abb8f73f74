"""``python3 e2e demo``: the project at work in a minute, as the commands that a user would type.

It leaves the fleet running and ends with what to try next; ``python3 e2e down`` removes everything.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from e2e.chat import QUESTION, Chat, chat
from e2e.cluster import Cluster, ClusterError, wait_until
from e2e.install import is_installed

_FLEET = Path(__file__).parent / "fleet"
_NAMESPACE = "fleet"
_SERVERS = ("helpdesk", "summaries")
_AGENT = "frontdesk"

_NEXT = f"""
The fleet goes on running. What to try next:

  python3 e2e kubectl -n {_NAMESPACE} get modelservers --watch
  python3 e2e kubectl -n {_NAMESPACE} scale ms helpdesk --replicas=3
  python3 e2e kubectl -n {_NAMESPACE} edit ms helpdesk      # llamaCpp.contextSize: 2048 is a rollout
  python3 e2e kubectl -n {_NAMESPACE} patch ms helpdesk --type=merge -p '{{"spec":{{"replicas":-1}}}}'      # is refused
  python3 e2e kubectl explain modelserver.spec.model.uri
  python3 e2e kubectl explain agent.spec.tools
  python3 e2e kubectl -n {_NAMESPACE} logs deployment/{_AGENT}-agent      # among them the audit: a line for each run
  python3 e2e kubectl -n agentfleet-system logs deployment/agentfleet
  python3 e2e test scenarios/rollout      # a rollout that loses no request
  python3 e2e down                        # removes it all

The manifests are in e2e/fleet: change them and apply them again."""


def main(cluster: Cluster, arguments: Sequence[str]) -> int:
    """Show the project on ``cluster``; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python3 e2e demo", description="Show the project at work.")
    parser.parse_args(arguments)
    demo = _Demo(cluster)
    try:
        demo.apply()
        for name in _SERVERS:
            demo.ask(name)
        demo.ask_the_agent()
        demo.look()
        demo.repair()
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(_NEXT)
    return 0


class _Demo:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def apply(self) -> None:
        if not is_installed(self._cluster):
            raise ClusterError("agentfleet is not installed in this cluster: run `python3 e2e up` first")
        _title("Apply the fleet of e2e/fleet and wait until it serves")
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _NAMESPACE}}
        self._cluster.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(namespace))
        self._show("apply", "-f", str(_FLEET))
        began = time.monotonic()
        self._show("wait", "--for=condition=Ready", "modelserver", "--all", "--timeout=180s")
        self._show("wait", "--for=condition=Ready", "agent", "--all", "--timeout=180s")
        print(f"Ready after {time.monotonic() - began:.1f} s.")

    def ask(self, name: str) -> None:
        _title(f"Ask {name} through its Service, with the OpenAI client")
        with (
            self._cluster.service(_NAMESPACE, f"{name}-model", 80) as address,
            chat(address, name, timeout=60) as client,
        ):
            _converse(client, name)

    def ask_the_agent(self) -> None:
        _title(f"Ask the agent {_AGENT}, which has helpdesk for its model, as the service account default")
        token = self._kubectl("create", "token", "default", "--audience=agentfleet").strip()
        with (
            self._cluster.service(_NAMESPACE, f"{_AGENT}-agent", 80) as address,
            chat(address, _AGENT, timeout=60, key=token) as client,
        ):
            _converse(client, _AGENT)

    def look(self) -> None:
        _title("Look at it")
        self._show("get", "modelservers,agents")
        self._show("get", "modelserver", "helpdesk", "-o", "jsonpath={.status.url}{'\\n'}")

    def repair(self) -> None:
        _title("Delete a child, and see it return")
        service = "helpdesk-model"
        before = self._uid(service)
        self._show("delete", "service", service)
        began = time.monotonic()
        wait_until(lambda: self._uid(service) not in ("", before), f"Service {service} is back", timeout=30)
        print(f"Back after {time.monotonic() - began:.1f} s.")
        self._show("get", "service", service)

    def _uid(self, service: str) -> str:
        return self._kubectl("get", "service", service, "--ignore-not-found", "-o", "jsonpath={.metadata.uid}")

    def _show(self, *arguments: str) -> None:
        """Run kubectl and print the command line and what it says."""
        print(f"\n$ kubectl -n {_NAMESPACE} {' '.join(arguments)}".replace(str(_FLEET), "e2e/fleet"))
        print(self._kubectl(*arguments).rstrip(), flush=True)

    def _kubectl(self, *arguments: str) -> str:
        return self._cluster.kubectl("-n", _NAMESPACE, *arguments, timeout=200)


def _converse(client: Chat, name: str) -> None:
    print(f'client.chat.completions.create(model="{name}", messages=[{{"role": "user", "content": …}}])')
    print(f"  question  {QUESTION}")
    whole = client.ask()
    print(f"  answer    {whole.text!r} ({whole.completion_tokens} tokens; random weights talk noise)")
    streamed = client.stream()
    print(f"  streamed  in {streamed.pieces} pieces, {streamed.completion_tokens} tokens")


def _title(text: str) -> None:
    print(f"\n— {text} —", flush=True)
