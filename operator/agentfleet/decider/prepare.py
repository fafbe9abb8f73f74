"""`agentfleet decider --prepare`: what must lie in the run folder before HAProxy starts. Once, as an init container.

It fails where the gateway could not do what the route says; a single bad entry of a Secret is skipped and named.
"""

import base64
import logging
import secrets
from pathlib import Path

from agentfleet.decider import mounted, public_keys
from agentfleet.decider.files import write_map
from agentfleet.decider.paths import Paths

log = logging.getLogger(__name__)


class NotPrepared(Exception):
    """HAProxy must not start; the message says why and what to do."""


def prepare(paths: Paths, budgets: dict[str, str]) -> mounted.Mounted:
    """Writes all maps, empty ones too, and the public keys of tokens. `budgets` is what is spent already."""
    found = mounted.read(paths)
    for reason in found.skipped:
        log.warning("skipped: %s", reason)
    for path, entries in maps(paths, found).items():
        write_map(path, entries)
    write_map(paths.budgets_map, budgets)
    write_map(paths.identity_map, _identity(paths))
    if not paths.decider_map.exists():  # HAProxy and the decider may have read it already
        write_map(paths.decider_map, {secrets.token_hex(32): "decider"})
    try:
        public_keys.write_slots(paths)
    except ValueError as error:
        raise NotPrepared(str(error)) from error
    log.info(
        "prepared: %d API keys, %d credentials of targets, %d entries skipped",
        len(found.keys),
        len(found.credentials),
        len(found.skipped),
    )
    return found


def maps(paths: Paths, found: mounted.Mounted) -> dict[Path, dict[str, str]]:
    """The map files that come from Secrets."""
    return {
        paths.keys_map: found.keys,
        paths.groups_map: found.groups,
        paths.credentials_map: found.credentials,
    }


def _identity(paths: Paths) -> dict[str, str]:
    """The key that identities are signed with, as HAProxy can load it: any bytes, so in base64. While it is replaced,
    another one lies beside it, which holds and signs nothing."""
    files = {"key": paths.identity, "previous": paths.identity.with_name(f"{paths.identity.name}.previous")}
    contents = {name: file.read_bytes() for name, file in files.items() if file.is_file()}
    return {name: base64.b64encode(content).decode("ascii") for name, content in contents.items() if content}
