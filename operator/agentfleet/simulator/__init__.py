"""`agentfleet simulate`: what a trace of requests would cost, and how well it would be served, under each autoscaler.

    traces.py ─▶ fleet.py (router, pods) ─▶ engine.py (batching, KV cache) ─▶ score.py ─▶ report.py, plot.py
                   ▲ scale(n)      │ scraped samples, of realistic age
                 product.py, baselines.py ◀─ telemetry.py ◀─ faults.py

The policy of the product is autoscale/ itself, the very code that the operator runs; baselines are re-implemented from
their published formulas. Everything is deterministic by seed. Nothing here is imported by the operator.
"""
