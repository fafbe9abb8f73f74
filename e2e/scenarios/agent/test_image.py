"""The image of agents: small, since every device at the edge pulls it."""

from __future__ import annotations

import json
import tarfile

from e2e.cluster.progress import note
from e2e.images import build

LIMIT = 170 * 10**6
"""Bytes of all layers over the base, as they lie unpacked in the archive."""


def test_the_layers_over_the_base_are_small() -> None:
    (image,) = (each for each in build.build_project(note) if each.name == "agentfleet/runtime:dev")
    with tarfile.open(image.archive) as archive:
        manifest = archive.extractfile("manifest.json")
        assert manifest is not None
        base, *layers = json.load(manifest)[0]["Layers"]
        sizes = [archive.getmember(layer).size for layer in layers]
    assert sizes, f"{base} is the only layer"
    assert sum(sizes) < LIMIT
