"""``python -m e2e.bench``: the benchmarks from an environment that is prepared already, without a cluster."""

import sys

from e2e.bench.run import main

sys.exit(main(None, sys.argv[1:]))
