"""python -m e2e.images [operator]: build the images of the tests and print `name archive` of each, one a line."""

from __future__ import annotations

import argparse
import sys

from e2e.cluster.errors import ClusterError
from e2e.cluster.progress import note
from e2e.images.build import build_all, build_operator


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m e2e.images", description="Build the images of the tests.")
    parser.add_argument("what", nargs="?", choices=["all", "operator"], default="all")
    arguments = parser.parse_args()
    try:
        images = build_all(note) if arguments.what == "all" else [build_operator(note)]
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
