"""The one error of the harness that a user sees as a single line without a traceback."""

from __future__ import annotations


class ClusterError(Exception):
    """Something about the cluster or this machine prevents the command; the text says what and what to do."""
