"""A scripted server with HTTPS in a scenario's namespace, as a company has one inside: its certificate is vouched for
by a ConfigMap, and by no public authority.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

from e2e.scenarios import scripted
from e2e.scenarios.kube import Manifest
from e2e.scenarios.scenario import Scenario

_MOUNTED_AT = "/certificate"


def apply(scenario: Scenario, name: str, *, models: str = "scripted") -> None:
    """Have https://NAME.NAMESPACE.svc.cluster.local, and the ConfigMap NAME-ca that vouches for it."""
    items = _manifests(name, models, *certificate(f"{name}.{scenario.namespace}.svc.cluster.local"))
    scenario.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    scenario.kubectl("rollout", "status", f"deployment/{name}", "--timeout=60s", timeout=90)


def _manifests(name: str, models: str, certificate: str, key: str) -> list[Manifest]:
    program, service, deployment = scripted.manifests(name, models=models)
    service["spec"]["ports"] = [{"name": "https", "port": 443, "targetPort": scripted.PORT}]
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    container["env"].append({"name": "CERTIFICATE", "value": f"{_MOUNTED_AT}/tls.pem"})
    container["volumeMounts"].append({"name": "certificate", "mountPath": _MOUNTED_AT, "readOnly": True})
    container["readinessProbe"]["httpGet"]["scheme"] = "HTTPS"
    pod["volumes"].append({"name": "certificate", "secret": {"secretName": name}})
    about = {"name": name}
    pair: Manifest = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": about,
        "stringData": {"tls.pem": key + certificate},
    }
    authority: Manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{name}-ca"}}
    return [program, pair, authority | {"data": {"ca.crt": certificate}}, service, deployment]


def certificate(*hosts: str) -> tuple[str, str]:
    """A certificate that vouches for itself, and its key."""
    names = ",".join(f"DNS:{host}" for host in hosts)
    with tempfile.TemporaryDirectory() as folder:
        key, certificate = Path(folder, "tls.key"), Path(folder, "tls.crt")
        request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        about = ["-days", "1", "-subj", "/CN=e2e", "-addext", f"subjectAltName={names}"]
        files: list[str | Path] = ["-keyout", key, "-out", certificate]
        subprocess.run([*request, *about, *files], check=True, capture_output=True, timeout=30)
        return certificate.read_text(), key.read_text()
