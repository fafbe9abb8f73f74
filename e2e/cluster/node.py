"""One real node: kubelet, containerd, kube-proxy and CNI in a network namespace and a mount namespace of its own.

The mount namespace gives every node its own ``/var/lib``, ``/var/log``, ``/run``, ``/opt``, ``/srv`` and ``/mnt``: the
node's programs use their standard paths, a hostPath is local to its node as on real machines, and all mounts of pods
vanish with the namespace instead of littering the machine.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from e2e.cluster import cgroups, control_plane, layout, mounts, network, packages, pki
from e2e.cluster.daemon import Daemon
from e2e.cluster.errors import ClusterError
from e2e.cluster.shell import run, succeeds

PAUSE_IMAGE = "localhost/af-pause:1"
_MOUNT_NAMESPACES = layout.STATE / "mount-namespaces"
_PRIVATE_FOLDERS = ("/var/log", "/opt", "/srv", "/mnt")


@dataclass(frozen=True)
class Node:
    """The real node number ``index`` (from 1); ``programs`` is the folder of the Kubernetes executables."""

    index: int
    programs: Path

    @property
    def name(self) -> str:
        return layout.node_name(self.index)

    @property
    def zone(self) -> str:
        return layout.node_zone(self.index)

    @property
    def ip(self) -> str:
        return layout.node_ip(self.index)

    @property
    def pod_cidr(self) -> str:
        return layout.node_pod_cidr(self.index)

    @cached_property
    def daemons(self) -> dict[str, Daemon]:
        """Its daemons by full name, in the order in which they start."""
        containerd = ["containerd", "--config", str(self._config("containerd.toml"))]
        kubelet = [
            str(self.programs / "kubelet"),
            f"--config={self._config('kubelet.json')}",
            f"--kubeconfig={layout.kubeconfig(self.name)}",
            f"--hostname-override={self.name}",
            f"--node-ip={self.ip}",
            f"--node-labels=topology.kubernetes.io/zone={self.zone}",
        ]
        proxy = [str(self.programs / "kube-proxy"), f"--config={control_plane.proxy_config_path(self.name)}"]
        commands = {"containerd": containerd, "kubelet": kubelet, "kube-proxy": proxy}
        return {
            f"{component}@{self.name}": Daemon(f"{component}@{self.name}", tuple(self.enter(argv)))
            for component, argv in commands.items()
        }

    @property
    def containerd(self) -> Daemon:
        return self.daemons[f"containerd@{self.name}"]

    @property
    def kubelet(self) -> Daemon:
        return self.daemons[f"kubelet@{self.name}"]

    @property
    def kube_proxy(self) -> Daemon:
        return self.daemons[f"kube-proxy@{self.name}"]

    def enter(self, argv: Sequence[str | Path]) -> list[str]:
        """Command line that runs ``argv`` on this node: in its network and with its files."""
        namespaces = [f"--net={self._network.path}", f"--mount={self._mount_namespace}"]
        return ["nsenter", *namespaces, "--", *map(str, argv)]

    def enter_network(self, argv: Sequence[str | Path]) -> list[str]:
        """Command line that runs ``argv`` in this node's network, with the machine's own files."""
        return self._network.enter(argv)

    def run(self, argv: Sequence[str | Path], *, timeout: float = 60) -> str:
        """Run a command on this node and return its output."""
        return run(self.enter(argv), timeout=timeout)

    def host_path(self, path: str) -> Path:
        """Where a file of one of the node's own folders lies on the machine, for example what a hostPath holds."""
        for folder in ("/var/lib", *_PRIVATE_FOLDERS):
            if path == folder or path.startswith(folder + "/"):
                return self._private(folder) / path[len(folder) :].lstrip("/")
        raise ClusterError(f"{path} is not private to a node; use a path under /var/lib, {', '.join(_PRIVATE_FOLDERS)}")

    def cut(self) -> None:
        """Unplug its network: the node and its pods go on running, unreachable."""
        network.set_link(self.name, up=False)

    def heal(self) -> None:
        """Plug its network in again."""
        network.set_link(self.name, up=True)

    @property
    def is_cut(self) -> bool:
        return not network.link_is_up(self.name)

    # -- bringing it up: called by embedded.py, each step once per cluster --

    @property
    def prepared(self) -> bool:
        """Whether its namespaces exist and can be entered."""
        return succeeds(self.enter(["true"]))

    def prepare(self) -> None:
        """Make the node's namespaces, certificate and configuration."""
        network.create_node(self.name, self.ip, self.pod_cidr)
        cgroups.create(cgroups.node_group(self.name))
        self._create_mount_namespace()
        pki.create_node(self.name, self.ip)
        self._config("").mkdir(parents=True, exist_ok=True)
        self._config("cni").mkdir(exist_ok=True)
        self._config("containerd.toml").write_text(self._containerd_config(), encoding="utf-8")
        self._config("resolv.conf").write_text(f"nameserver {layout.DNS_IP}\n", encoding="utf-8")
        self._write_json("cni/10-af.conflist", self._cni_config())
        self._write_json("kubelet.json", self._kubelet_config())
        control_plane.write_proxy_config(self.name)

    def containerd_answers(self) -> bool:
        self.containerd.expect_running()
        return succeeds(self.enter(["ctr", "version"]))

    def images(self) -> set[str]:
        """Names of the images on this node."""
        return set(self.run(["ctr", "-n", "k8s.io", "images", "list", "-q"]).split())

    def import_image(self, archive: Path) -> None:
        """Load an image archive; it comes through standard input, because the node may not see its path."""
        with archive.open("rb") as stream:
            run(self.enter(["ctr", "-n", "k8s.io", "images", "import", "-"]), stdin=stream, timeout=600)

    @property
    def _network(self) -> network.Namespace:
        return network.Namespace(layout.network_namespace(self.name))

    @property
    def _mount_namespace(self) -> Path:
        return _MOUNT_NAMESPACES / self.name

    def _config(self, name: str) -> Path:
        return layout.STATE / "config" / self.name / name

    def _private(self, folder: str) -> Path:
        return layout.STATE / "nodes" / self.name / folder.strip("/").replace("/", "-")

    def _write_json(self, name: str, content: object) -> None:
        self._config(name).write_text(json.dumps(content, indent=1), encoding="utf-8")

    def _create_mount_namespace(self) -> None:
        var_lib = self._private("/var/lib")
        (var_lib / layout.STATE.name).mkdir(parents=True)
        script = [
            "set -e",
            "mount -n --make-rshared /",  # kubelet and containerd pass mounts to each other and to pods
            f"mount -n --rbind {layout.STATE} {var_lib / layout.STATE.name}",  # our own files stay where they are
            f"mount -n --rbind {var_lib} /var/lib",
            "mount -n -t tmpfs -o mode=755 tmpfs /run",
        ]
        for folder in _PRIVATE_FOLDERS:
            self._private(folder).mkdir(parents=True)
            if Path(folder).is_dir():
                script.append(f"mount -n --bind {self._private(folder)} {folder}")
        _MOUNT_NAMESPACES.mkdir(exist_ok=True)
        if not mounts.is_mount(_MOUNT_NAMESPACES):
            # The kernel pins a mount namespace only onto a mount that it does not propagate into that namespace.
            run(["mount", "--no-mtab", "--bind", _MOUNT_NAMESPACES, _MOUNT_NAMESPACES])
            run(["mount", "--no-mtab", "--make-private", _MOUNT_NAMESPACES])
        self._mount_namespace.touch()
        run(["unshare", f"--mount={self._mount_namespace}", "--propagation=slave", "sh", "-c", "\n".join(script)])

    def _containerd_config(self) -> str:
        # restrict_oom_score_adj: a root without CAP_SYS_RESOURCE may not lower the score, and every pod would fail.
        return f"""\
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"

[grpc]
  address = "/run/containerd/containerd.sock"

[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{packages.cni_folder()}"
  conf_dir = "{self._config("cni")}"

[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = false
"""

    def _cni_config(self) -> dict[str, object]:
        # Each pod has a link of its own and is routed, to its neighbours as well: across a bridge, answers between two
        # pods of one node would bypass kube-proxy's address translation on machines without bridge netfilter.
        ptp = {
            "type": "ptp",
            "ipMasq": False,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": self.pod_cidr}]], "routes": [{"dst": "0.0.0.0/0"}]},
        }
        portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
        return {"cniVersion": "0.4.0", "name": "af", "plugins": [ptp, portmap]}

    def _kubelet_config(self) -> dict[str, object]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": self.ip,
            "healthzBindAddress": "127.0.0.1",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(pki.CA)},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(pki.certificate(self.name)),
            "tlsPrivateKeyFile": str(pki.key(self.name)),
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{cgroups.node_group(self.name)}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "oomScoreAdj": 0,
            "clusterDNS": [layout.DNS_IP],
            "clusterDomain": layout.CLUSTER_DOMAIN,
            "resolvConf": str(self._config("resolv.conf")),
            "volumePluginDir": "/var/lib/kubelet/volume-plugins",
            "makeIPTablesUtilChains": False,
            # The machine's disk is shared with everything else on it: it must not make the kubelet evict or collect.
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
            "nodeStatusUpdateFrequency": "5s",
            "nodeLeaseDurationSeconds": 20,
            "registryPullQPS": 0,
            "serializeImagePulls": False,
        }
