"""The chain that audit lines form, and whether it is whole. Pure; the standard library alone: the command line uses it.

Each line is one JSON object with the chain's id, its number in it, the hash of the line before (`prev`) and its own
(`hash`), which is taken over all the rest in one fixed form, so that a log collector may write the JSON anew.

With a key the hash is an HMAC: nobody without the key can change, remove or add a line and make the rest fit. Without
one the chain shows accidents and clumsy hands only, since everybody can compute it. Lines that are cut off at the end
never show from the chain alone, nor does a chain that somebody with the key has written anew: a Head does, which the
agent's /metrics told and somebody else has kept.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

GENESIS = "0" * 64
"""What the first line has for the hash of the line before."""
_PURPOSE = b"agentfleet audit chain"
_LINES, _HASHES = (
    re.compile(rf'^agentfleet_agent_audit_{name}\{{chain="([^"\\]+)"\}} ([0-9.e+]+)$', re.MULTILINE)
    for name in ("lines", "hash")
)


def purpose_key(key: bytes) -> bytes:
    """A key for this use alone, from the namespace's key: so that no identity can be passed off as a line."""
    return hmac.new(key, _PURPOSE, hashlib.sha256).digest()


class Chain:
    """Makes lines. `key` is what `purpose_key` gave, or None."""

    def __init__(self, name: str, key: bytes | None, *, seq: int = 0, prev: str = GENESIS) -> None:
        self.name = name
        self.seq = seq
        """Number of the last line."""
        self.prev = prev
        """Its hash."""
        self._key = key

    def line(self, fields: Mapping[str, Any]) -> str:
        """The next line, without its end. The chain's own fields win over others of their names."""
        seq = self.seq + 1
        content = {**fields, "chain": self.name, "seq": seq, "prev": self.prev}
        digest = _hash(content, self._key)
        # ASCII: some readers take U+2028 and the like for the end of a line
        text = json.dumps({**content, "hash": digest}, separators=(",", ":"))
        self.seq, self.prev = seq, digest
        return text


@dataclass(frozen=True)
class Head:
    """Where a chain was at some time, as the agent's /metrics told it."""

    chain: str
    seq: int
    fingerprint: int | None = None
    """Of that line's hash."""


def heads(page: str) -> tuple[Head, ...]:
    """What a page of /metrics says of its chains."""
    lines, hashes = (dict(pattern.findall(page)) for pattern in (_LINES, _HASHES))
    return tuple(
        Head(chain, int(float(seq)), int(float(hashes[chain])) if chain in hashes else None)
        for chain, seq in lines.items()
    )


@dataclass(frozen=True)
class Problem:
    """Something that must not be."""

    line: int
    """Number of the line in what was read, from 1."""
    text: str


@dataclass
class Report:
    """What verify found."""

    lines: int = 0
    chains: dict[str, int] = field(default_factory=dict)
    """The last number of each chain, by its name."""
    problems: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)
    """What is no proof of anything, such as a chain whose beginning is in another file."""

    @property
    def whole(self) -> bool:
        return not self.problems


@dataclass
class _Seen:
    seq: int
    digest: str


def verify(lines: Iterable[str], keys: Sequence[bytes] = (), known: Sequence[Head] = ()) -> Report:
    """Of the chains in `lines`, which may be mixed, as from several pods: which lines were changed or are missing.

    `keys` are the namespace's keys, of which each line has to fit one; without them, lines of a chain with a key can be
    checked for their order only, which a note says. `known` is where chains were: they must reach so far, by that hash.
    """
    report = Report()
    number = 0
    seen: dict[str, _Seen] = {}
    unchecked: set[str] = set()
    purposes: list[bytes | None] = [purpose_key(key) for key in keys]
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        report.lines += 1
        try:
            line = parse(text)
        except ValueError as error:
            report.problems.append(Problem(number, f"it is no audit line: {error}"))
            continue
        _follow(report, seen, number, line)
        if line.get("keyed") and not purposes:
            if line["chain"] not in unchecked:
                unchecked.add(line["chain"])
                report.notes.append(Problem(number, f"chain {line['chain']} has a key: give it, to see changed lines"))
        elif not any(hmac.compare_digest(_hash_of(line, key), line["hash"]) for key in purposes or (None,)):
            who = ", or not written with this key" if purposes else ""
            report.problems.append(Problem(number, f"line {_name(line)} was changed{who}"))
        for head in known:
            if (head.chain, head.seq) == (line["chain"], line["seq"]) and not _fits(head, line["hash"]):
                report.problems.append(Problem(number, f"line {_name(line)} is not the one that /metrics told of"))
    for head in known:
        if (last := report.chains.get(head.chain, 0)) < head.seq:
            report.problems.append(Problem(number, f"missing of chain {head.chain}: {last + 1} to {head.seq}, its end"))
    return report


def fingerprint(digest: str) -> int:
    """A hash as a metric can tell it: its first 48 bits, which a float holds to the last one."""
    return int(digest[:12], 16)


def parse(text: str) -> dict[str, Any]:
    """One line; ValueError says what is wrong."""
    try:
        line = json.loads(text, object_pairs_hook=_once)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    if not isinstance(line, dict):
        raise ValueError("it is no JSON object")
    for name, kind in (("chain", str), ("seq", int), ("prev", str), ("hash", str)):
        if not isinstance(line.get(name), kind) or isinstance(line[name], bool):
            raise ValueError(f"it has no {name}")
    if not line["hash"].isascii():
        raise ValueError("its hash is none")
    return line


def _fits(head: Head, digest: str) -> bool:
    if head.fingerprint is None:
        return True
    try:
        return fingerprint(digest) == head.fingerprint
    except ValueError:
        return False


def _follow(report: Report, seen: dict[str, _Seen], number: int, line: Mapping[str, Any]) -> None:
    """Whether the line is the next one of its chain."""
    name, seq = line["chain"], line["seq"]
    before = seen.get(name)
    if before is None:
        if seq != 1:
            report.notes.append(Problem(number, f"chain {name} begins at {seq}: what was before is not in this file"))
        elif line["prev"] != GENESIS:
            report.problems.append(Problem(number, f"line {_name(line)} says that one was before it"))
    elif seq <= before.seq:
        report.problems.append(Problem(number, f"line {_name(line)} comes after {before.seq}: repeated, or moved"))
        return
    elif seq > before.seq + 1:
        missing = str(seq - 1) if seq == before.seq + 2 else f"{before.seq + 1} to {seq - 1}"
        report.problems.append(Problem(number, f"missing of chain {name}: {missing}"))
    elif line["prev"] != before.digest:
        report.problems.append(Problem(number, f"line {before.seq} of chain {name}, the one before, was replaced"))
    seen[name] = _Seen(seq, line["hash"])
    report.chains[name] = seq


def _name(line: Mapping[str, Any]) -> str:
    return f"{line['seq']} of chain {line['chain']}"


def _hash_of(line: Mapping[str, Any], key: bytes | None) -> str:
    return _hash({name: value for name, value in line.items() if name != "hash"}, key)


def _hash(content: Mapping[str, Any], key: bytes | None) -> str:
    form = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
    return hmac.new(key, form, hashlib.sha256).hexdigest() if key else hashlib.sha256(form).hexdigest()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A name that comes twice could show a reader something else than what was hashed."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name comes twice in it")
    return found
