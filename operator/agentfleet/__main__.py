"""`agentfleet COMMAND`: finds the module of a command and hands over the rest of the line. No logic of any command.

A command's module is imported only when it is asked for: the sidecar must not pay for the operator's libraries.
"""

import argparse
import importlib
import sys
from collections.abc import Callable

from agentfleet import __version__

COMMANDS = {
    "operator": ("agentfleet.app", "run the operator"),
    "crds": ("agentfleet.crds", "print, write or check the CRDs"),
    "sidecar": ("agentfleet.sidecar.main", "run beside an engine: drain, progress, metrics"),
    "decider": ("agentfleet.decider.main", "run beside HAProxy in a gateway: intents, keys, budgets, demand"),
    "runtime": ("agentfleet.runtime.main", "serve one agent"),
    "toolhost": ("agentfleet.runtime.tools.python_host", "serve Python functions as tools to the agent beside it"),
    "probe": ("agentfleet.sidecar.prober", "watch an endpoint outside the cluster"),
    "loader": ("agentfleet.sidecar.loader", "download a model into a cache folder"),
    "simulate": ("agentfleet.simulator.main", "replay load against the scaling loop and other autoscalers"),
    "gpu-exporter": ("agentfleet.gpu.main", "metrics of a node's GPUs"),
}
"""Each module has main(argv) -> int, which gets what follows the command and returns the exit code."""


def main() -> int:
    """The console script."""
    listing = "\n".join(f"  {name:12} {help_text}" for name, (_, help_text) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="agentfleet",
        description="Fleets of AI agents and model servers on Kubernetes.",
        epilog=f"commands:\n{listing}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("command", choices=COMMANDS, metavar="command", help="see below")
    # everything from the command on belongs to it, its --help included
    arguments = parser.parse_args(sys.argv[1:2])
    module = importlib.import_module(COMMANDS[arguments.command][0])
    command: Callable[[list[str]], int] = module.main
    return command(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
