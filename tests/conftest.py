"""What holds for all tests: whether property tests pass depends on the change, neither on luck nor on a busy machine.

Hypothesis draws the same examples every time. `--hypothesis-profile=search` draws new ones: what it finds is a bug,
whose example then becomes a test of its own.
"""

from hypothesis import HealthCheck, settings

_UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", _UNTIMED)
settings.register_profile("fixed", _UNTIMED, derandomize=True)
settings.load_profile("fixed")
