"""Decisions: what to write next and what to say about it, from what has been seen. Pure; `now` is an argument."""
