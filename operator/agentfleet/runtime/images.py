"""Images that a request brings or names: which of them may go on to the model. Pure.

Engines fetch an address themselves, from where they run: with an address a client makes them ask whatever they reach,
and what the image's server then learns is a way out. So an agent whose mode keeps things in takes images themselves
alone (data: URLs). runs.py asks this for every protocol.
"""

from agentfleet.runtime.types import Mode, RunError, Task

ADDRESS = r"^(data:image/|https?://)"
"""What protocols take at all: no file of the engine's."""
_CARRIED = "data:image/"


def carried(url: str) -> bool:
    """Whether the URL is the image, so that nobody has to fetch it."""
    return url.startswith(_CARRIED)


def check(task: Task, mode: Mode) -> None:
    """RunError(400) where the model would fetch something and `mode`, the run's, keeps it from that."""
    if mode != "Standard" and not all(carried(url) for turn in task.turns for url in turn.images):
        raise RunError(
            400,
            "image_not_carried",
            f"In mode {mode} an image is not fetched from an address. Send the image itself: data:image/png;base64,...",
        )
