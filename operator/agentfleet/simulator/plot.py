"""A picture of the first seed: demand, replicas of each policy, and their p99 TTFT by minute."""

from collections.abc import Sequence
from pathlib import Path

from agentfleet.simulator.errors import BadInput
from agentfleet.simulator.score import Result

NO_MATPLOTLIB = "--plot: needs matplotlib, which is not installed; install the extra: pip install 'agentfleet[plot]'."


FORMATS = (".png", ".svg", ".pdf")


def check(path: Path) -> None:
    """BadInput where no picture can be drawn: better before the runs than after."""
    if path.suffix not in FORMATS or not path.parent.is_dir():
        raise BadInput(f"--plot: {path} has to end in {', '.join(FORMATS)}, and its folder has to exist.")
    try:
        import matplotlib  # noqa: PLC0415, F401 - an extra, and slow to load
    except ImportError:
        raise BadInput(NO_MATPLOTLIB) from None


def write(path: Path, results: Sequence[Result], slo_ttft: float, title: str) -> None:
    """All results that have a timeline, in the format that the name's end says."""
    import matplotlib  # noqa: PLC0415 - as above

    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415 - after the backend is chosen

    shown = [(result, result.timeline) for result in results if result.timeline]
    figure, (demand, replicas, ttft) = pyplot.subplots(3, 1, figsize=(10, 9), sharex=True, layout="constrained")
    demand.plot(shown[0][1].minutes, shown[0][1].demand, color="black", linewidth=0.8)
    demand.set_ylabel("requests/s")
    demand.set_title(title)
    for result, timeline in shown:
        label = f"{result.policy}: {result.slo_percent:.2f} % at {result.gpu_hours:.1f} GPU-hours"
        seconds = [second / 60 for second, _ in timeline.supply] + [timeline.minutes[-1] + 1]
        supply = [ready for _, ready in timeline.supply]
        replicas.step(seconds, [*supply, supply[-1]] if supply else [0], where="post", label=label, linewidth=1)
        ttft.plot(timeline.minutes, timeline.ttft, linewidth=0.8)
    replicas.set_ylabel("ready replicas")
    replicas.set_ylim(bottom=0)
    replicas.legend(fontsize="small", loc="upper left")
    ttft.axhline(slo_ttft, color="black", linestyle=":", linewidth=1)
    ttft.set_yscale("log")
    ttft.set_ylabel("p99 TTFT (s)")
    ttft.set_xlabel("minutes")
    try:
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise BadInput(f"--plot: {path} cannot be written: {error}") from error
    finally:
        pyplot.close(figure)
