"""Tests of the Helm chart with the real helm; they need no cluster."""
