"""Regular expressions as HAProxy evaluates them: by `map_reg`, on a text that Lua has put into a variable.

Lua, because `req.body,map_reg(…)` would end at the first NUL byte: whatever came after it would go unseen.
"""

import http.client
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from e2e.support import haproxy

Matches = Callable[[bytes], str]

_LUA = """\
core.register_action("text", {"http-req"}, function(txn) txn:set_var("txn.text", txn.sf:req_body()) end)
"""
_CONFIG = """\
global
  tune.lua.bool-sample-conversion normal
  lua-load {lua}
  tune.bufsize 262144
defaults
  mode http
  timeout client 60s
frontend f
  bind 127.0.0.1:{port}
  http-request wait-for-body time 20s
  http-request lua.text
{rules}
  http-request return status 200 content-type text/plain lf-string "%[var(txn.found)]"
"""


@contextmanager
def each(folder: Path, patterns: Sequence[str]) -> Iterator[Matches]:
    """A function that tells of a text, for each of the patterns, whether it is found: 1 or 0, in their order."""
    rules = ["  http-request set-var(txn.found) str()"]
    for number, pattern in enumerate(patterns):
        file = write(folder / f"{number}.map", [(pattern, "1")])
        rules.append(f"  http-request set-var(txn.one) var(txn.text),map_reg({file},0)")
        rules.append("  http-request set-var(txn.found) var(txn.found),concat(,txn.one)")
    with answering(folder, rules) as matches:
        yield matches


@contextmanager
def first(folder: Path, patterns: Sequence[tuple[str, str]]) -> Iterator[Matches]:
    """A function that tells of a text the word of the first pattern that is found, else "none"."""
    file = write(folder / "all.map", patterns)
    with answering(folder, [f"  http-request set-var(txn.found) var(txn.text),map_reg({file},none)"]) as matches:
        yield matches


def write(file: Path, lines: Sequence[tuple[str, str]]) -> Path:
    file.write_text("".join(f"{pattern} {word}\n" for pattern, word in lines), encoding="utf-8")
    return file


@contextmanager
def answering(folder: Path, rules: list[str]) -> Iterator[Matches]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    config = folder / "haproxy.cfg"
    lua = folder / "text.lua"
    lua.write_text(_LUA, encoding="utf-8")
    config.write_text(_CONFIG.format(port=port, lua=lua, rules="\n".join(rules)), encoding="utf-8")
    with haproxy.running(config, f"127.0.0.1:{port}"):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

        def found(text: bytes) -> str:
            connection.request("POST", "/", body=text)
            response = connection.getresponse()
            assert response.status == 200, f"{response.status} for {text[:80]!r}"
            return response.read().decode()

        with closing(connection):
            yield found
