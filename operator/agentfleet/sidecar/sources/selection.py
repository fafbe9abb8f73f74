"""Which files of a repository or folder an engine reads. Pure."""

import re
from fnmatch import fnmatch

from agentfleet.sidecar.sources.base import RemoteFile

_SPLIT = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.gguf)")

OTHER_FORMATS = (
    "pytorch_model*.bin",
    "*.pt",
    "*.pth",
    "*.msgpack",
    "*.h5",
    "*.ot",
    "*.onnx",
    "*.onnx_data",
    "*.tflite",
    "*.mlmodel",
    "*.mlpackage/*",
    "*.gguf",
    "original/*",
)
"""The same weights once more, in formats that no engine here reads when there are safetensors."""


def needed(files: list[RemoteFile]) -> tuple[RemoteFile, ...]:
    """The files of a snapshot that an engine reads: where there are safetensors, no second copy of the weights."""
    if not any(file.path.endswith(".safetensors") for file in files):
        return tuple(files)
    return tuple(f for f in files if not any(fnmatch(f.path, pattern) for pattern in OTHER_FORMATS))


def parts_of(file: str) -> list[str]:
    """All files that `file` stands for: llama.cpp opens the first part of a split GGUF and looks for the others."""
    match = _SPLIT.fullmatch(file)
    if match is None:
        return [file]
    count = int(match["count"])
    return [f"{match['stem']}-{n:05}-of-{count:05}{match['suffix']}" for n in range(1, count + 1)]
