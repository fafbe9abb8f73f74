"""Lines that a user types, or a pipe brings: read so that Ctrl-C ends the wait for them at once."""

import asyncio
import os
import sys

_CHUNK = 65_536


class Lines:
    """Reads lines of a file descriptor; prompts go to stderr, and only where a person sits there."""

    def __init__(self, descriptor: int | None = None) -> None:
        self._given = descriptor
        self._buffer = b""
        self._ended = False

    async def read(self, prompt: str = "") -> str | None:
        """The next line without its end; None after the last."""
        if prompt and os.isatty(self._descriptor):
            sys.stderr.write(prompt)
            sys.stderr.flush()
        while b"\n" not in self._buffer and not self._ended:
            await self._readable()
            data = os.read(self._descriptor, _CHUNK)
            self._buffer += data
            self._ended = not data
        if not self._buffer:
            return None
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode(errors="replace").rstrip("\r")

    @property
    def _descriptor(self) -> int:
        return sys.stdin.fileno() if self._given is None else self._given

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = loop.create_future()

        def wake() -> None:
            if not ready.done():
                ready.set_result(None)

        try:
            loop.add_reader(self._descriptor, wake)
        except PermissionError:  # a file: never waits
            return
        try:
            await ready
        finally:
            loop.remove_reader(self._descriptor)
