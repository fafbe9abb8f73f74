"""The scaling loop's hands and eyes: it asks pods and gateways, runs the ticks, and keeps what was seen."""
