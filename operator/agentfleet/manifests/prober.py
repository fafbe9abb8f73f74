"""The pod that watches an endpoint outside the cluster, for engines External and FoundryLocal. Pure.

It runs `agentfleet probe`: asks the endpoint at an interval, and is ready while the endpoint answers and has the model.
No request of a client passes through it, so no Service selects it. It is a pod of its own, not a part of the operator,
because it holds the endpoint's key and goes where users point it.
"""

from typing import Any

from agentfleet.engines.sources import parse_source
from agentfleet.errors import InvalidSpec
from agentfleet.manifests.egress import network
from agentfleet.manifests.names import child_labels
from agentfleet.manifests.pod import PROBE_PERIOD, SIDECAR_PORT
from agentfleet.manifests.security import CONTAINER_SECURITY, POD_SECURITY
from agentfleet.manifests.topology import pod_placement
from agentfleet.resources.external import External
from agentfleet.resources.modelserver import ModelServer
from agentfleet.settings import Settings

PROBER = "prober"
CREDENTIALS_DIR = "/var/run/agentfleet/credentials"
CA_DIR = "/var/run/agentfleet/ca"
_MOUNTED = {"ca": CA_DIR, "credentials": CREDENTIALS_DIR}
_STOP_SECONDS = 5
_API_SERVER = "--deny-cidr=$(KUBERNETES_SERVICE_HOST)"
"""kubelet puts the address in, in every pod, without service links too."""

_KINDS = {"External": "OpenAI", "FoundryLocal": "FoundryLocal"}


def prober_template(server: ModelServer, settings: Settings, sidecar_image: str) -> dict[str, Any]:
    """The pod template, in the shape of pod.pod_template; InvalidSpec for objects stored without spec.external."""
    external = server.spec.external
    if external is None:
        raise InvalidSpec("InvalidSpec", f"external (with url) is required for engine {server.spec.engine}.")
    spec = server.spec
    body: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "containers": [_container(server, external, settings, sidecar_image)],
        "enableServiceLinks": False,
        "securityContext": POD_SECURITY,
        "terminationGracePeriodSeconds": _STOP_SECONDS,
    }
    optional = pod_placement(server, settings.site_label, None) | {
        "imagePullSecrets": [secret.dump() for secret in spec.image_pull_secrets],
        "serviceAccountName": spec.service_account_name,
        "volumes": _volumes(external),
    }
    body |= {name: value for name, value in optional.items() if value}
    return {"metadata": {"labels": child_labels(server)}, "spec": body}


def _container(server: ModelServer, external: External, settings: Settings, image: str) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": PROBER,
        "image": image,
        "imagePullPolicy": settings.sidecar_image_pull_policy,
        "args": _arguments(server, external, settings),
        "livenessProbe": {
            "httpGet": {"path": "/healthz", "port": SIDECAR_PORT},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
        "ports": [{"name": PROBER, "containerPort": SIDECAR_PORT, "protocol": "TCP"}],
        "readinessProbe": {
            "httpGet": {"path": "/readyz", "port": SIDECAR_PORT},
            "periodSeconds": PROBE_PERIOD,
            "timeoutSeconds": 5,
        },
        "resources": {"limits": {"memory": "128Mi"}, "requests": {"cpu": "10m", "memory": "48Mi"}},
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"mountPath": _MOUNTED[volume["name"]], "name": volume["name"], "readOnly": True}
            for volume in _volumes(external)
        ],
    }
    return {name: value for name, value in container.items() if value != []}


def _arguments(server: ModelServer, external: External, settings: Settings) -> list[str]:
    model = external.model or _alias(server)
    discover = model is None if external.discover is None else external.discover
    auth = external.auth
    return [
        "probe",
        f"--kind={_KINDS[server.spec.engine]}",
        f"--url={external.url}",
        f"--port={SIDECAR_PORT}",
        *([f"--model={model}"] if model else []),
        *(["--discover"] if discover else []),
        *([f"--credentials-dir={CREDENTIALS_DIR}"] if auth and auth.secret_name else []),
        *([f"--ca-bundle={CA_DIR}/ca.crt"] if auth and auth.ca_bundle else []),
        _API_SERVER,
        *(f"--deny-cidr={network(text)}" for text in settings.denied_cidrs),
    ]


def _alias(server: ModelServer) -> str | None:
    return parse_source(server.spec.model.uri).reference if server.spec.model else None


def _volumes(external: External) -> list[dict[str, Any]]:
    """Of a Secret and a ConfigMap that may hold more, only the one key that is used."""
    auth = external.auth
    volumes: list[dict[str, Any]] = []
    if auth and auth.ca_bundle:
        items = [{"key": "ca.crt", "path": "ca.crt"}]
        volumes.append({"name": "ca", "configMap": {"name": auth.ca_bundle.config_map_name, "items": items}})
    if auth and auth.secret_name:
        items = [{"key": "apiKey", "path": "apiKey"}]
        volumes.append({"name": "credentials", "secret": {"secretName": auth.secret_name, "items": items}})
    return volumes
