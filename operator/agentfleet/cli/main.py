"""The console script kubectl-agentfleet: from the command line to a command's module, and from errors to exit codes.

A command's module, and with it the Kubernetes client, is imported only once its arguments are known to be right, so
that help and mistakes come at once.
"""

import asyncio
import importlib
import os
import sys
from argparse import Namespace
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from agentfleet.cli.arguments import parse
from agentfleet.errors import AgentfleetError

if TYPE_CHECKING:
    from agentfleet.cli.api import Api

Command = Callable[[Namespace, "Api"], Awaitable[int]]
"""What each module of a command has as `run`: it writes its answer, and returns the exit code."""

Offline = Callable[[Namespace], Awaitable[int]]
"""What modules of commands with --offline have as `offline`, too: the same without an API server."""

_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done; 1 refused or failed, with one line on stderr; 2 a wrong command line; 3 by `status --check`
    where something is not healthy."""
    arguments = parse(sys.argv[1:] if argv is None else argv)
    try:
        return asyncio.run(_run(arguments))
    except AgentfleetError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # `| head` has seen enough; without this Python would complain again while it closes stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


async def _run(arguments: Namespace) -> int:
    module = importlib.import_module(f"agentfleet.cli.{arguments.module}")
    if arguments.offline:
        offline: Offline = module.offline
        return await offline(arguments)
    command: Command = module.run
    connect = importlib.import_module("agentfleet.cli.api").connect
    async with connect(arguments.kubeconfig, arguments.context) as api:
        return await command(arguments, api)
