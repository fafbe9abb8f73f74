"""Command lines of the control plane: etcd, API server, controller manager, scheduler, and a kube-proxy.

The kube-proxy gives tests (and the API server's webhook calls) Services by ClusterIP from the control plane's network,
whatever happens to the nodes. Pure: starting and waiting are in ``embedded.py``.
"""

from __future__ import annotations

import json
from pathlib import Path

from e2e.cluster import layout, pki
from e2e.cluster.daemon import Daemon
from e2e.cluster.network import CONTROL

ETCD = "etcd"
API_SERVER = "kube-apiserver"
CONTROLLER_MANAGER = "kube-controller-manager"
SCHEDULER = "kube-scheduler"
PROXY = "kube-proxy"

_ETCD_URL = "http://127.0.0.1:2379"  # plain HTTP: nothing but the API server lives in this network namespace


def daemons(programs: Path) -> dict[str, Daemon]:
    """The control plane's daemons by name, in the order in which they start."""
    flags = {
        ETCD: _etcd(),
        API_SERVER: _api_server(),
        CONTROLLER_MANAGER: _controller_manager(),
        SCHEDULER: _scheduler(),
        PROXY: [f"--config={proxy_config_path(layout.CONTROL)}"],
    }
    return {name: Daemon(name, tuple(CONTROL.enter([str(programs / name), *flags[name]]))) for name in flags}


def write_config() -> None:
    """Write the configuration files that the daemons read."""
    write_proxy_config(layout.CONTROL)


def write_proxy_config(host: str) -> None:
    path = proxy_config_path(host)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(proxy_config(host), indent=1), encoding="utf-8")


def proxy_config_path(host: str) -> Path:
    return layout.STATE / "config" / f"{host}.kube-proxy.json"


def proxy_config(host: str) -> dict[str, object]:
    """Configuration of the kube-proxy on ``host`` (a node, or the control plane)."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "hostnameOverride": host,
        "mode": "nftables",
        "clientConnection": {"kubeconfig": str(layout.kubeconfig("kube-proxy"))},
        "clusterCIDR": layout.POD_NETWORK,
        # The limits of connection tracking belong to the machine; only the first network namespace may write them.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "oomScoreAdj": 0,
    }


def _etcd() -> list[str]:
    return [
        "--name=af",
        f"--data-dir={layout.STATE / 'etcd'}",
        f"--listen-client-urls={_ETCD_URL}",
        f"--advertise-client-urls={_ETCD_URL}",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--initial-cluster=af=http://127.0.0.1:2380",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def _api_server() -> list[str]:
    service_account_key = pki.FOLDER / "service-account.key"
    return [
        f"--etcd-servers={_ETCD_URL}",
        f"--bind-address={layout.CONTROL_IP}",
        f"--advertise-address={layout.CONTROL_IP}",
        "--secure-port=6443",
        f"--service-cluster-ip-range={layout.SERVICE_NETWORK}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged",
        f"--client-ca-file={pki.CA}",
        f"--tls-cert-file={pki.certificate('apiserver')}",
        f"--tls-private-key-file={pki.key('apiserver')}",
        f"--kubelet-certificate-authority={pki.CA}",
        f"--kubelet-client-certificate={pki.certificate('apiserver-kubelet-client')}",
        f"--kubelet-client-key={pki.key('apiserver-kubelet-client')}",
        "--kubelet-preferred-address-types=InternalIP",  # nothing resolves the nodes' names
        # The aggregation layer, for metrics adapters of an autoscaler and the like.
        f"--requestheader-client-ca-file={pki.CA}",
        f"--requestheader-allowed-names={pki.FRONT_PROXY}",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pki.certificate(pki.FRONT_PROXY)}",
        f"--proxy-client-key-file={pki.key(pki.FRONT_PROXY)}",
        f"--service-account-issuer=https://kubernetes.default.svc.{layout.CLUSTER_DOMAIN}",
        f"--service-account-key-file={service_account_key}",
        f"--service-account-signing-key-file={service_account_key}",
        "--shutdown-watch-termination-grace-period=2s",  # else open watches hold a stopping server for a minute
        "--profiling=false",
    ]


def _controller_manager() -> list[str]:
    return [
        *_client(CONTROLLER_MANAGER),
        "--leader-elect=false",
        "--use-service-account-credentials",
        f"--root-ca-file={pki.CA}",
        f"--service-account-private-key-file={pki.FOLDER / 'service-account.key'}",
        f"--cluster-signing-cert-file={pki.CA}",
        f"--cluster-signing-key-file={pki.CA_KEY}",
        "--node-monitor-period=2s",
        "--node-monitor-grace-period=20s",  # half of Kubernetes' own: scenarios wait for it
        f"--flex-volume-plugin-dir={layout.STATE / 'volume-plugins'}",
        "--kube-api-qps=100",  # the garbage collector is slow at the default
        "--kube-api-burst=200",
        "--bind-address=127.0.0.1",
        "--profiling=false",
    ]


def _scheduler() -> list[str]:
    return [
        *_client(SCHEDULER),
        "--leader-elect=false",
        "--kube-api-qps=100",
        "--kube-api-burst=200",
        "--bind-address=127.0.0.1",
        "--profiling=false",
    ]


def _client(user: str) -> list[str]:
    path = layout.kubeconfig(user)
    return [f"--kubeconfig={path}", f"--authentication-kubeconfig={path}", f"--authorization-kubeconfig={path}"]
