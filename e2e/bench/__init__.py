"""Benchmarks: figures of the project as ratios to something measured in the same run. They gate nothing.

``run.py`` is the command line; each benchmark is a module of its own beside it.
"""
