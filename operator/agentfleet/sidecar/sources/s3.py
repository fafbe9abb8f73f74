"""s3://bucket/path: Amazon S3, and with an endpoint whatever speaks its protocol."""

import os
from typing import TYPE_CHECKING

from obstore.store import S3Store

from agentfleet.sidecar.sources.base import Access, Source
from agentfleet.sidecar.sources.objectstore import NO_RETRIES, Location, ObjectStore, client_options, parse

if TYPE_CHECKING:  # obstore has it for type checkers only
    from obstore.store import S3Config

DEFAULT_REGION = "us-east-1"

_WORKLOAD_IDENTITY = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
)
"""Variables that a cloud puts into pods that have a role of their own."""


def open_source(uri: str, access: Access) -> Source:
    """Signs with the keys of the Secret, else with the pod's role, else not at all: the node's role is never used."""
    bucket, key = parse(uri)
    credentials = access.credentials
    region = credentials.get("region") or os.environ.get("AWS_REGION") or DEFAULT_REGION
    origin = access.endpoint or f"https://s3.{region}.amazonaws.com"
    config: S3Config = {
        "bucket": bucket,
        "region": region,
        "endpoint": origin,
        "virtual_hosted_style_request": False,
    }
    access_key, secret_key = credentials.get("accessKeyId"), credentials.get("secretAccessKey")
    signed = True
    if access_key and secret_key:
        config |= {"access_key_id": access_key, "secret_access_key": secret_key}
        if token := credentials.get("sessionToken"):
            config["session_token"] = token
    elif not any(name in os.environ for name in _WORKLOAD_IDENTITY):
        config["skip_signature"] = True
        signed = False
    store = S3Store(config=config, client_options=client_options(access), retry_config=NO_RETRIES)
    hint = credentials.hint("accessKeyId", "secretAccessKey")
    return ObjectStore(store, Location(bucket, key, origin, hint), access, signed=signed)
