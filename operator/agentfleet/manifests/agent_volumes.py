"""The volumes of an Agent's pod and their folders. Pure.

The operator never reads a Secret: pods mount those that spec names, of each only the keys that are used. Nothing is
mounted by subPath, so a changed Secret or ConfigMap is seen by the pods that run.
"""

from collections.abc import Iterator
from typing import Any

from agentfleet.manifests.agent_names import sessions_claim_name
from agentfleet.manifests.agent_uses import Uses
from agentfleet.manifests.gateway_identity import IDENTITY_SECRET
from agentfleet.manifests.mounts import Mounted
from agentfleet.resources.agent import Agent
from agentfleet.resources.agent_tools import AgentTool, SecretHeader

CONFIG_FOLDER = "/etc/agentfleet"
CONFIG_FILE = f"{CONFIG_FOLDER}/agent.json"
DATA_FOLDER = "/var/lib/agent"
SESSIONS_FOLDER = f"{DATA_FOLDER}/sessions"
FUNCTIONS_FOLDER = "/functions"
_SECRETS = "/var/run/agentfleet"
IDENTITY_KEY_FILE = f"{_SECRETS}/identity/key"
MODEL_KEY_FILE = f"{_SECRETS}/model/apiKey"
MODEL_CA_FILE = f"{_SECRETS}/ca/ca.crt"
INSTRUCTIONS_FILE = f"{_SECRETS}/instructions/text"
REDIS_PASSWORD_FILE = f"{_SECRETS}/redis/password"
TOKEN_FILE = f"{_SECRETS}/token/token"
TLS_CERT_FILE = f"{_SECRETS}/tls/tls.crt"
TLS_KEY_FILE = f"{_SECRETS}/tls/tls.key"
_AUTHORITIES = f"{_SECRETS}/authorities"
_HEADERS_FOLDER = f"{_SECRETS}/headers"
_API_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"
"""Where every client of the API server looks for its token."""

AUDIENCE = "agentfleet"
"""For whom tokens are that agents are asked with."""
_DATA_SIZE, _TMP_SIZE = "1Gi", "256Mi"
_TOKEN_SECONDS = 3600


def agent_volumes(agent: Agent, uses: Uses, config_map: str) -> list[Mounted]:
    """What the agent's own container mounts, by folder."""
    every = [*_always(agent, config_map), *_of_model(uses), *_of_agents(uses), *_of_spec(agent)]
    if uses.judges_tokens:
        every.append(Mounted("api-access", _API_FOLDER, _api_access()))
    return sorted(every, key=lambda volume: volume.folder)


def functions_volumes(tool: AgentTool) -> list[Mounted]:
    """What the container of one entry of Python functions mounts, and nothing else."""
    if tool.python is None:
        return []
    functions = {"configMap": {"name": tool.python.config_map_name}}
    return [
        Mounted(f"functions-{tool.name}", FUNCTIONS_FOLDER, functions),
        Mounted(f"tmp-{tool.name}", "/tmp", _scratch(_TMP_SIZE), read_only=False),  # noqa: S108 - in the pod
    ]


def authority_file(config_map: str) -> str:
    """Where the certificates are mounted that other agents' are checked against."""
    return f"{_AUTHORITIES}/{config_map}/ca.crt"


def header_file(tool: str, index: int) -> str:
    """Where the value of a tool's header is mounted; header names are not always names of files."""
    return f"{_HEADERS_FOLDER}/{tool}/{index}"


def headers_of(tool: AgentTool) -> tuple[SecretHeader, ...]:
    """Headers that a tool is asked with."""
    if tool.mcp:
        return tool.mcp.headers_from
    return tool.http.headers_from if tool.http else ()


def asks_elsewhere(agent: Agent, tool: AgentTool) -> bool:
    """Whether a tool is an agent of another namespace."""
    return tool.agent is not None and tool.agent.namespace not in (None, agent.namespace)


def is_shared(agent: Agent) -> bool:
    """Whether several pods may mount the claim of the sessions."""
    volume = agent.spec.session.volume if agent.spec.session else None
    return bool(volume and volume.access_mode == "ReadWriteMany")


def has_claim(agent: Agent) -> bool:
    """Whether sessions are kept on a volume."""
    return bool(agent.spec.session and agent.spec.session.store == "PersistentVolume")


def _always(agent: Agent, config_map: str) -> Iterator[Mounted]:
    yield Mounted("config", CONFIG_FOLDER, {"configMap": {"name": config_map}})
    # All keys of it: while a key is changed, the former one stands beside it.
    identity = {"secret": {"secretName": IDENTITY_SECRET}}
    yield Mounted("identity", IDENTITY_KEY_FILE.rpartition("/")[0], identity)
    yield Mounted("tmp", "/tmp", _scratch(_TMP_SIZE), read_only=False)  # noqa: S108 - in the pod
    claim = {"persistentVolumeClaim": {"claimName": sessions_claim_name(agent)}}
    if has_claim(agent) and not is_shared(agent):
        # The one pod keeps all of its data there: calls that wait for a connection outlive it.
        yield Mounted("data", DATA_FOLDER, claim, read_only=False)
        return
    yield Mounted("data", DATA_FOLDER, _scratch(_DATA_SIZE), read_only=False)
    if has_claim(agent):
        yield Mounted("sessions", SESSIONS_FOLDER, claim, read_only=False)


def _of_model(uses: Uses) -> Iterator[Mounted]:
    if uses.model and uses.model.key_secret:
        yield _file("model-key", MODEL_KEY_FILE, _secret(uses.model.key_secret, "apiKey", "apiKey"))
    if uses.model and uses.model.ca_config_map:
        yield _file("model-ca", MODEL_CA_FILE, _config_map(uses.model.ca_config_map, "ca.crt", "ca.crt"))


def _of_agents(uses: Uses) -> Iterator[Mounted]:
    others = (*uses.tools.values(), *(found for _, found in uses.members))
    named = sorted({each.ca_config_map for each in others if each.ca_config_map})
    if named:
        sources = [_config_map(name, "ca.crt", f"{name}/ca.crt") for name in named]
        yield Mounted("authorities", _AUTHORITIES, {"projected": {"sources": sources}})


def _of_spec(agent: Agent) -> Iterator[Mounted]:
    if any(asks_elsewhere(agent, tool) for tool in agent.spec.tools):
        token = {"audience": AUDIENCE, "expirationSeconds": _TOKEN_SECONDS, "path": "token"}
        yield _file("token", TOKEN_FILE, {"projected": {"sources": [{"serviceAccountToken": token}]}})
    told, session = agent.spec.instructions_from, agent.spec.session
    if agent.spec.tls:
        items = [{"key": key, "path": key} for key in ("tls.crt", "tls.key")]
        pair = {"secret": {"secretName": agent.spec.tls.secret_name, "items": items}}
        yield _file("tls", TLS_CERT_FILE, pair)
    if told and told.config_map_key_ref:
        ref = told.config_map_key_ref
        yield _file("instructions", INSTRUCTIONS_FILE, _config_map(ref.name, ref.key, "text"))
    elif told and told.secret_key_ref:
        yield _file(
            "instructions", INSTRUCTIONS_FILE, _secret(told.secret_key_ref.name, told.secret_key_ref.key, "text")
        )
    if session and session.redis and session.redis.secret_name:
        # All keys: there may be a username beside the password.
        yield _file("redis", REDIS_PASSWORD_FILE, {"secret": {"secretName": session.redis.secret_name}})
    headers = list(_headers(agent))
    if headers:
        yield Mounted("headers", _HEADERS_FOLDER, {"projected": {"sources": headers}})


def _headers(agent: Agent) -> Iterator[dict[str, Any]]:
    for tool in agent.spec.tools:
        for index, header in enumerate(headers_of(tool)):
            items = [{"key": header.key, "path": f"{tool.name}/{index}"}]
            yield {"secret": {"name": header.secret_name, "items": items}}


def _api_access() -> dict[str, Any]:
    """A token for TokenReviews alone: it is the pod's own, so pods that need none have none."""
    authority = {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    token = {"expirationSeconds": _TOKEN_SECONDS, "path": "token"}
    return {"projected": {"sources": [{"serviceAccountToken": token}, {"configMap": authority}]}}


def _file(name: str, file: str, source: dict[str, Any]) -> Mounted:
    return Mounted(name, file.rpartition("/")[0], source)


def _secret(name: str, key: str, path: str) -> dict[str, Any]:
    return {"secret": {"secretName": name, "items": [{"key": key, "path": path}]}}


def _config_map(name: str, key: str, path: str) -> dict[str, Any]:
    return {"configMap": {"name": name, "items": [{"key": key, "path": path}]}}


def _scratch(size: str) -> dict[str, Any]:
    return {"emptyDir": {"sizeLimit": size}}
