"""python -m e2e.images [project|vllm]: build the images of the tests and print `name archive` of each, one a line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from e2e.cluster.errors import ClusterError
from e2e.cluster.progress import note
from e2e.images import Image, vllm
from e2e.images.build import build_all, build_project

_BUILDS: dict[str, Callable[[], list[Image]]] = {
    "all": lambda: build_all(note),
    "project": lambda: build_project(note),
    "vllm": lambda: [vllm.build(note).image],  # apart: only one scenario wants it
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m e2e.images", description="Build the images of the tests.")
    parser.add_argument("what", nargs="?", choices=sorted(_BUILDS), default="all")
    arguments = parser.parse_args()
    try:
        images = _BUILDS[arguments.what]()
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    for image in images:
        print(image.name, image.archive)
    return 0


if __name__ == "__main__":
    sys.exit(main())
