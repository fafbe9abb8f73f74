"""The routing policy of an AgentRoute and its rendering as HAProxy configuration. Pure.

AgentRoute + resolved targets ─ compile.py ─▶ Policy (types.py) = route.json ─┬▶ policy.py       the reference
                                                                              └▶ agentroute.lua  inside HAProxy
Policy + Layout ─ haproxy.py ─▶ haproxy.cfg, maps
"""
