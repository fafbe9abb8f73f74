"""What tests stand on: programs and servers that they run themselves, and manifests of what helps in the cluster."""
