"""gs://bucket/path: Google Cloud Storage."""

from typing import TYPE_CHECKING

from obstore.exceptions import BaseError
from obstore.store import GCSStore

from agentfleet.sidecar.credentials import SECRET
from agentfleet.sidecar.failures import MODEL_GATED, ModelFailed
from agentfleet.sidecar.sources.base import Access, Source
from agentfleet.sidecar.sources.objectstore import NO_RETRIES, Location, ObjectStore, client_options, parse

if TYPE_CHECKING:  # obstore has it for type checkers only
    from obstore.store import GCSConfig

ORIGIN = "https://storage.googleapis.com"
KEY = "serviceAccountKey"


def open_source(uri: str, access: Access) -> Source:
    """Signs with the service account of the Secret, else not at all: the node's account is never used."""
    bucket, key = parse(uri)
    origin = access.endpoint or ORIGIN
    config: GCSConfig = {"bucket": bucket, "base_url": origin}
    account = access.credentials.get(KEY)
    if account is None:
        config["skip_signature"] = True
    else:
        config["service_account_key"] = account
    try:
        store = GCSStore(config=config, client_options=client_options(access), retry_config=NO_RETRIES)
    except BaseError:
        # Its text quotes what it could not read.
        raise ModelFailed(
            MODEL_GATED, f"key {KEY!r} of {SECRET} is not the JSON key of a Google service account"
        ) from None
    return ObjectStore(
        store, Location(bucket, key, origin, access.credentials.hint(KEY)), access, signed=account is not None
    )
