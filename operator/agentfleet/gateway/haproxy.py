"""Renders a gateway: the policy and the layout become haproxy.cfg and the files beside it. Pure and deterministic.

The configuration holds what is fixed: ports, backends, the order of things. What users write (patterns, header values,
model ids that clients may ask for) is in route.json and in maps, so no text of theirs can keep HAProxy from starting.
"""

from agentfleet.gateway.haproxy_backends import backends
from agentfleet.gateway.haproxy_chain import chain_sections, owner
from agentfleet.gateway.haproxy_check import check_texts
from agentfleet.gateway.haproxy_errors import error_files
from agentfleet.gateway.haproxy_frontend import frontend
from agentfleet.gateway.haproxy_limits import corrections
from agentfleet.gateway.haproxy_maps import lua, maps
from agentfleet.gateway.haproxy_process import metrics, process
from agentfleet.gateway.layout import Layout
from agentfleet.gateway.types import Policy


def render(policy: Policy, layout: Layout) -> dict[str, str]:
    """File name → content, for the folder CONFIG_FOLDER; InvalidSpec where a text could be read as configuration."""
    check_texts(policy, layout)
    lines = [
        f"# AgentRoute {policy.namespace}/{policy.name}; written by agentfleet, changes are lost.",
        "",
        *process(policy, layout),
        *metrics(policy, layout),
        *frontend(policy, layout),
        *chain_sections(policy, layout),
        *owner(policy, layout),
        *corrections(layout),
        *backends(policy, layout),
    ]
    files = {"haproxy.cfg": "\n".join(lines), "route.json": policy.to_json(), **maps(policy, layout)}
    files |= {**error_files(), **lua()}
    return dict(sorted(files.items()))
