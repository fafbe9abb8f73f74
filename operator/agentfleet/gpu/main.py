"""`agentfleet gpu-exporter`: serves /metrics and /healthz of one node's GPUs; with --once prints the page and ends.

Libraries of the server and of gRPC are loaded only where they are used: --once runs on a bare GPU machine with
nvidia-ml-py and prometheus-client alone.
"""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from agentfleet import logs
from agentfleet.durations import parse_duration
from agentfleet.gpu.exporter import Exporter
from agentfleet.gpu.holders import Assignment, KubeletSilent
from agentfleet.gpu.readings import GpuSource

log = logging.getLogger(__name__)

PORT = 9902


def main(argv: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM, or once; returns the exit code."""
    options = parse(argv)
    logs.configure(options.log_level)
    return asyncio.run(_once(options) if options.once else _serve(options))


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options; ends the process with code 2 and one line on stderr when they are wrong."""
    parser = argparse.ArgumentParser(prog="agentfleet gpu-exporter", description="Metrics of this node's GPUs.")
    parser.add_argument("--once", action="store_true", help="print the page to stdout and end")
    parser.add_argument("--port", type=int, default=PORT, help="(default: %(default)s)")
    parser.add_argument("--interval", type=_interval, default=5.0, help="between two looks (default: 5s)")
    parser.add_argument(
        "--dcgm-url",
        type=_url,
        default="",
        metavar="URL",
        help="page of this node's DCGM exporter, read instead of the driver while it answers",
    )
    parser.add_argument(
        "--pod-resources",
        type=Path,
        default=Path("/var/lib/kubelet/pod-resources/kubelet.sock"),
        metavar="SOCKET",
        help="the kubelet's socket that tells which container holds which GPU (default: %(default)s)",
    )
    parser.add_argument("--node", default=os.environ.get("NODE_NAME", ""), help="this node's name, for a label")
    parser.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    return parser.parse_args(argv)


def _interval(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if not 1 <= seconds <= 300:
        raise argparse.ArgumentTypeError(f"{text} is not between 1s and 5m")
    return seconds


def _url(text: str) -> str:
    if text and (urlsplit(text).scheme not in ("http", "https") or not urlsplit(text).hostname):
        raise argparse.ArgumentTypeError(f"{text!r} is no http or https URL, such as http://10.0.0.7:9400/metrics")
    return text


def _source(options: argparse.Namespace) -> GpuSource:
    from agentfleet.gpu.nvml import NvmlSource  # noqa: PLC0415

    if not options.dcgm_url:
        return NvmlSource()
    from agentfleet.gpu.dcgm import DcgmSource  # noqa: PLC0415
    from agentfleet.gpu.sources import FirstThatAnswers  # noqa: PLC0415

    return FirstThatAnswers(DcgmSource(options.dcgm_url), NvmlSource())


def _exporter(options: argparse.Namespace) -> Exporter:
    socket: Path = options.pod_resources

    async def assignments() -> tuple[Assignment, ...]:
        if not socket.exists():  # noqa: ASYNC240 - a folder of the node, in memory
            raise KubeletSilent(f"there is no socket {socket}; is the kubelet's folder pod-resources mounted?")
        from agentfleet.gpu import podresources  # noqa: PLC0415

        return await podresources.assignments(socket)

    return Exporter(_source(options), assignments, interval=options.interval, node=options.node)


async def _once(options: argparse.Namespace) -> int:
    exporter = _exporter(options)
    await exporter.look()
    sys.stdout.write(exporter.page().decode())
    return 0


async def _serve(options: argparse.Namespace) -> int:
    from agentfleet.gpu.server import serve  # noqa: PLC0415

    exporter = _exporter(options)
    work = asyncio.create_task(exporter.run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, work.cancel)
    async with serve(exporter, options.port):
        await asyncio.wait({work})
    if not work.cancelled():
        work.result()
    return 0
