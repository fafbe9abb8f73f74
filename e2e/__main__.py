"""``python3 e2e COMMAND``: the command line of the end-to-end harness.

It starts with the standard library alone; commands that need more re-run themselves inside the virtual environment,
and commands that talk to the cluster's own addresses re-run themselves inside its network.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

_REPOSITORY = Path(__file__).resolve().parents[1]
if sys.path[0] == str(_REPOSITORY / "e2e"):
    # `python3 e2e` puts this folder first, where its modules would shadow others of the same name.
    sys.path[0] = str(_REPOSITORY)

from e2e import bootstrap, commands  # noqa: E402
from e2e.cluster import ClusterError, Target, connect, packages  # noqa: E402
from e2e.cluster.shell import without_proxies  # noqa: E402

_PASSED_ON = ("kubectl", "test", "demo", "bench")
"""Commands whose arguments are not ours to read."""
_IN_NETWORK = "AGENTFLEET_E2E_IN_NETWORK"


def main(argv: Sequence[str]) -> int:
    """Run one command; return the exit status."""
    ours, passed_on = _split(argv)
    options = _parser().parse_args(ours)
    # Absent unless given: a default of the subcommand's would overwrite what stands before the command.
    target = Target(context=getattr(options, "context", None), kind=getattr(options, "kind", None))
    try:
        if target == Target() and options.command != "bench" and "--no-cluster" not in passed_on:
            packages.require_root()  # before minutes of preparation
        if _needs_environment(options) and not bootstrap.entered():
            bootstrap.enter(argv)
        if options.command == "demo" and _IN_NETWORK not in os.environ:
            _enter_network(target, argv)
        return _run(options, target, passed_on)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; run the command again, or `python3 e2e down` to remove what is there", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python would complain once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(options: argparse.Namespace, target: Target, arguments: list[str]) -> int:
    status = 0
    match options.command:
        case "kubectl":
            status = commands.kubectl(target, arguments)
        case "test":
            status = importlib.import_module("e2e.run").main(target, arguments)
        case "demo":
            status = importlib.import_module("e2e.demo").main(connect(target), arguments)
        case "bench":
            status = importlib.import_module("e2e.bench.run").main(arguments)
        case "up":
            commands.up(target, nodes=options.nodes, gpus=options.gpus, fake_nodes=options.kwok, bare=options.bare)
        case "down":
            commands.down(target, purge_cache=options.purge_cache)
        case "status":
            commands.status(target)
        case "load":
            commands.load(target, options.archive)
    return status


def _enter_network(target: Target, argv: Sequence[str]) -> NoReturn:
    """Start again where the cluster's own addresses can be reached; brings the cluster up where none is."""
    words = commands.running(target).network_command([sys.executable, "-m", "e2e", *argv])
    os.execvpe(words[0], words, {**without_proxies(os.environ), _IN_NETWORK: "1"})  # noqa: S606


def _needs_environment(options: argparse.Namespace) -> bool:
    return options.command in ("demo", "bench", "test", "load") or (options.command == "up" and not options.bare)


def _split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Our words, and those behind a command whose arguments belong to another program."""
    words = iter(enumerate(argv))
    for index, word in words:
        if word in ("--context", "--kind"):
            next(words, None)
        elif word in _PASSED_ON:
            return list(argv[: index + 1]), list(argv[index + 1 :])
        elif not word.startswith("-"):
            break
    return list(argv), []


def _parser() -> argparse.ArgumentParser:
    which = argparse.ArgumentParser(add_help=False)
    group = which.add_mutually_exclusive_group()
    absent = argparse.SUPPRESS
    group.add_argument("--context", metavar="NAME", default=absent, help="use this context of your kubeconfig")
    group.add_argument("--kind", metavar="NAME", default=absent, help="use this cluster of kind (needs Docker)")

    parser = argparse.ArgumentParser(
        prog="python3 e2e",
        description="End-to-end harness of agentfleet. Without --context or --kind it works on a cluster of its own, "
        "a real Kubernetes that it brings up on this machine (Linux, root).",
        parents=[which],
    )
    found = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    up = found.add_parser("up", parents=[which], help="bring up a cluster with agentfleet installed, or repair it")
    up.add_argument("--nodes", type=int, default=2, metavar="N", help="real nodes, each an edge site (default 2)")
    up.add_argument("--gpus", type=int, metavar="N", help="fake nvidia.com/gpu on each real node")
    up.add_argument("--kwok", type=int, metavar="N", help="fake nodes beside the real ones")
    up.add_argument("--bare", action="store_true", help="the cluster alone: no images, no agentfleet")

    down = found.add_parser("down", parents=[which], help="remove the cluster and all it left on this machine")
    down.add_argument("--purge-cache", action="store_true", help="remove built programs and images as well")

    load = found.add_parser("load", parents=[which], help="build agentfleet's image, load it, restart the operator")
    load.add_argument("archive", nargs="*", type=Path, help="load these image archives instead")

    found.add_parser("status", parents=[which], help="what runs, and where its logs are")
    for name, text in (
        ("kubectl", "run the cluster's kubectl"),
        ("demo", "show the project at work"),
        ("test", "run all checks and scenarios, or those that are named"),
        ("bench", "run the benchmarks"),
    ):
        found.add_parser(name, add_help=False, help=text)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
