"""How an AgentRoute reads requests: intents, complexity and sensitivity."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from agentfleet.resources.base import Contract, atomic_list, map_list, rules, string_set
from agentfleet.resources.route_targets import ObjectRef, Word

Complexity = Literal["Simple", "Moderate", "Complex"]
Sensitivity = Literal["Public", "Internal", "Confidential", "Restricted"]
Builtin = Literal[
    "Email", "Phone", "IPAddress", "CreditCard", "SSN", "IBAN", "NationalId", "MedicalRecord", "ApiKey", "PrivateKey",
    "Marking",
]  # fmt: skip

Phrase = Annotated[str, Field(min_length=1, max_length=128)]
HeaderName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z][-A-Za-z0-9]*$")]


class Intent(Contract):
    """What a request may be about."""

    name: Word
    """Its name, for rules and targets' tasks."""

    description: Annotated[str, Field(max_length=512)] | None = None
    """What belongs to it, for methods Embedding and Model. Default: its name."""

    keywords: Annotated[tuple[Phrase, ...], atomic_list(64)]
    """Words or phrases; upper and lower case are the same. The first intent of the list with one of its words in the
    request is chosen. Default: none."""

    examples: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=512)], ...], atomic_list(64)]
    """Requests that belong to it; a new one that resembles them enough is taken for it. Default: none."""


class ComplexityOptions(Contract):
    """How hard a request is judged to be."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "has(self.modelRef) == (has(self.method) && self.method == 'Model')",
                "method Model needs modelRef, other methods take none",
                ".modelRef",
            ),
            (
                "!has(self.header) || (has(self.method) && self.method == 'Header')",
                "header is for method Header",
                ".header",
            ),
            (
                "!has(self.timeout) || (has(self.method) && self.method == 'Model')",
                "timeout is for method Model",
                ".timeout",
            ),
        )
    )

    method: Literal["Heuristic", "Header", "Model"] | None = None
    """Heuristic (words and sizes), Header (what the client says, else the heuristic) or Model (a small model is asked,
    within timeout). Default: Heuristic."""

    header: HeaderName | None = None
    """Header with simple, moderate or complex. Default: x-agentroute-complexity."""

    model_ref: ObjectRef | None = None
    """ModelServer that is asked, for method Model."""

    timeout: Annotated[str, Field(max_length=16, pattern=r"^[0-9]{1,4}ms$|^[1-5]s$")] | None = None
    """How long a model may take to answer, 1ms to 5s; after that the default counts. Default: 500ms."""

    default: Complexity | None = None
    """What a request is taken for when nothing tells. Default: Moderate."""


class SensitivePattern(Contract):
    """A regular expression that raises the class of requests."""

    name: Word
    """Its name, for audit."""

    pattern: Annotated[str, Field(min_length=1, max_length=256)]
    r"""The expression, over the text of the whole request. A safe subset is taken: no look-around, no back-references,
    no nested repeats; `(?i)` in front ignores case, `\b`, `\d`, `\w` and `\s` know ASCII."""

    class_: Annotated[Sensitivity, Field(alias="class")] = "Confidential"
    """Internal, Confidential or Restricted. Default: Confidential."""


class SensitivityOptions(Contract):
    """How much a request must stay inside. A class is only ever raised."""

    patterns: Annotated[tuple[Builtin, ...], string_set(16)]
    """Built-in patterns: Email, Phone, IPAddress, CreditCard, SSN, IBAN, NationalId, MedicalRecord, ApiKey, PrivateKey
    and Marking (words such as "internal use only"). Default: all where privacy.denyCloudFor is set, else none."""

    custom: Annotated[tuple[SensitivePattern, ...], map_list("name", max_items=32)]
    """Patterns of your own. Default: none."""

    header: HeaderName | None = None
    """Header in which clients may raise the class; of several the highest counts, and a word that is no class counts as
    Restricted. Default: x-agentroute-sensitivity."""

    default: Sensitivity | None = None
    """Class of requests in which nothing is found. Default: Public."""


class Classify(Contract):
    """How requests are read."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "has(self.modelRef) == (has(self.intentMethod) && self.intentMethod != 'Keywords')",
                "intentMethod Embedding and Model need modelRef, Keywords takes none",
                ".modelRef",
            ),
            (
                "(has(self.intents) && size(self.intents) > 0) ||"
                " (!has(self.intentMethod) && !has(self.modelRef) && !has(self.intentTimeout))",
                "intentMethod, modelRef and intentTimeout need intents to choose from",
                ".intents",
            ),
        )
    )

    intents: Annotated[tuple[Intent, ...], atomic_list(32)]
    """Intents in order: of keywords that occur, those of the first intent count. Default: none."""

    intent_method: Literal["Keywords", "Embedding", "Model"] | None = None
    """Keywords (keywords, then resemblance to examples), Embedding (keywords, then nearness to examples and
    descriptions by an embedding ModelServer) or Model (keywords, then a small model is asked). Default: Keywords."""

    model_ref: ObjectRef | None = None
    """ModelServer for methods Embedding and Model."""

    intent_timeout: Annotated[str, Field(max_length=16, pattern=r"^[0-9]{1,4}ms$|^[1-5]s$")] | None = None
    """How long it may take until an intent is known, 1ms to 5s; after that there is none. Default: 500ms."""

    default_intent: Word | None = None
    """Intent of requests that show none. Default: none."""

    complexity: ComplexityOptions | None = None
    """How hard a request is judged to be. Default: by heuristic."""

    sensitivity: SensitivityOptions | None = None
    """How much a request must stay inside. Default: nothing is looked for, unless privacy.denyCloudFor is set."""
