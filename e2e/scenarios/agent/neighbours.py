"""An agent that asks one of another namespace: it is let in there, and known by its own token, whoever asked it."""

from __future__ import annotations

import json

from e2e.scenarios import agents, namespaces
from e2e.scenarios.agent.world import QUESTION, World


def an_agent_of_another_namespace_asks_with_its_own_token(world: World) -> None:
    home = world.scenario
    with namespaces.opened(home.kube, home.operators, home.folder / "abroad") as abroad:
        abroad.apply("visitor.yaml")
        home.until(
            lambda: agents.condition(abroad, "visitor", "Stalled").get("reason") == "RefNotPermitted",
            "it stands outside",
        )
        names = {"from": "Selector", "selector": {"matchLabels": {"kubernetes.io/metadata.name": abroad.namespace}}}
        home.kubectl("patch", "agent", "desk", "--type=merge", "-p", json.dumps({"spec": {"allowedNamespaces": names}}))
        agents.wait_ready(abroad, "visitor")
        world.says({"calls": [["desk", '{"message": "How is ticket 7?"}']]}, {"text": "Open."}, {"text": "It is open."})
        with agents.address(abroad, "visitor") as address, agents.client(address, world.token) as client:
            answer = client.chat.completions.create(model="visitor", messages=[QUESTION])
        assert answer.choices[0].message.content == "It is open."
        (told,) = [message["content"] for message in world.heard()["messages"] if message["role"] == "tool"]
        assert "Open." in told
        caller = f"system:serviceaccount:{abroad.namespace}:visitor-agent"
        home.until(lambda: caller in _callers(world), f"the desk's audit knows {caller}")


def _callers(world: World) -> set[str]:
    return {line.get("caller", "") for line in agents.audit(world.scenario, "desk")}


CHECKS = (an_agent_of_another_namespace_asks_with_its_own_token,)
