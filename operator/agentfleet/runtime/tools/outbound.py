"""What tools' requests have in common on their way out: TLS, no proxy, values of headers from mounted files."""

import functools
import re
import ssl
from pathlib import Path

from agentfleet.runtime.config_tools import Header
from agentfleet.runtime.types import ToolError

_VALUE = re.compile(r"[\x20-\x7e\x80-\xff\t]*")

CONNECT_TIMEOUT = 5.0
"""Seconds to make a connection, the look-up of the name counted."""


@functools.cache
def tls() -> ssl.SSLContext:
    """How servers are verified: by the system's certificates, or those that SSL_CERT_FILE names.

    The clients get it because they run with trust_env=False: a proxy from the environment would be a way out that
    no policy knows of. Made once: reading the bundle takes tens of milliseconds.
    """
    return ssl.create_default_context()


class MountedHeaders:
    """Headers whose values are mounted files. Read for each request: a rotated Secret counts at once."""

    def __init__(self, headers: tuple[Header, ...]) -> None:
        self._headers = headers

    def read(self) -> dict[str, str]:
        """Names and values; ToolError names the header whose file cannot be read, not the file."""
        return {header.name: self._value(header) for header in self._headers}

    def values(self) -> tuple[str, ...]:
        """What must not reach the model: whole values, and the token behind `Bearer`. Empty where unreadable."""
        try:
            values = tuple(self.read().values())
        except ToolError:
            return ()
        return values + tuple(value.partition(" ")[2] for value in values if " " in value)

    @staticmethod
    def _value(header: Header) -> str:
        try:
            value = Path(header.file).read_text().strip()  # an editor's last newline is no part of a token
        except (OSError, UnicodeDecodeError) as error:
            raise ToolError(f"the value of the header {header.name} cannot be read") from error
        if not _VALUE.fullmatch(value):
            raise ToolError(f"the value of the header {header.name} has characters that no header may have")
        return value
