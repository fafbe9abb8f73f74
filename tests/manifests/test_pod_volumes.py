"""What the containers of a pod see: models, caches, credentials, keys, adapters, claimed GPUs."""

from typing import Any

import pytest

from tests.manifests.pods import container, pod


def test_the_hubs_token_reaches_the_loader_only() -> None:
    auth = {"secretName": "hub", "endpoint": "https://hub.example", "caBundle": {"configMapName": "ours"}}
    body = pod("VLLM", model={"uri": "hf://a/b", "auth": auth})
    mounts = {
        item["name"]: [mount["name"] for mount in item["volumeMounts"]]
        for item in (*body["initContainers"], *body["containers"])
    }
    for volume in ("source-credentials", "source-ca"):
        assert volume in mounts["loader"]
        assert volume not in mounts["engine"]
        assert volume not in mounts["sidecar"]
    args = container(body, "loader")["args"]
    assert "--endpoint=https://hub.example" in args
    assert "--credentials-dir=/var/run/agentfleet/source" in args
    assert "--ca-bundle=/var/run/agentfleet/source-ca/ca.crt" in args


def test_the_one_file_of_an_artifact_has_a_name_that_the_engine_knows() -> None:
    body = pod("LlamaCpp", model={"uri": "oci://registry.example/acme/chat:q4"})
    (target,) = [arg for arg in container(body, "loader")["args"] if arg.startswith("--target=")]
    assert "--link-gguf=model.gguf" in container(body, "loader")["args"]
    assert f"{target.removeprefix('--target=')}/model.gguf" in container(body, "engine")["args"]


def test_gpus_by_claims() -> None:
    body = pod("LlamaCpp", gpu={"claims": [{"name": "gpu", "resourceClaimTemplateName": "one-gpu"}]})
    assert body["resourceClaims"] == [{"name": "gpu", "resourceClaimTemplateName": "one-gpu"}]
    engine = container(body, "engine")
    assert engine["resources"] == {"claims": [{"name": "gpu"}]}
    assert "999" in engine["args"], "all layers go to the GPU"


def test_an_api_key_reaches_engine_and_sidecar() -> None:
    body = pod("VLLM", expose={"apiKeySecretName": "keys"})
    variable = next(item for item in container(body, "engine")["env"] if item["name"] == "VLLM_API_KEY")
    assert variable["valueFrom"] == {"secretKeyRef": {"name": "keys", "key": "apiKey"}}
    assert "--api-key-file=/var/run/agentfleet/api-key/apiKey" in container(body, "sidecar")["args"]
    assert "keys" not in str(container(body, "engine")["args"])


def test_adapters_are_the_sidecars_to_write_and_the_engines_to_read() -> None:
    body = pod("VLLM", adapters=[{"name": "sql", "uri": "hf://acme/sql"}])
    shared = [
        next(m for m in container(body, name)["volumeMounts"] if m["name"] == "adapters")
        for name in ("engine", "sidecar")
    ]
    assert [mount.get("readOnly", False) for mount in shared] == [True, False]
    assert "--adapters-file=/etc/agentfleet/adapters/adapters.json" in container(body, "sidecar")["args"]


def test_which_adapters_there_are_is_no_revision() -> None:
    one = pod("VLLM", adapters=[{"name": "sql", "uri": "hf://acme/sql"}])
    two = pod("VLLM", adapters=[{"name": "sql", "uri": "hf://acme/sql"}, {"name": "law", "uri": "hf://acme/law"}])
    assert one == two


def test_a_shared_cache_is_held_by_the_sidecar() -> None:
    body = pod("VLLM", cache={"type": "PersistentVolume", "size": "20Gi"})
    (model_dir,) = [arg for arg in container(body, "sidecar")["args"] if arg.startswith("--model-dir=")]
    assert model_dir.removeprefix("--model-dir=") in container(body, "engine")["args"]
    assert {"name": "models", "persistentVolumeClaim": {"claimName": "phi-model-cache"}} in body["volumes"]
    assert not [arg for arg in container(pod("VLLM"), "sidecar")["args"] if "model-dir" in arg]


@pytest.mark.parametrize(
    ("cache", "edge", "flags"),
    [
        (
            {"type": "HostPath", "path": "/srv/models/c", "size": "1Gi"},
            {},
            ["--cache-root=/models", "--cache-bytes=1073741824"],
        ),
        ({"type": "HostPath", "path": "/srv/models/c"}, {"keepModel": True}, ["--keep"]),
        ({"type": "Ephemeral", "size": "1Gi"}, {"keepModel": True}, []),
    ],
)
def test_what_a_shared_cache_may_hold(cache: dict[str, Any], edge: dict[str, Any], flags: list[str]) -> None:
    body = pod("VLLM", cache=cache, placement={"edge": edge})
    assert [arg for arg in container(body, "loader")["args"] if "cache" in arg or "keep" in arg] == flags


@pytest.mark.parametrize(
    ("uri", "volume", "mount_path"),
    [
        ("pvc://models/a.gguf", {"persistentVolumeClaim": {"claimName": "models", "readOnly": True}}, "/models"),
        ("file:///srv/models/a.gguf", {"hostPath": {"path": "/srv/models", "type": "Directory"}}, "/models"),
        ("hf://a/b/c.gguf", {"emptyDir": {}}, "/models"),
    ],
)
def test_models_volume(uri: str, volume: dict[str, Any], mount_path: str) -> None:
    body = pod("LlamaCpp", model={"uri": uri})
    assert {"name": "models", **volume} in body["volumes"]
    mount = next(mount for mount in container(body, "engine")["volumeMounts"] if mount["name"] == "models")
    assert (mount["mountPath"], mount.get("readOnly")) == (mount_path, True)


def test_a_folder_on_the_node_is_mounted_alone() -> None:
    body = pod("VLLM", model={"uri": "file:///srv/models/llama"})
    assert {"name": "models", "hostPath": {"path": "/srv/models/llama", "type": "Directory"}} in body["volumes"]
    assert container(body, "engine")["args"][0] == "/models/llama"


@pytest.mark.parametrize(
    ("cache", "volume"),
    [
        ({"type": "Ephemeral", "size": "20Gi"}, {"emptyDir": {"sizeLimit": "20Gi"}}),
        (
            {"type": "HostPath", "path": "/srv/models/cache"},
            {"hostPath": {"path": "/srv/models/cache", "type": "DirectoryOrCreate"}},
        ),
        ({"type": "ExistingClaim", "claimName": "hub"}, {"persistentVolumeClaim": {"claimName": "hub"}}),
    ],
)
def test_cache(cache: dict[str, Any], volume: dict[str, Any]) -> None:
    assert {"name": "models", **volume} in pod("Ollama", cache=cache)["volumes"]


def test_pods_of_a_claim_for_one_node_run_together() -> None:
    body = pod("LlamaCpp", model={"uri": "hf://a/b/c.gguf"}, cache={"type": "PersistentVolume", "size": "5Gi"})
    (term,) = body["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    selector = {"matchLabels": {"agentfleet.dev/claim": "phi-model-cache"}}
    assert term == {"labelSelector": selector, "topologyKey": "kubernetes.io/hostname"}
    assert "podAntiAffinity" not in body["affinity"]
    assert "topologySpreadConstraints" not in body


def test_pods_of_a_shared_claim_spread() -> None:
    cache = {"type": "PersistentVolume", "size": "5Gi", "accessMode": "ReadWriteMany"}
    body = pod("LlamaCpp", model={"uri": "hf://a/b/c.gguf"}, cache=cache)
    assert "podAffinity" not in body["affinity"]
    assert body["topologySpreadConstraints"]
