"""Deletes objects behind the API server's back: the only way to have one go while no watch can see it."""

from __future__ import annotations

import base64

import httpx

_URL = "http://127.0.0.1:2379/v3/kv/deleterange"  # etcd's JSON gateway, in the control plane's network


def delete(group: str, plural: str, namespace: str, name: str) -> None:
    """Delete one object from the store; AssertionError where it was not there."""
    key = base64.b64encode(f"/registry/{group}/{plural}/{namespace}/{name}".encode()).decode()
    response = httpx.post(_URL, json={"key": key}, trust_env=False).raise_for_status()
    assert int(response.json().get("deleted", 0)) == 1, f"etcd had no {plural}/{namespace}/{name}"
