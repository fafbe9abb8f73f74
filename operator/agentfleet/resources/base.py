"""Building blocks of the contract: the base model, bounded types, and the markers that become CRD schema.

A field's docstring is its `kubectl explain` text; bounds are enforced by the API server and here alike. Optional means
absent, never null. Nothing here gives a default to a field that an engine or a later layer may set.
"""

import re
from typing import Annotated, Any, NamedTuple, Self, TypeAlias

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel

from agentfleet.durations import parse_duration

JsonDict: TypeAlias = dict[str, JsonValue]


class Contract(BaseModel):
    """Base of every model of the contract: frozen, camelCase outside, unknown keys ignored (a newer CRD)."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True, use_attribute_docstrings=True
    )

    def dump(self) -> dict[str, Any]:
        """Plain data in the shape of the YAML, without what is not set."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Rule(NamedTuple):
    """One CEL rule; `field` is the path of the culprit, `message_expression` a CEL string that shows its value too."""

    expression: str
    message: str
    field: str | None = None
    message_expression: str | None = None

    def schema(self) -> JsonDict:
        """As an entry of x-kubernetes-validations."""
        entry: JsonDict = {"rule": self.expression, "message": self.message}
        if self.field:
            entry["fieldPath"] = self.field
        if self.message_expression:
            entry["messageExpression"] = self.message_expression
        return entry


def showing(message: str, value: str) -> str:
    """A message expression: `message`, and the string that the CEL expression `value` yields.

    Numbers need one `format` over the whole message instead: the API server cannot bound what joining them costs.
    """
    quoted = message.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{quoted}; got ' + {value}"


def rules(*checks: tuple[str | None, ...]) -> JsonDict:
    """Schema extra with CEL rules, each given as the fields of a Rule."""
    # A Rule is such a tuple, and mypy cannot see that the first two fields are there.
    return {"x-kubernetes-validations": [Rule(*check).schema() for check in checks]}  # type: ignore[arg-type]


def map_list(*keys: str, max_items: int = 64) -> Any:
    """Marks a list whose items are named: server-side apply merges it by `keys`, which must be unique."""
    extra: JsonDict = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}
    return Field(default=(), max_length=max_items, json_schema_extra=extra)


def string_set(max_items: int = 64) -> Any:
    """Marks a list of distinct strings whose order says nothing."""
    return Field(default=(), max_length=max_items, json_schema_extra={"x-kubernetes-list-type": "set"})


def atomic_list(max_items: int = 64) -> Any:
    """Marks a list that has one owner as a whole, because its order matters."""
    return Field(default=(), max_length=max_items, json_schema_extra={"x-kubernetes-list-type": "atomic"})


QUANTITY_PATTERN = r"^([0-9]+)(?:\.([0-9]+))?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"
_THOUSANDTHS = {
    "": 1_000, "m": 1, "k": 10**6, "M": 10**9, "G": 10**12, "T": 10**15, "P": 10**18,
    "Ki": 1_000 * 2**10, "Mi": 1_000 * 2**20, "Gi": 1_000 * 2**30, "Ti": 1_000 * 2**40, "Pi": 1_000 * 2**50,
}  # fmt: skip
"""Thousandths in one unit of each suffix: integers keep the arithmetic exact."""


def _thousandths(value: int | str) -> tuple[int, str]:
    match = re.match(QUANTITY_PATTERN, str(value))
    if match is None:
        raise ValueError(f"{value!r} is not a quantity: write for example 500m, 2, 512Mi or 80Gi")
    whole, fraction, suffix = match.group(1), match.group(2) or "", match.group(3) or ""
    # What is finer than a thousandth is rounded up, as the API server does.
    return -(-int(whole + fraction) * _THOUSANDTHS[suffix] // 10 ** len(fraction)), suffix


def canonical_quantity(value: int | str) -> str:
    """The form in which the API server stores a quantity: `1000m` is `1`, `1024Mi` is `1Gi`.

    Applying another spelling of a stored value changes field owners, so everything that is applied goes through here.
    """
    amount, suffix = _thousandths(value)
    family = ("Pi", "Ti", "Gi", "Mi", "Ki") if suffix.endswith("i") else ("P", "T", "G", "M", "k")
    for candidate in family:
        if amount and amount % _THOUSANDTHS[candidate] == 0:
            return f"{amount // _THOUSANDTHS[candidate]}{candidate}"
    return f"{amount}m" if amount % 1_000 else str(amount // 1_000)


def quantity_value(value: int | str) -> int:
    """A quantity as a whole number of its unit (bytes, GPUs), rounded up: `1Gi` is 1073741824."""
    return -(-_thousandths(value)[0] // 1_000)


def quantity_thousandths(value: int | str) -> int:
    """A quantity in thousandths of its unit: CPUs as millicores."""
    return _thousandths(value)[0]


def _as_quantity(value: Any) -> Any:
    return canonical_quantity(value) if isinstance(value, int | str) and not isinstance(value, bool) else value


LONGEST_DURATION = "168h"


def _is_duration(value: str) -> str:
    if not 1 <= parse_duration(value) <= parse_duration(LONGEST_DURATION):
        raise ValueError(_DURATION_MESSAGE)
    return value


_DURATION_MESSAGE = f"must be a duration from 1s to {LONGEST_DURATION}, such as 30s, 1m30s or 2h"


Quantity = Annotated[
    str,
    BeforeValidator(_as_quantity),
    Field(max_length=32, json_schema_extra={"x-agentfleet-quantity": True}),
]
"""An amount of a resource; canonical after validation."""

Duration = Annotated[
    str,
    Field(
        max_length=16,
        pattern=r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$",
        json_schema_extra=rules(
            (f"duration(self) >= duration('1s') && duration(self) <= duration('{LONGEST_DURATION}')", _DURATION_MESSAGE)
        ),
    ),
    AfterValidator(_is_duration),
]
"""A Go-style duration from 1s to 168h, such as 30s, 1m30s or 2h."""

DnsLabel = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
DnsName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$")]
LabelValue = Annotated[str, Field(max_length=63, pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$")]
AbsolutePath = Annotated[str, Field(min_length=2, max_length=1024, pattern=r"^/[^\x00-\x1f:]+$")]

FreeForm = Annotated[dict[str, JsonValue], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]
"""A Kubernetes type that is passed through: the API server judges it when the pod is made."""

NAME_RULE = Rule(
    "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 40",
    "metadata.name must be 1 to 40 characters a-z, 0-9 and '-', start with a letter and end with a letter or digit:"
    " it becomes part of DNS names",
)


class Resource(Contract):
    """What objects of every kind have: all of metadata that the operator reads. Kinds add `spec`."""

    model_config = ConfigDict(json_schema_extra=rules(NAME_RULE))

    name: DnsLabel
    namespace: DnsLabel
    uid: str
    generation: int
    annotations: dict[str, str] = {}

    @classmethod
    def from_manifest(cls, manifest: dict[str, Any]) -> Self:
        """The validated object; pydantic's ValidationError where the API server's checks were not in force."""
        metadata = manifest["metadata"]
        return cls.model_validate(
            {
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
                "generation": metadata["generation"],
                "annotations": metadata.get("annotations", {}),
                "spec": manifest["spec"],
            }
        )
