"""What users do with agentfleet, tried on a real cluster: one folder for each scenario, with its manifests.

``kube.py`` talks to the API server, ``scenario.py`` is one scenario's namespace, ``operators.py`` the operator's pods,
``conftest.py`` hands them to the tests. ``python3 e2e test scenarios/NAME`` runs one.
"""
