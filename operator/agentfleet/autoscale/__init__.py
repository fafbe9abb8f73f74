"""The scaling loop's head: samples of engines in, decisions out. Pure; the simulator runs this very code.

    samples.py ─▶ signals.py ─▶ capacity.py, forecast.py ─▶ policy.py ─▶ decision.py
                  (what holds now)  (what was learnt)         (what to do)

controller.py holds them together for one ModelServer. `now` is always an argument: seconds since the epoch.
"""
