"""What NetworkPolicies let through, as a third party reads them; the test cluster's network enforces none."""
