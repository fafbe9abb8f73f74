"""kubectl-agentfleet: what users ask and tell the operator from their own machine.

It talks to the API server with the user's kubeconfig and rights, and to nothing else but, for a benchmark, the model.
What it tells the operator goes through annotations of the objects, as anybody could write them.
"""
