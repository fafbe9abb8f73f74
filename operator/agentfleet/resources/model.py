"""Where a ModelServer's model comes from and where it is kept."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from agentfleet.resources.base import (
    AbsolutePath,
    Contract,
    DnsLabel,
    DnsName,
    Quantity,
    Rule,
    map_list,
    rules,
    showing,
)
from agentfleet.resources.facts import ModelFacts

_URI_MESSAGE = (
    "uri must be hf://owner/repo[/file.gguf][@revision], s3://bucket/path, gs://bucket/path, oci://registry/repo:tag,"
    " https://host/file, pvc://claim/path, file:///absolute/path, ollama://name:tag or foundry://alias, without '..'"
)
_PATH = "[A-Za-z0-9][A-Za-z0-9_.:/@%+=,-]*"
_URI_PATTERN = (
    "^(hf://[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_./-]*(@[A-Za-z0-9_./-]+)?"
    f"|(s3|gs)://[a-z0-9][-.a-z0-9]*/{_PATH}|oci://{_PATH}|https://[A-Za-z0-9][-A-Za-z0-9.]*(:[0-9]+)?/{_PATH}"
    "|pvc://[a-z0-9][-.a-z0-9]*/.+|file:///.+|ollama://[A-Za-z0-9][A-Za-z0-9_./:-]*|foundry://[A-Za-z0-9][A-Za-z0-9_.:-]*)$"
)

DOWNLOADED = ("hf", "s3", "gs", "oci", "https")
"""Schemes that the loader downloads before the engine starts."""

Uri = Annotated[str, Field(min_length=1, max_length=1024)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", max_length=64)]


def _uri_rule(name: str) -> Rule:
    return Rule(
        f"self.{name}.matches('{_URI_PATTERN}') && !self.{name}.contains('..')",
        _URI_MESSAGE,
        f".{name}",
        showing(_URI_MESSAGE, f"self.{name}"),
    )


def is_downloaded(field: str) -> str:
    """CEL: the URI in `field` is one that the loader downloads."""
    return f"{field}.matches('^(hf|s3|gs|oci|https)://')"


class ConfigMapName(Contract):
    """Names a ConfigMap of the same namespace."""

    config_map_name: DnsName
    """Name of the ConfigMap."""


class ModelAuth(Contract):
    """Credentials and place of a model source."""

    secret_name: DnsName | None = None
    """Secret in the same namespace; only the loader sees it, and with adapters the sidecar. Its keys: `token` for hf;
    `accessKeyId`, `secretAccessKey`, `sessionToken`, `region` for s3; `serviceAccountKey` (JSON) for gs; `username` and
    `password`, or `.dockerconfigjson`, for oci; `token`, or `username` and `password`, for https."""

    endpoint: Annotated[str, Field(max_length=512, pattern=r"^https?://[^\s\"'#\\%{}]+$")] | None = None
    """Address of a mirror of the hub or of an object store of one's own, such as https://hub.example.com.
    Default: the source's public address."""

    ca_bundle: ConfigMapName | None = None
    """ConfigMap whose key `ca.crt` holds the certificates (PEM) that the source's certificate is checked against.
    Default: the public ones."""


class Variant(Contract):
    """Another form of the same model, for another engine or less memory."""

    model_config = ConfigDict(json_schema_extra=rules(_uri_rule("uri")))

    name: DnsLabel
    """Name of the variant, such as q4 or cpu; status.plan says which is used."""

    engine: Literal["VLLM", "Ollama", "LlamaCpp"] | None = None
    """Engine that can serve it. Default: spec.engine."""

    uri: Uri
    """Where it comes from; as model.uri."""

    sha256: Sha256 | None = None
    """SHA-256 of the file, where the source is one file."""

    memory: Quantity | None = None
    """What it needs in GPU memory (or RAM on a CPU profile) of one replica, such as 6Gi; it is passed over where there
    is less. Default: it is taken to fit."""


class Update(Contract):
    """When to look whether the source has something newer under the same name."""

    schedule: Annotated[str, Field(min_length=9, max_length=128, pattern=r"^[-0-9A-Za-z*/,#]+( [-0-9A-Za-z*/,#]+){4}$")]
    """Cron expression with five fields, such as `0 3 * * *`. At each time an ollama:// tag is pulled again, and a moved
    branch or tag of an hf:// or oci:// source is rolled out like a changed spec."""

    time_zone: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9_+/-]*$")] | None = None
    """Time zone of the schedule, such as Europe/Berlin. Default: UTC."""


class Model(Contract):
    """Which model is served, and under which name."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            _uri_rule("uri"),
            (
                f"!has(self.auth) || {is_downloaded('self.uri')}",
                "auth is for downloaded sources (hf, s3, gs, oci, https); pvc://, file:// and ollama:// take none",
                ".auth",
            ),
            (
                "!has(self.sha256) || self.uri.startsWith('https://')"
                f" || ({is_downloaded('self.uri')} && self.uri.contains('.gguf'))",
                "sha256 is for a source that is one downloaded file, such as hf://owner/repo/file.gguf",
                ".sha256",
            ),
            (
                "!has(self.update) || self.uri.matches('^(hf|oci|ollama)://')",
                "update is for sources whose names can move: hf://, oci:// and ollama://",
                ".update",
            ),
        )
    )

    uri: Uri
    """Where the model comes from. One of
    hf://owner/repo[@revision] (Hugging Face; a folder of safetensors, for VLLM),
    hf://owner/repo/file.gguf[@revision] (one file of a repository, for LlamaCpp),
    s3://bucket/path and gs://bucket/path (object stores; a folder or one file),
    oci://registry/repository:tag (an OCI artifact), https://host/path (one file); all of these are downloaded by the
    loader before the engine starts.
    pvc://claim/path (a file or folder in a PersistentVolumeClaim of the namespace, mounted read-only),
    file:///path (a file or folder on the node, mounted read-only; must lie under the operator's hostPathRoot setting),
    ollama://name:tag or ollama://registry/namespace/name:tag (pulled by Ollama, with progress in status.models),
    foundry://alias (a model of a Foundry Local outside the cluster).
    Ollama takes ollama:// only; LlamaCpp takes a .gguf file; VLLM takes a folder or a repository."""

    name: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9][-A-Za-z0-9_.:/]*$")] | None = None
    """The model's id in the OpenAI API. Default: the object's name. For VLLM with an hf:// source the repository's name
    with / written as -- is a second id."""

    task: Literal["Chat", "Completion", "Embedding", "Rerank", "Vision", "Audio"] | None = None
    """What the model is for: Chat, Completion, Embedding, Rerank, Vision or Audio. Embedding and Rerank start vLLM and
    llama-server in the mode for them; Vision with LlamaCpp needs llamaCpp.projector. Default: Chat."""

    sha256: Sha256 | None = None
    """SHA-256 of the file, 64 hexadecimal digits, checked before the engine starts. For sources that are one file."""

    auth: ModelAuth | None = None
    """Credentials for the source. Default: none."""

    facts: ModelFacts | None = None
    """Facts about the model for the planner, where its own files cannot be read. Given ones win over those read."""

    variants: Annotated[tuple[Variant, ...], map_list("name", max_items=8)]
    """Other forms of the same model. A hardware profile with another engine, or with less memory than the model needs,
    takes the first variant that fits it; without profiles there is nothing to choose. Where none says what memory it
    needs, the one whose file name tells the quantization that suits the profile's memory goes first: Q2_K below 1 GB,
    Q4_K_M below 2, Q5_K_M below 6, else Q8_0."""

    update: Update | None = None
    """Follow the source on a schedule. Default: never; what is cached is used."""


class Cache(Contract):
    """Where downloaded models are kept."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("self.type != 'HostPath' || has(self.path)", "type HostPath needs path, a folder on the nodes", ".path"),
            ("self.type == 'HostPath' || !has(self.path)", "path is for type HostPath", ".path"),
            (
                "self.type == 'ExistingClaim' || !has(self.claimName)",
                "claimName is for type ExistingClaim",
                ".claimName",
            ),
            (
                "self.type != 'ExistingClaim' || has(self.claimName)",
                "type ExistingClaim needs claimName, a PersistentVolumeClaim of the namespace",
                ".claimName",
            ),
            (
                "self.type != 'PersistentVolume' || has(self.size)",
                "type PersistentVolume needs size, such as 50Gi",
                ".size",
            ),
            (
                "self.type == 'PersistentVolume' || !has(self.storageClassName)",
                "storageClassName is for type PersistentVolume",
                ".storageClassName",
            ),
            (
                "self.type == 'PersistentVolume' || !has(self.accessMode)",
                "accessMode is for type PersistentVolume",
                ".accessMode",
            ),
            (
                "self.type == 'PersistentVolume' || !has(self.reclaimPolicy)",
                "reclaimPolicy is for type PersistentVolume; other caches are never deleted",
                ".reclaimPolicy",
            ),
            (
                "self.type != 'Ephemeral' || !has(self.preload)",
                "preload is for caches that outlive a pod: HostPath, PersistentVolume and ExistingClaim",
                ".preload",
            ),
        )
    )

    type: Literal["Ephemeral", "HostPath", "PersistentVolume", "ExistingClaim"]
    """Ephemeral (gone with the pod), HostPath (a folder of the node, shared by its pods; must lie under the operator's
    hostPathRoot setting), PersistentVolume (a claim that the operator makes) or ExistingClaim (a PersistentVolumeClaim
    of yours). Default without a cache: Ephemeral."""

    path: AbsolutePath | None = None
    """The folder on the nodes, for HostPath; it must exist and be writable for user 65532, or be created so by whoever
    looks after the nodes."""

    claim_name: DnsName | None = None
    """The claim, for ExistingClaim."""

    size: Quantity | None = None
    """How much may be stored, such as 20Gi. Ephemeral: above it kubelet evicts the pod. PersistentVolume: size of the
    claim; it can grow where the StorageClass allows. HostPath and ExistingClaim: the loader makes room below it by
    deleting models that no pod has used for longest. Default: no limit."""

    storage_class_name: DnsName | None = None
    """StorageClass, for PersistentVolume. Default: the cluster's default class."""

    access_mode: Literal["ReadWriteOnce", "ReadWriteMany"] | None = None
    """For PersistentVolume: ReadWriteOnce keeps all pods together on one node, ReadWriteMany lets them run on any.
    Default: ReadWriteOnce."""

    preload: bool | None = None
    """Fill the cache by a Job before pods start: a claim once, a HostPath on every ready node that spec.placement
    allows. Default: true for claims, false for HostPath, where the first pod on a node loads."""

    reclaim_policy: Literal["Retain", "Delete"] | None = None
    """For PersistentVolume: whether the claim goes with the ModelServer (Delete) or stays, and serves the next one of
    the same name without a download (Retain). Default: Retain."""

    @model_validator(mode="after")
    def _has_its_place(self) -> Self:
        """Repeats some rules for objects stored before these existed: without its place no volume can be made."""
        if self.type == "HostPath" and self.path is None:
            raise ValueError("type HostPath needs path, a folder on the nodes")
        if self.type == "ExistingClaim" and self.claim_name is None:
            raise ValueError("type ExistingClaim needs claimName, a PersistentVolumeClaim of the namespace")
        if self.type == "PersistentVolume" and self.size is None:
            raise ValueError("type PersistentVolume needs size, such as 50Gi")
        return self
