"""A command in a container, by `kubectl exec`: a plugin of kubectl may count on kubectl."""

import asyncio
from asyncio.subprocess import DEVNULL, PIPE

from agentfleet.errors import AgentfleetError

_PATIENCE = 30.0


class NotExecuted(AgentfleetError):
    """kubectl is absent, or the command could not be run, or ended with an error."""


async def executed(
    namespace: str, pod: str, container: str, *command: str, kubeconfig: str | None, context: str | None
) -> str:
    """What the command wrote to stdout; NotExecuted has what kubectl, or the command, said."""
    argv = ["kubectl", "exec", f"--namespace={namespace}", f"--container={container}"]
    argv += [f"--kubeconfig={kubeconfig}"] if kubeconfig else []
    argv += [f"--context={context}"] if context else []
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, f"pod/{pod}", "--", *command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
        )
    except FileNotFoundError as error:
        raise NotExecuted("kubectl is not in PATH") from error
    try:
        async with asyncio.timeout(_PATIENCE):
            said, complained = await process.communicate()
    except TimeoutError as error:
        raise NotExecuted(f"kubectl exec in {pod} does not end within {_PATIENCE:.0f} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        words = complained.decode(errors="replace").strip().splitlines()
        raise NotExecuted(f"kubectl exec in {pod} fails: {words[-1] if words else f'exit code {process.returncode}'}")
    return said.decode(errors="replace")
