"""The last list of a server's tools on disk: what a process that starts offline knows, so that calls can be queued."""

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from agentfleet.runtime.tools.records import Offer

_OFFERS = TypeAdapter(tuple[Offer, ...])


def read(file: Path) -> tuple[Offer, ...]:
    """The list in `file`; none at the first start, or where the file cannot be read: it comes with the connection."""
    try:
        return _OFFERS.validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return ()


def write(file: Path, offers: tuple[Offer, ...]) -> None:
    """Keep `offers`, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(".draft")
    draft.write_bytes(_OFFERS.dump_json(offers))
    draft.replace(file)
