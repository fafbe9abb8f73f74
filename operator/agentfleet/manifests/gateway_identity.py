"""The Secret with the key that gateways sign callers' identities with: one for each namespace. Pure.

It is made once and never read or changed by the operator; agents of the namespace check identities by it. Those of
other namespaces have another key, so nothing that is signed with this one is sent there: the operator could copy no key
without a right to read Secrets. It has no owner, since it outlives every route. Beside `key`, which signs, there may be
`key.previous`, which is believed as well: docs/agents-security.md says how the key is replaced by it.
"""

from base64 import b64encode

from agentfleet.objects import FIELD_MANAGER, MANAGED_BY, Manifest

IDENTITY_SECRET = "agentfleet-identity"  # noqa: S105 - a name
IDENTITY_KEY = "key"


def identity_secret(namespace: str, key: str) -> Manifest:
    """The Secret, with `key` as its content; to be created, never applied."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": IDENTITY_SECRET, "namespace": namespace, "labels": {MANAGED_BY: FIELD_MANAGER}},
        "type": "Opaque",
        "data": {IDENTITY_KEY: b64encode(key.encode()).decode()},
        "immutable": True,
    }
