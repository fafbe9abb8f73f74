"""The model of an Agent: where it is asked, by which id, with which key; or why it cannot be asked. Pure."""

from dataclasses import dataclass, replace

from pydantic import ValidationError

from agentfleet.errors import InvalidSpec
from agentfleet.gateway.layout import HTTP_PORT, TLS_PORT
from agentfleet.gateway.resolved import Endpoint, Resolved
from agentfleet.manifests.agent_uses import ModelUse
from agentfleet.manifests.egress import Rule, url_rules
from agentfleet.objects import AGENT_ROUTE_LABEL, Key, Manifest
from agentfleet.planning.agent_addresses import to_pods
from agentfleet.planning.agent_refs import Refs
from agentfleet.planning.route_addresses import outside
from agentfleet.planning.route_endpoints import credentials_of, endpoint_elsewhere, server_endpoint, standing
from agentfleet.planning.route_places import Places
from agentfleet.resources.agent_runtime import AgentModel
from agentfleet.resources.base import DnsLabel
from agentfleet.resources.compliance import PrivacyMode
from agentfleet.resources.conditions import ConditionStatus
from agentfleet.resources.external import External
from agentfleet.resources.modelserver import ModelServer
from agentfleet.resources.route_rules import MODEL_ID
from agentfleet.resources.route_targets import ObjectRef
from agentfleet.settings import Settings


@dataclass(frozen=True)
class ModelLook:
    """Looks the model up, for an agent in a privacy mode."""

    refs: Refs
    settings: Settings
    mode: PrivacyMode

    def use(self, model: AgentModel) -> tuple[ModelUse, list[Rule]]:
        """The model, and egress rules to it; InvalidSpec where it cannot be used."""
        if model.model_server_ref:
            use, rules = self._server(model.model_server_ref)
        elif model.route_ref:
            use, rules = self._route(model.route_ref.name)
        elif model.external:
            use, rules = self._external("model.external", model.external, model.name or model.external.model)
        else:
            raise InvalidSpec("InvalidSpec", "model: set exactly one of modelServerRef, routeRef and external.")
        return replace(use, id=model.name or use.id), rules

    def _server(self, ref: ObjectRef) -> tuple[ModelUse, list[Rule]]:
        field, key = "model.modelServerRef", Key("ModelServer", ref.namespace or self.refs.own, ref.name)
        manifest = self.refs.allowed(field, key)
        try:
            server = ModelServer.from_manifest(manifest)
        except ValidationError as error:
            raise InvalidSpec("ReferenceNotFound", f"{field}: the spec of {key} is not valid.") from error
        external = server.spec.external
        if external and self.mode == "Offline":
            raise InvalidSpec("PrivacyViolation", f"{field}: {key} is outside the cluster; privacy.mode is Offline.")
        if self.mode != "Standard" and self._places.of_server(key, None) == "Cloud":
            raise InvalidSpec("PrivacyViolation", f"{field}: {key} is in a cloud; privacy.mode is {self.mode}.")
        found = Resolved(field, "ModelServer", "Serving", object=ref.name, namespace=key.namespace)
        if external:
            found = endpoint_elsewhere(found, server, external, self.settings, self.refs.own)
        else:
            found = server_endpoint(found, server, self.refs.lookup, self.settings, self.refs.own)
        if found.reason == "NotPermitted":
            message = f"{field}: a Secret or ConfigMap of {key} is in its namespace: the Agent must be there, too."
            raise InvalidSpec("RefNotPermitted", message)
        ready, message = _standing(manifest)
        if found.endpoint is None:
            # Its Services are on their way; their names and ports are known before them.
            return self._coming(server, key), []
        use = _use(found.endpoint)
        return replace(use, ready=ready, message=message), self._to_endpoint(found.endpoint, key.namespace)

    def _coming(self, server: ModelServer, key: Key) -> ModelUse:
        if not MODEL_ID.fullmatch(server.model_name if not server.is_external else ""):
            raise InvalidSpec(
                "ReferenceNotFound", f"model.modelServerRef: which model of {key} is meant? Set model.name."
            )
        url = f"http://{key.name}-model.{key.namespace}.svc.{self.settings.cluster_domain}/v1"
        return ModelUse(url, server.model_name, ready="False", message=f"{key} has no Services yet.")

    def _route(self, name: DnsLabel) -> tuple[ModelUse, list[Rule]]:
        """Clouds among its targets are left out by the route itself, which is told the privacy mode of who asks. Code
        of functions runs in the same pod and tells nothing: it must be refused where the mode is Offline."""
        key = Key("AgentRoute", self.refs.own, name)
        manifest = self.refs.found("model.routeRef", key)
        if self.mode == "Offline" and not manifest["spec"].get("auth") and self._places.of_route(key) == "Cloud":
            message = (
                f"model.routeRef: {key} leads to a cloud and lets in whoever asks, also what runs beside this Agent and"
                " does not say that privacy.mode is Offline. Give the route auth, or name one that stays in the"
                " cluster."
            )
            raise InvalidSpec("PrivacyViolation", message)
        ready, message = _standing(manifest)
        tls = (manifest["spec"].get("gateway") or {}).get("tls") or {}
        authority = (tls.get("caBundle") or {}).get("configMapName")
        scheme, port = ("https", TLS_PORT) if authority else ("http", HTTP_PORT)
        url = f"{scheme}://{name}-route.{self.refs.own}.svc.{self.settings.cluster_domain}/v1"
        use = ModelUse(url, f"route/{name}", routed=True, ca_config_map=authority, ready=ready, message=message)
        return use, [to_pods(self.refs.own, self.refs.own, {AGENT_ROUTE_LABEL: name}, port)]

    def _external(self, field: str, external: External, model: str | None) -> tuple[ModelUse, list[Rule]]:
        if self.mode == "Offline":
            raise InvalidSpec("PrivacyViolation", f"{field} is outside the cluster; privacy.mode is Offline.")
        if self.mode != "Standard" and self._places.of_external(external.dump(), self.refs.own, None) == "Cloud":
            raise InvalidSpec("PrivacyViolation", f"{field} is in a cloud; privacy.mode is {self.mode}.")
        endpoint = outside(external.url, model or "", credentials_of(external), self.settings.denied_cidrs)
        return _use(endpoint), self._to_endpoint(endpoint, self.refs.own)

    @property
    def _places(self) -> Places:
        return Places(self.refs.lookup, self.settings.cluster_domain)

    def _to_endpoint(self, endpoint: Endpoint, namespace: str) -> list[Rule]:
        if endpoint.url:
            return url_rules(self.refs.own, endpoint.url, self.settings)
        label, value = endpoint.pods or ("", "")
        return [to_pods(self.refs.own, namespace, {label: value}, endpoint.port)]


def _standing(manifest: Manifest) -> tuple[ConditionStatus, str]:
    reason, message = standing(manifest)
    return ("True" if reason in ("Serving", "ScaledToZero") else "False"), message


def _use(endpoint: Endpoint) -> ModelUse:
    scheme = "https" if endpoint.tls else "http"
    url = f"http://{endpoint.service}/v1"
    if endpoint.url:
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        url = f"{scheme}://{host}:{endpoint.port}{endpoint.path or '/v1'}"
    return ModelUse(
        url, endpoint.model, key_secret=endpoint.credentials.secret, ca_config_map=endpoint.credentials.ca_config_map
    )
