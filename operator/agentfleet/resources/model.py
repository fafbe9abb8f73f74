"""Where a ModelServer's model comes from and where it is kept."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from agentfleet.resources.base import AbsolutePath, Contract, DnsName, Quantity, rules, showing

_URI_MESSAGE = (
    "uri must be hf://owner/repo[@revision], hf://owner/repo/file.gguf[@revision], pvc://claim/path, file:///absolute/path"
    " or ollama://name:tag, without '..'"
)


class ModelAuth(Contract):
    """Credentials and place of a model source."""

    secret_name: DnsName | None = None
    """Secret in the same namespace; for hf:// its key `token` is the access token. Only the loader sees it."""

    endpoint: Annotated[str, Field(max_length=512, pattern=r"^https?://[^\s\"'#\\%{}]+$")] | None = None
    """Address of a mirror of the hub, such as https://hub.example.com. Default: the source's public address."""


class Model(Contract):
    """Which model is served, and under which name."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "self.uri.matches('^(hf://[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_./-]*(@[A-Za-z0-9_./-]+)?"
                "|pvc://[a-z0-9][-.a-z0-9]*/.+|file:///.+|ollama://[A-Za-z0-9][A-Za-z0-9_./:-]*)$')"
                " && !self.uri.contains('..')",
                _URI_MESSAGE,
                ".uri",
                showing(_URI_MESSAGE, "self.uri"),
            ),
            (
                "!has(self.auth) || self.uri.startsWith('hf://')",
                "auth is for hf:// sources; pvc://, file:// and ollama:// take none",
                ".auth",
            ),
            (
                "!has(self.sha256) || (self.uri.startsWith('hf://') && self.uri.contains('.gguf'))",
                "sha256 is for a source that is one downloaded file: hf://owner/repo/file.gguf",
                ".sha256",
            ),
        )
    )

    uri: Annotated[str, Field(min_length=1, max_length=1024)]
    """Where the model comes from. One of
    hf://owner/repo[@revision] (Hugging Face, downloaded by the loader before the engine starts),
    hf://owner/repo/file.gguf[@revision] (one file of a repository, for LlamaCpp),
    pvc://claim/path (a file or folder in a PersistentVolumeClaim of the namespace, mounted read-only),
    file:///path (a file or folder on the node, mounted read-only; must lie under the operator's hostPathRoot setting),
    ollama://name:tag or ollama://registry/namespace/name:tag (pulled by Ollama, with progress in status.models).
    Ollama takes ollama:// only; LlamaCpp takes a .gguf file; VLLM takes a folder or a repository."""

    name: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9][-A-Za-z0-9_.:/]*$")] | None = None
    """The model's id in the OpenAI API. Default: the object's name. For VLLM with an hf:// source the repository's name
    with / written as -- is a second id."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", max_length=64)] | None = None
    """SHA-256 of the file, 64 hexadecimal digits, checked before the engine starts. For sources that are one file."""

    auth: ModelAuth | None = None
    """Credentials for the source. Default: none."""


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
            ("self.type == 'Ephemeral' || !has(self.size)", "size is for type Ephemeral", ".size"),
        )
    )

    type: Literal["Ephemeral", "HostPath", "ExistingClaim"]
    """Ephemeral (gone with the pod), HostPath (a folder of the node, shared by its pods; must lie under the operator's
    hostPathRoot setting) or ExistingClaim (a PersistentVolumeClaim). Default without a cache: Ephemeral."""

    path: AbsolutePath | None = None
    """The folder on the nodes, for HostPath; it must exist and be writable for user 65532, or be created so by whoever
    looks after the nodes."""

    claim_name: DnsName | None = None
    """The claim, for ExistingClaim."""

    size: Quantity | None = None
    """For Ephemeral: how much the pod may store, for example 20Gi; above it kubelet evicts the pod.
    Default: no limit."""

    @model_validator(mode="after")
    def _has_its_place(self) -> Self:
        """Repeats two of the rules for objects stored before these existed: without its place no volume can be made."""
        if self.type == "HostPath" and self.path is None:
            raise ValueError("type HostPath needs path, a folder on the nodes")
        if self.type == "ExistingClaim" and self.claim_name is None:
            raise ValueError("type ExistingClaim needs claimName, a PersistentVolumeClaim of the namespace")
        return self
