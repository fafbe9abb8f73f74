"""What reconcile does for each kind: one module a kind, and what they share. reconcile.py calls them."""
