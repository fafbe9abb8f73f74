"""The command line of `agentfleet sidecar`: every option, and which of them go together."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from datetime import tzinfo
from pathlib import Path
from typing import TypeVar

from agentfleet.durations import parse_duration
from agentfleet.sidecar.idle import IdleOptions
from agentfleet.sidecar.library import Served
from agentfleet.sidecar.schedule import Schedule, zone_of
from agentfleet.sidecar.warmup import REQUESTS, TASKS

ENGINES = ("VLLM", "LlamaCpp", "Ollama")

Value = TypeVar("Value")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options; ends the process with code 2 and one line on stderr when they are wrong."""
    parser = argparse.ArgumentParser(prog="agentfleet sidecar", description="Runs beside an engine in its pod.")
    _general(parser)
    _ollama(parser.add_argument_group("Ollama"))
    _vllm(parser.add_argument_group("LoRA adapters (vLLM)"))
    options = parser.parse_args(argv)
    for problem in _problems(options):
        parser.error(problem)
    options.idle = IdleOptions(options.unload_after, options.memory_percent, options.max_memory)
    options.schedule = None
    if options.update_schedule is not None:
        try:
            options.schedule = Schedule(options.update_schedule, options.update_time_zone)
        except ValueError as error:
            parser.error(f"--update-schedule: {error}")
    return options


def _general(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--engine", required=True, choices=ENGINES)
    parser.add_argument("--engine-port", required=True, type=int, metavar="N", help="the engine's port on 127.0.0.1")
    parser.add_argument("--port", type=int, default=9901, help="own port (default: %(default)s)")
    parser.add_argument("--dns-delay", type=_seconds, default=35.0, help="/drain waits this long before it looks")
    parser.add_argument("--drain-timeout", type=_seconds, default=120.0, help="/drain waits this long for idle")
    parser.add_argument("--stop-token", default="", metavar="TEXT", help="text by which kubelet's /drain is known")
    parser.add_argument(
        "--leave-delay", type=_seconds, default=0.0, help="so long after a stop nobody may count on the pod any more"
    )
    parser.add_argument(
        "--state-dir", type=Path, default=Path("/models/.agentfleet"), help="folder of the loader's progress.json"
    )
    parser.add_argument(
        "--model-dir", type=Path, help="the model's folder in a shared cache, to be held while it is used"
    )
    parser.add_argument("--expects-loader", action="store_true", help="a loader comes first: Pending until it speaks")
    parser.add_argument("--api-key-file", type=Path, help="file with the engine's API key")
    parser.add_argument(
        "--serve",
        type=_served,
        action="append",
        default=[],
        metavar="SOURCE=ALIAS[,category=NAME]",
        help="a model and its id in the OpenAI API; pulled where the engine is Ollama",
    )
    parser.add_argument(
        "--warm-up", choices=TASKS, default="None", help="first request before ready (default: %(default)s)"
    )
    parser.add_argument("--warm-up-timeout", type=_seconds, default=300.0, help="then WarmUpFailed")
    parser.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))


def _ollama(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--keep-alive", type=_keep_alive, default="5m", help="an idle model is kept so long; -1: always")
    group.add_argument("--preload", action="store_true", help="ready only when every model is in memory")
    group.add_argument("--insecure-registry", action="store_true", help="pull over plain HTTP too")
    group.add_argument("--unload-after", type=_seconds, help="a model that is unused so long goes from memory")
    group.add_argument("--memory-percent", type=_percent, help="node memory in use from which idle models go")
    group.add_argument("--max-memory", type=_bytes, metavar="BYTES", help="of all loaded models; above it idle ones go")
    group.add_argument("--update-schedule", metavar="CRON", help="when tags are pulled again")
    group.add_argument("--update-time-zone", type=_zone, default="UTC", metavar="ZONE", help="(default: %(default)s)")


def _vllm(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--adapters-file", type=Path, help='JSON list of {"name": …, "uri": …}; may change at any time')
    group.add_argument(
        "--adapters-dir", type=Path, default=Path("/adapters"), help="the engine sees it at this path too"
    )
    group.add_argument("--credentials-dir", type=Path, help="the loader's: a mounted Secret")
    group.add_argument("--endpoint", help="the loader's: another host than the source's own")
    group.add_argument("--ca-bundle", type=Path, help="the loader's: certificates to trust")


def _problems(options: argparse.Namespace) -> Iterator[str]:
    """What does not go together, each in words."""
    ollama = options.engine == "Ollama"
    if ollama and not options.serve:
        yield "--engine Ollama needs at least one --serve SOURCE=ALIAS: without it nothing would ever be served"
    if not ollama and len(options.serve) > 1:
        yield f"--engine {options.engine} serves one model, but --serve is given {len(options.serve)} times"
    if options.api_key_file is not None and not options.api_key_file.is_file():
        yield f"--api-key-file {options.api_key_file}: no such file"
    for name in ("unload_after", "memory_percent", "max_memory", "update_schedule"):
        if not ollama and getattr(options, name) is not None:
            yield f"--{name.replace('_', '-')} is for --engine Ollama; {options.engine} keeps its one model"
    if options.engine != "VLLM" and options.adapters_file is not None:
        yield f"--adapters-file is for --engine VLLM; {options.engine} cannot change its adapters while it runs"
    if options.warm_up in REQUESTS and not options.serve:
        yield "--warm-up needs --serve SOURCE=ALIAS: a request has to name a model"


def _seconds(text: str) -> float:
    """`35`, `0.5` (seconds) or a Go duration (`35s`, `2m`)."""
    try:
        return float(text)
    except ValueError:
        return _explained(parse_duration, text)


def _keep_alive(text: str) -> str | int:
    """Ollama takes a duration as a string and plain seconds, such as -1 for always, only as a number."""
    try:
        return int(text)
    except ValueError:
        _explained(parse_duration, text)
        return text


def _percent(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage: write 1 to 100")
    return int(text)


def _bytes(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of bytes: write for example 8589934592")
    return int(text)


def _zone(text: str) -> tzinfo:
    return _explained(zone_of, text)


def _explained(parser: Callable[[str], Value], text: str) -> Value:
    """argparse shows the text of its own error only."""
    try:
        return parser(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _served(text: str) -> Served:
    """A source may hold `=` (a query string); an alias holds neither that nor a comma."""
    rest, comma, category = text.rpartition(",category=")
    source, _, alias = (rest if comma else text).rpartition("=")
    if not source or not alias or (comma and not category):
        raise argparse.ArgumentTypeError(f"{text!r} is not SOURCE=ALIAS, for example smollm2:135m=small")
    return Served(source, alias, category if comma else None)
