"""The contract: what users write and what the operator answers, as frozen models. Pure."""
