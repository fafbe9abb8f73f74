"""Certificates and kubeconfigs of the embedded cluster: one authority, made by openssl, gone with the cluster."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from e2e.cluster import layout
from e2e.cluster.shell import run

FOLDER = layout.STATE / "pki"
CA = FOLDER / "ca.crt"
CA_KEY = FOLDER / "ca.key"
FRONT_PROXY = "front-proxy-client"
_DAYS = "365"
_API_NAMES = (
    "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,"
    f"DNS:kubernetes.default.svc.{layout.CLUSTER_DOMAIN},"
    f"IP:127.0.0.1,IP:{layout.CONTROL_IP},IP:{layout.SERVICE_API_IP}"
)

# file name of the certificate, and of the kubeconfig where one is made: common name, organisations
USERS: dict[str, tuple[str, Sequence[str]]] = {
    "admin": ("agentfleet-e2e-admin", ("system:masters",)),
    "kube-controller-manager": ("system:kube-controller-manager", ()),
    "kube-scheduler": ("system:kube-scheduler", ()),
    "kube-proxy": ("system:kube-proxy", ()),
}


def create_control_plane() -> None:
    """Make the authority, the API server's certificates, the token key, and a kubeconfig for each of ``USERS``."""
    FOLDER.mkdir(mode=0o700, exist_ok=True)
    _new_key(CA_KEY)
    run(["openssl", "req", "-x509", "-new", "-key", CA_KEY, "-subj", "/CN=agentfleet-e2e", "-days", _DAYS, "-out", CA])
    _new_key(FOLDER / "service-account.key")
    _issue("apiserver", "kube-apiserver", (), _API_NAMES)
    _issue("apiserver-kubelet-client", "kube-apiserver-kubelet-client", ("system:masters",))
    _issue(FRONT_PROXY, FRONT_PROXY, ())
    for user, (common_name, organisations) in USERS.items():
        _issue(user, common_name, organisations)
        _write_kubeconfig(user)


def create_node(name: str, ip: str) -> None:
    """Make a kubelet's certificate (client of the API server and server of logs and exec) and its kubeconfig."""
    _issue(name, f"system:node:{name}", ("system:nodes",), f"DNS:{name},IP:{ip}")
    _write_kubeconfig(name)


def certificate(name: str) -> Path:
    return FOLDER / f"{name}.crt"


def key(name: str) -> Path:
    return FOLDER / f"{name}.key"


def _new_key(path: Path) -> None:
    run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path])


def _issue(name: str, common_name: str, organisations: Sequence[str], names: str = "") -> None:
    _new_key(key(name))
    subject = "".join(f"/O={organisation}" for organisation in organisations) + f"/CN={common_name}"
    request = run(["openssl", "req", "-new", "-key", key(name), "-subj", subject])
    extensions = FOLDER / f"{name}.ext"
    alternatives = f"subjectAltName={names}\n" if names else ""
    extensions.write_text(f"extendedKeyUsage=serverAuth,clientAuth\n{alternatives}", encoding="utf-8")
    sign = ["openssl", "x509", "-req", "-CA", str(CA), "-CAkey", str(CA_KEY), "-CAcreateserial", "-days", _DAYS]
    run([*sign, "-extfile", str(extensions), "-out", str(certificate(name))], stdin=request)


def _write_kubeconfig(user: str) -> None:
    path = layout.kubeconfig(user)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(json.dumps(_kubeconfig(user), indent=1), encoding="utf-8")  # JSON is YAML


def _kubeconfig(user: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "agentfleet-e2e", "cluster": {"server": layout.API_SERVER, "certificate-authority": str(CA)}}
        ],
        "users": [{"name": user, "user": {"client-certificate": str(certificate(user)), "client-key": str(key(user))}}],
        "contexts": [{"name": "agentfleet-e2e", "context": {"cluster": "agentfleet-e2e", "user": user}}],
        "current-context": "agentfleet-e2e",
    }
