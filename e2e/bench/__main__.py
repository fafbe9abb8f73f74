"""``python -m e2e.bench``: the benchmarks from an environment that is prepared already, without a cluster."""

import sys

from e2e.bench.run import main
from e2e.cluster.errors import ClusterError

try:
    sys.exit(main(sys.argv[1:]))
except ClusterError as error:
    sys.exit(f"error: {error}")
except KeyboardInterrupt:
    sys.exit(130)
