"""Builders: a validated spec in, plain dicts out; sorted, without nulls, the same bytes every time. Pure."""
