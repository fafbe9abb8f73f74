"""The command line of `agentfleet decider`. In a gateway pod nothing has to be said; tests say where everything is."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from agentfleet.decider.paths import Paths
from agentfleet.gateway import layout

_FOLDERS = {
    "config": "route.json and decider.json",
    "run": "maps and sockets, shared with HAProxy",
    "keys": "mounted Secret of API keys",
    "jwt": "mounted Secret of public keys of tokens",
    "credentials": "mounted keys of targets, a folder for each",
    "tls": "mounted certificate of the gateway",
    "identity": "file with the key that identities are signed with",
    "budgets": "file of used budgets, as the operator has kept it",
}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options; `paths_of` makes Paths of them."""
    parser = argparse.ArgumentParser(prog="agentfleet decider", description="The gateway's helper beside HAProxy.")
    parser.add_argument("--prepare", action="store_true", help="write what HAProxy reads when it starts, and end")
    parser.add_argument("--name", default=os.environ.get("HOSTNAME", ""), help="this gateway (default: $HOSTNAME)")
    parser.add_argument("--port", type=int, default=layout.DECIDER_PORT, help="on 127.0.0.1 (default: %(default)s)")
    parser.add_argument("--page-address", default="0.0.0.0", help="of the page (default: %(default)s)")  # noqa: S104
    parser.add_argument("--page-port", type=int, default=layout.DEMAND_PORT, help="(default: %(default)s)")
    parser.add_argument(
        "--loopback",
        default=f"http://127.0.0.1:{layout.HTTP_PORT}",
        help="HAProxy, for /chat (default: %(default)s)",
    )
    parser.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    for name, help_text in _FOLDERS.items():
        default = getattr(Paths(), name)
        parser.add_argument(f"--{name}", type=Path, default=default, help=f"{help_text} (default: %(default)s)")
    return parser.parse_args(argv)


def paths_of(options: argparse.Namespace) -> Paths:
    """Where everything is."""
    return Paths(**{name: getattr(options, name) for name in _FOLDERS})
