"""``python3 e2e test``: everything that shows whether the project works, from the quick checks to the scenarios.

The parts run one after the other, but for checks that only compute: those run beside the unit tests. A part that fails
does not keep the others from running; only the scenarios need the part before them, the cluster. It ends with a table
of results and times.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from e2e import commands
from e2e.cluster import Cluster, ClusterError, Target
from e2e.cluster.progress import note
from e2e.cluster.shell import without_proxies
from e2e.cluster.state import State

REPOSITORY = Path(__file__).resolve().parents[1]
_NOTHING_SELECTED = 5
"""pytest's exit status where -k leaves no test."""


@dataclass(frozen=True)
class Check:
    """One quick part: what it is called, its command, and where its tests lie if it is one of pytest."""

    name: str
    command: tuple[str, ...]
    tests: str | None = None
    needs: tuple[str, Callable[[], None]] | None = None
    """What is fetched before it, since tests download nothing: its name, and what does it."""


def _program(name: str, *arguments: str) -> tuple[str, ...]:
    return (str(Path(sys.executable).parent / name), *arguments)


def _programs() -> None:
    for program in ("haproxy", "redis"):
        importlib.import_module(f"e2e.support.{program}").prepare()


_PYTEST = (sys.executable, "-m", "pytest", "-q")
_CHECKS = (
    Check("unit tests", _PYTEST, tests="tests", needs=("HAProxy, Redis", _programs)),
    Check("lint", _program("ruff", "check", ".")),
    Check("format", _program("ruff", "format", "--check", ".")),
    Check("types", _program("mypy")),
    Check("import layers", _program("lint-imports")),
    Check("CRDs in sync", (sys.executable, "-m", "agentfleet", "crds", "--check", ".")),
    Check("chart", _PYTEST, tests="e2e/chart"),
)
_SCENARIOS = "e2e/scenarios"


Builds = Sequence[tuple[str, Callable[[], None]]]


def _vllm() -> None:
    importlib.import_module("e2e.images.vllm").build(note)


def _clients() -> None:
    importlib.import_module("e2e.support.clients").prepare()


def _policy_evaluator() -> None:
    importlib.import_module("e2e.policies.evaluator").build()


def _leader_worker_set() -> None:
    importlib.import_module("e2e.cluster.crds").leader_worker_set()


_BUILDS: tuple[tuple[tuple[str, ...], str, Callable[[], None]], ...] = (
    (("vllm",), "vLLM", _vllm),
    (("security", "agent_offline"), "policy evaluator", _policy_evaluator),
    (("multinode",), "LeaderWorkerSet's CRD", _leader_worker_set),
)
"""What some scenarios need: built before them, since they run where nothing can be downloaded, and timed apart."""
_FULL_BUILDS: tuple[tuple[tuple[str, ...], str, Callable[[], None]], ...] = ((("route",), "clients", _clients),)
"""The same for --full."""


@dataclass(frozen=True)
class Result:
    """How a part ended."""

    name: str
    verdict: str
    seconds: float

    @property
    def good(self) -> bool:
        return self.verdict in ("passed", "nothing selected")


def main(target: Target, arguments: Sequence[str]) -> int:
    """Run what ``arguments`` select; returns the exit status."""
    began = time.monotonic()
    options, for_pytest = _parser().parse_known_args(arguments)
    if options.keyword:
        for_pytest += ["-k", options.keyword]
    paths = [_path(text) for text in options.paths]
    results = _quick_parts(paths, for_pytest, selected=bool(paths or options.keyword))
    scenarios = _below(_SCENARIOS, paths)
    if scenarios and not options.no_cluster:
        if target == Target() and not options.keep and not (paths or options.keyword):
            # A complete run is judged on a cluster of its own: what an interrupted run has left would speak in it.
            commands.down(target, purge_cache=False)
        environment = _environment(target, full=options.full, plots=options.plot)
        builds = _builds(scenarios, full=options.full)
        results += _on_cluster(target, [*scenarios, *for_pytest], environment, builds, keep=options.keep)
    _print(results, time.monotonic() - began)
    return 0 if all(result.good for result in results) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 e2e test",
        description="Run all checks and scenarios, or those that are named.",
        epilog="What is not listed here is passed on to pytest, for example -x or --durations=10.",
    )
    parser.add_argument("paths", nargs="*", help="tests to run alone, such as scenarios/drift, chart or tests/engines")
    parser.add_argument(
        "-k", dest="keyword", metavar="EXPRESSION", help="run the tests whose names match, as in pytest"
    )
    parser.add_argument("--full", action="store_true", help="real durations instead of short ones")
    parser.add_argument(
        "--plot", metavar="FOLDER", type=Path, help="draw what scenarios/scaling sees, as PNG in this folder"
    )
    parser.add_argument("--no-cluster", action="store_true", help="leave out what needs a cluster")
    parser.add_argument("--keep", action="store_true", help="do not take down the cluster that was brought up for this")
    return parser


def _path(text: str) -> str:
    """A path below the repository, given from there or from e2e/."""
    file = text.partition("::")[0]
    for prefix in ("", "e2e/"):
        if (REPOSITORY / prefix / file).exists():
            return str(Path(prefix, text.rstrip("/")))
    raise ClusterError(f"{text}: no such file or folder, neither here nor in e2e/")


def _below(folder: str, paths: Sequence[str]) -> list[str]:
    """Of the wanted paths those in ``folder``; the folder itself where no path is wanted."""
    if not paths or "e2e" in paths:
        return [folder]
    return [path for path in paths if path == folder or path.startswith(f"{folder}/")]


def _quick_parts(paths: Sequence[str], for_pytest: Sequence[str], *, selected: bool) -> list[Result]:
    """The unit tests, which mostly wait; beside them, one by one, the checks that only compute, told of afterwards."""
    wanted = [
        (check, command)
        for check in _CHECKS
        if (command := _command(check, paths, for_pytest, selected=selected)) is not None
    ]
    results = []
    with ThreadPoolExecutor(max_workers=1) as beside:
        others = [beside.submit(_quietly, check.name, command) for check, command in wanted if not check.needs]
        for check, command in wanted:
            if check.needs:
                name, fetch = check.needs
                results.append(_timed(name, partial(_built, fetch)))
                results.append(_timed(check.name, partial(_run, command)))
        for other in others:
            result, said = other.result()
            print(f"\n=== {result.name} ===\n{said}", end="", flush=True)
            results.append(result)
    return results


def _command(
    check: Check, paths: Sequence[str], for_pytest: Sequence[str], *, selected: bool
) -> tuple[str, ...] | None:
    """What a check runs for these paths; None where it has nothing to do."""
    if check.tests is None:
        return None if selected else check.command
    tests = _below(check.tests, paths)
    return (*check.command, *tests, *for_pytest) if tests else None


def _quietly(name: str, command: Sequence[str]) -> tuple[Result, str]:
    """How it ended, and all that it said."""
    with tempfile.TemporaryFile("w+") as said:
        result = _judged(name, partial(_run, command, output=said))
        said.seek(0)
        return result, said.read()


def _on_cluster(
    target: Target, arguments: Sequence[str], environment: Mapping[str, str], builds: Builds, *, keep: bool
) -> list[Result]:
    """The cluster as it shall be, then the scenarios; a cluster that was brought up for this goes again."""
    ours = target == Target() and ((state := State.load()) is None or not state.usable) and not keep
    brought_up: list[Cluster] = []

    def bring_up() -> int:
        brought_up.append(commands.up(target, nodes=2, gpus=None, fake_nodes=None, bare=False))
        return 0

    try:
        results = [_timed("cluster and install", bring_up)]
        if brought_up:
            results += [_timed(name, partial(_built, build)) for name, build in builds]
        if brought_up:
            command = brought_up[0].network_command([*_PYTEST, *arguments])
            throwaway = {"AGENTFLEET_E2E_THROWAWAY": "1"} if ours else {}
            results.append(_timed("scenarios", partial(_run, command, {**environment, **throwaway})))
        else:
            results.append(Result("scenarios", "not run", 0.0))
    finally:
        if ours:
            commands.down(target, purge_cache=False)
    return results


def _builds(scenarios: Sequence[str], *, full: bool = False) -> Builds:
    """What the wanted scenarios need, by name."""
    return [
        (name, build)
        for folders, name, build in (*_BUILDS, *(_FULL_BUILDS if full else ()))
        if any(
            path == _SCENARIOS or path.startswith(f"{_SCENARIOS}/{folder}") for path in scenarios for folder in folders
        )
    ]


def _built(build: Callable[[], None]) -> int:
    build()
    return 0


def _environment(target: Target, *, full: bool, plots: Path | None) -> dict[str, str]:
    """What conftest.py reads, for a process from where no proxy can be reached."""
    ours = {
        "AGENTFLEET_E2E_CONTEXT": target.context,
        "AGENTFLEET_E2E_KIND": target.kind,
        "AGENTFLEET_E2E_FULL": "1" if full else None,
        "AGENTFLEET_E2E_PLOTS": str(plots.absolute()) if plots else None,
    }
    return {**without_proxies(os.environ), **{name: value for name, value in ours.items() if value is not None}}


def _timed(name: str, part: Callable[[], int]) -> Result:
    print(f"\n=== {name} ===", flush=True)
    return _judged(name, part)


def _judged(name: str, part: Callable[[], int]) -> Result:
    began = time.monotonic()
    try:
        status = part()
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 1
    verdict = {0: "passed", _NOTHING_SELECTED: "nothing selected"}.get(status, "FAILED")
    return Result(name, verdict, time.monotonic() - began)


def _run(command: Sequence[str], environment: dict[str, str] | None = None, output: IO[str] | None = None) -> int:
    errors = None if output is None else subprocess.STDOUT
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, stdout=output, stderr=errors, check=False)
    return done.returncode


def _print(results: Sequence[Result], seconds: float) -> None:
    print()
    for result in results:
        print(f"  {result.name:<22}{result.verdict:<18}{result.seconds:>7.1f} s")
    print(f"  {'in all':<40}{seconds:>7.1f} s")
