"""HAProxy's admin socket: reads statistics, replaces maps. One connection for each command, as HAProxy closes it."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

_CHUNK = 8 * 2**10
"""Bytes of one command. HAProxy refuses those that do not fit its buffer, 16 KiB where nothing else is set."""
_VERSION = "New version created: "
_UNKNOWN = "Unknown map identifier"


class AdminError(Exception):
    """HAProxy could not be asked, or refused; the message has its words."""


class NotStarted(AdminError):
    """HAProxy has not made its socket yet: the decider starts before it."""


class NotLoaded(AdminError):
    """HAProxy's configuration has no use for this map."""


class AdminSocket:
    """Commands to one HAProxy."""

    def __init__(self, path: Path, timeout: float = 2.0) -> None:
        self._path = path
        self._timeout = timeout
        self._changes = asyncio.Lock()

    async def ask(self, command: str) -> str:
        """HAProxy's answer. AdminError where there is none within the timeout."""
        if not self._path.exists():
            raise NotStarted(f"HAProxy has no socket at {self._path} yet")
        try:
            async with asyncio.timeout(self._timeout):
                return await self._exchange(command)
        except (OSError, TimeoutError) as error:
            words = command.split(maxsplit=2)[:2]
            why = f"{error or type(error).__name__}"
            raise AdminError(f"HAProxy at {self._path} did not answer `{' '.join(words)}`: {why}") from error

    async def replace_map(self, path: Path, entries: Mapping[str, str]) -> None:
        """All entries of a loaded map at once: a request sees the old ones or the new ones, never some of each.

        NotLoaded where HAProxy's configuration does not name the map.
        """
        async with self._changes:
            answer = (await self.ask(f"prepare map {path}\n")).strip()
            if answer.startswith(_UNKNOWN):
                raise NotLoaded(f"HAProxy has not loaded the map {path}")
            if not answer.startswith(_VERSION):
                raise AdminError(f"HAProxy did not prepare the map {path}: {answer}")
            version = answer.removeprefix(_VERSION)
            for chunk in _chunks(f"{key} {value}\n" for key, value in sorted(entries.items())):
                await self._silent(f"add map @{version} {path} <<\n{chunk}\n", path)
            await self._silent(f"commit map @{version} {path}\n", path)

    async def replace_certificate(self, path: Path, pem: str) -> None:
        """A loaded certificate: chain and private key. Connections that are there keep the old one."""
        lines = "".join(f"{line}\n" for line in pem.splitlines() if line.strip())  # an empty line would end it
        async with self._changes:
            answer = await self.ask(f"set ssl cert {path} <<\n{lines}\n")
            if "updated" not in answer and "created" not in answer:
                raise AdminError(f"HAProxy did not take the certificate {path}: {answer.strip()}")
            answer = await self.ask(f"commit ssl cert {path}\n")
            if "Success" not in answer:
                raise AdminError(f"HAProxy did not take the certificate {path} into use: {answer.strip()}")

    async def _silent(self, command: str, path: Path) -> None:
        """A command that says nothing when it has worked."""
        if answer := (await self.ask(command)).strip():
            raise AdminError(f"HAProxy did not change the map {path}: {answer}")

    async def _exchange(self, command: str) -> str:
        reader, writer = await asyncio.open_unix_connection(str(self._path))
        try:
            writer.write(command.encode())
            writer.write_eof()
            return (await reader.read()).decode(errors="replace")
        finally:
            writer.close()
            await writer.wait_closed()


def _chunks(lines: Iterable[str]) -> Iterator[str]:
    chunk: list[str] = []
    size = 0
    for line in lines:
        if chunk and size + len(line) > _CHUNK:
            yield "".join(chunk)
            chunk, size = [], 0
        chunk.append(line)
        size += len(line)
    if chunk:
        yield "".join(chunk)
