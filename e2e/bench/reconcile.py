"""``bench reconcile``: what does the operator cost beside a bare client that makes the same writes?

Each round lets N ModelServers be created while an operator runs, and lets the bare client create as many in another namespace
and write their children and status itself; which goes first alternates. Both are timed by the API server's audit log, from the
arrival of the first create to the answer to the last write, so both include the creation of the ModelServers. They have no
pods (replicas 0): only the API server is shared. Steady state, restart, memory and latency are measured with N there.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from datetime import UTC, datetime

from e2e.bench import client as bare
from e2e.bench.audit import AuditLog, Write
from e2e.bench.control_plane import ControlPlane, control_plane
from e2e.bench.laboratory import BARE, Converged, Laboratory
from e2e.bench.operator_process import OPERATOR, Operator, operator
from e2e.bench.report import Figure, Report, percentile
from e2e.cluster.progress import note, step

_SMALL = 100
_SMALL_ROUNDS = 3
_SINGLES = 200
