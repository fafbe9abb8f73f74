"""A small HAProxy as the decider knows it: maps, admin socket, audit ring, backends by targets' ids. The rendered
configuration has tests of its own; these are about what the decider and HAProxy say to each other."""

from collections.abc import Iterator
from contextlib import contextmanager

from agentfleet.decider.paths import Paths
from e2e.support import haproxy

_CONFIG = """
global
  stats socket {run}/admin.sock mode 600 level admin
  hard-stop-after 100ms
ring audit
  format raw
  maxlen 65500
  size {ring}
  timeout connect 1s
  timeout server 10s
  server decider unix@{run}/audit.sock log-proto octet-count
defaults
  mode http
  timeout connect 300ms
  timeout client 20s
  timeout server 20s
frontend route
  bind 127.0.0.1:{port}
  log ring@audit len 65500 format raw local0 info
  log-format "%{{+json}}o %(caller)[var(txn.caller)] %(groups)[var(txn.groups)] %(rule)[str(any)] \
%(target)[str(small)] %(status:sint)ST %(attempts:sint)[int(1)] \
%(tokens_in:sint)[var(txn.tokens)] %(tokens_out:sint)[int(0)] \
%(total_ms:sint)Ta"
  http-request set-var(txn.tokens) req.hdr(x-tokens)
  http-request set-var(txn.caller) http_auth_bearer,sha2(256),hex,lower,map_str({run}/keys.map)
  http-request return status 401 unless {{ var(txn.caller) -m found }}
  http-request set-var(txn.groups) var(txn.caller),map_str({run}/groups.map,"")
  http-request set-var-fmt(txn.spender) "key:%[var(txn.caller),url_enc]"
  http-request return status 429 if {{ var(txn.spender),map_str({run}/budgets.map) -m sub spent }}
  http-request return status 200 content-type text/plain lf-string "%[req.hdr(x-text),url_enc]" if {{ path /encoded }}
  http-response set-header x-agentroute-decision "rule=any; target=technical-support; plan=x"
  use_backend hold_t2 if {{ path /held }}
  default_backend pool_t2
backend pool_t0
backend pool_t1
backend pool_t2
  server s {engine} maxconn 1
backend hold_t2
  retries 300
  retry-on conn-failure
  timeout queue 20s
  server gate 127.0.0.1:9 maxconn 1
"""


@contextmanager
def running(paths: Paths, port: int, engine: str = "127.0.0.1:9", ring: int = 2**20) -> Iterator[str]:
    """HAProxy over the maps that are there; gives its base URL."""
    config = paths.run / "haproxy.cfg"
    config.write_text(_CONFIG.format(run=paths.run, port=port, engine=engine, ring=ring))
    with haproxy.running(config, f"127.0.0.1:{port}"):
        yield f"http://127.0.0.1:{port}"
