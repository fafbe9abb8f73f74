"""Where weights come from: one file per scheme, chosen by the table below and imported only when it is used.

A new scheme is a file with a class that has base.Source's methods, and a line here. pvc:// and file:// are mounted, so
the loader only looks into them (inspection.py); ollama:// is pulled by the engine.
"""

import re
from collections.abc import Callable
from importlib import import_module

from agentfleet.sidecar.failures import BAD_SOURCE, ModelFailed
from agentfleet.sidecar.sources.base import Access, Source

SCHEMES: dict[str, str] = {
    "gs": "agentfleet.sidecar.sources.gs",
    "hf": "agentfleet.sidecar.sources.huggingface",
    "https": "agentfleet.sidecar.sources.https",
    "oci": "agentfleet.sidecar.sources.oci",
    "s3": "agentfleet.sidecar.sources.s3",
}
"""Scheme → module. The module's `open_source(uri, access)` gives the source."""

MOUNTED = ("pvc", "file")
"""Schemes whose files are there already."""


def is_mounted(uri: str) -> bool:
    """True where the model is a mounted file or folder."""
    return uri.partition("://")[0] in MOUNTED


def open_source(uri: str, access: Access) -> Source:
    """The source that `uri` names; ModelFailed BadSource when there is none."""
    scheme, separator, _ = uri.partition("://")
    if not separator or scheme not in SCHEMES:
        legal = ", ".join(f"{known}://" for known in sorted(SCHEMES))
        raise ModelFailed(BAD_SOURCE, f"{shown(uri)!r} is no source of the loader: it has to start with one of {legal}")
    opener: Callable[[str, Access], Source] = import_module(SCHEMES[scheme]).open_source
    return opener(uri, access)


def shown(uri: str) -> str:
    """`uri` for logs and messages: without what may be a signature or a password."""
    return re.sub(r"//[^/@]*:[^/@]*@", "//***@", uri.partition("?")[0])
