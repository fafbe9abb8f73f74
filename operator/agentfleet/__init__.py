"""agentfleet: a Kubernetes operator for fleets of AI agents and the model servers behind them."""

__version__ = "0.1.0"
