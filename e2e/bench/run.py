"""``python3 e2e bench NAME``: finds the benchmark, prints its figures, and with ``--json`` one object last."""

from __future__ import annotations

import argparse
import importlib
import signal
from collections.abc import Sequence

BENCHES = {
    "reconcile": ("e2e.bench.reconcile", "the operator against a bare client that makes the same writes"),
    "gateway": ("e2e.bench.gateway", "the AgentRoute's gateway with a whole policy against lesser proxies"),
    "agent": ("e2e.bench.agent", "a run of an agent against the bare call of its model; its memory and its start"),
    "loop": ("e2e.bench.loop", "the scaling loop over 1,000 ModelServers against plain HTTP requests"),
}
"""Each module has add_arguments(parser) and measure(options) -> Report."""


def main(arguments: Sequence[str]) -> int:
    """Run one benchmark. None of them needs a cluster: they bring what they measure."""
    # Ended by SIGTERM or by Ctrl-C, a benchmark stops the processes that it started.
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background jobs start with SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    parser = argparse.ArgumentParser(prog="python3 e2e bench", description=__doc__)
    found = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    for name, (module, text) in BENCHES.items():
        bench = found.add_parser(name, help=text, description=text)
        bench.add_argument("--json", action="store_true", help="print the figures as one JSON object at the end")
        importlib.import_module(module).add_arguments(bench)
    options = parser.parse_args(arguments)
    report = importlib.import_module(BENCHES[options.name][0]).measure(options)
    print(report.text(), flush=True)
    if options.json:
        print(report.json(), flush=True)
    return 0
