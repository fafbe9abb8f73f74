"""What a model is, told from its smallest files: after loading, or by ranged reads before anything is loaded.

    config.json, *.safetensors.index.json, tokenizer_config.json, headers of .safetensors and .gguf ─▶ facts.py

Facts are a help for sizing, not a condition for serving: a description that cannot be read gives none, and a warning.
"""

import hashlib
import json
import logging
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from agentfleet.sidecar.facts import Facts, of_config, of_gguf, set_count
from agentfleet.sidecar.failures import BAD_SOURCE, MODEL_NOT_FOUND, ModelFailed
from agentfleet.sidecar.gguf import read_header
from agentfleet.sidecar.sources.base import Readable, RemoteFile, Resolved
from agentfleet.sidecar.sources.selection import parts_of

log = logging.getLogger(__name__)

CONFIG = "config.json"
TOKENIZER = "tokenizer_config.json"
CHAT_TEMPLATES = ("chat_template.jinja", "chat_template.json")
INDEX_SUFFIX = ".safetensors.index.json"
LARGEST_JSON = 64 * 2**20
MOST_SHARDS = 16
"""Headers of so many safetensors files are read for the number of parameters; indexes of larger models say it."""


def facts_of(source: Readable, files: Sequence[RemoteFile]) -> Facts | None:
    """Facts about the model that `files` are; None where they do not describe themselves. Failures are ModelFailed."""
    plain = {file.path: file for file in files if file.unpack is None}
    ggufs = [file for file in plain.values() if file.path.endswith(".gguf")]
    if CONFIG in plain:
        return _of_folder(source, plain)
    if ggufs:
        return _of_gguf(source, plain, ggufs)
    return None


class LocalFiles:
    """Files of a mounted folder, or one file and the other parts of it, as a source. Only read from."""

    def __init__(self, place: Path, paths: Iterable[str] | None = None) -> None:
        """`paths` are the files that count; without them, all of a folder do."""
        self._folder = place if place.is_dir() else place.parent
        self._paths = paths if place.is_dir() else parts_of(place.name)
        self._place = place

    def resolve(self) -> Resolved:
        """What is there; the revision changes with names, sizes and times of change."""
        files = tuple(sorted(self._files(), key=lambda file: file.path))
        if not files:
            raise ModelFailed(MODEL_NOT_FOUND, f"there is no file or folder {self._place}, or it is empty")
        listing = "".join(f"{file.path}\n{file.size}\n{file.identity}\n" for file in files)
        return Resolved("sha256:" + hashlib.sha256(listing.encode()).hexdigest(), files)

    def read(self, file: RemoteFile, start: int, length: int) -> bytes:
        """A piece of a file."""
        with (self._folder / file.path).open("rb") as content:
            content.seek(start)
            return content.read(length)

    def _files(self) -> list[RemoteFile]:
        if self._paths is not None:
            paths = [self._folder / path for path in self._paths]
        else:
            paths = [path for path in self._folder.rglob("*") if not _hidden(path.relative_to(self._folder))]
        return [self._file(path) for path in paths if path.is_file()]

    def _file(self, path: Path) -> RemoteFile:
        found = path.stat()
        return RemoteFile(str(path.relative_to(self._folder)), found.st_size, str(found.st_mtime_ns))


def _of_folder(source: Readable, files: dict[str, RemoteFile]) -> Facts:
    facts = of_config(_json(source, files[CONFIG]))
    weights = [file for path, file in files.items() if path.endswith(".safetensors")]
    indexes = [file for path, file in files.items() if path.endswith(INDEX_SUFFIX) and "/" not in path]
    total = _json(source, indexes[0]).get("metadata") if indexes else None
    total = total if isinstance(total, dict) else {}
    set_count(facts, "weightsBytes", sum(file.size for file in weights) or total.get("total_size"))
    if "quantization" not in facts:  # packed weights are fewer than parameters
        parameters = total.get("total_parameters")
        if parameters is None and 0 < len(weights) <= MOST_SHARDS:
            parameters = sum(_parameters(source, file) for file in weights)
        set_count(facts, "parameters", parameters)
    facts["chatTemplate"] = any(path in files for path in CHAT_TEMPLATES) or (
        TOKENIZER in files and bool(_json(source, files[TOKENIZER]).get("chat_template"))
    )
    return facts


def _of_gguf(source: Readable, files: dict[str, RemoteFile], ggufs: list[RemoteFile]) -> Facts | None:
    """None where a folder holds several models: nobody says which is meant."""
    parts = [files[path] for path in parts_of(min(file.path for file in ggufs)) if path in files]
    if len(parts) != len(ggufs):
        return None
    headers = [read_header(lambda start, n, file=file: source.read(file, start, n), file.path) for file in parts]  # type: ignore[misc]
    facts = of_gguf(headers)
    set_count(facts, "weightsBytes", sum(file.size for file in parts))
    return facts


def _parameters(source: Readable, file: RemoteFile) -> int:
    """Elements of all tensors of a safetensors file: its header is 8 bytes of length, then JSON."""
    start = source.read(file, 0, 8)
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else LARGEST_JSON + 1
    if length > LARGEST_JSON:
        raise ModelFailed(BAD_SOURCE, f"{file.path} is no safetensors file")
    total = 0
    for name, tensor in _parsed(source.read(file, 8, length), file.path).items():
        if name == "__metadata__":
            continue
        shape = tensor.get("shape") if isinstance(tensor, dict) else None
        if not isinstance(shape, list) or not all(isinstance(size, int) and size >= 0 for size in shape):
            raise ModelFailed(BAD_SOURCE, f"{file.path} has a tensor without a shape")
        total += _product(shape)
    return total


def _product(shape: list[int]) -> int:
    elements = 1
    for size in shape:
        elements *= size
    return elements


def _json(source: Readable, file: RemoteFile) -> dict[str, Any]:
    if file.size > LARGEST_JSON:
        raise ModelFailed(BAD_SOURCE, f"{file.path} has {file.size} bytes; {LARGEST_JSON} are the most")
    return _parsed(source.read(file, 0, file.size), file.path)


def _parsed(content: bytes, name: str) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ModelFailed(BAD_SOURCE, f"{name} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ModelFailed(BAD_SOURCE, f"{name} is no JSON object")
    return found


def _hidden(path: Path) -> bool:
    """Our own folder, and what editors and version control keep."""
    return any(part.startswith(".") for part in path.parts)
