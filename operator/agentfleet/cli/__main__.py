"""`python -m agentfleet.cli`: kubectl-agentfleet where the console script is not in PATH."""

import sys

from agentfleet.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
