"""End-to-end harness: a real Kubernetes, the project's own images and chart, scenarios, demo and benchmarks.

Run it as ``python3 e2e --help``. Nothing under ``operator/agentfleet`` may import from here.
"""
