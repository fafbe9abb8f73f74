"""Classes of protobuf messages from a table of their fields: no generated code, and no compiler to generate it. Pure.

Only the fields that are read or written need to be declared; protobuf passes over the rest.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto

Fields = Sequence[tuple[int, str, str, bool]]
"""Number, name, type of message (empty for a string), and whether it is repeated."""


def classes(package: str, table: Mapping[str, Fields]) -> Mapping[str, Any]:
    """Name → class, for each message of the table."""
    file = descriptor_pb2.FileDescriptorProto(name=f"agentfleet/{package}.proto", package=package, syntax="proto3")
    for name, fields in table.items():
        message = file.message_type.add(name=name)
        for number, field, kind, repeated in fields:
            message.field.add(
                name=field,
                number=number,
                type=_Field.TYPE_MESSAGE if kind else _Field.TYPE_STRING,
                type_name=f".{package}.{kind}" if kind else None,
                label=_Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = {name: pool.FindMessageTypeByName(f"{package}.{name}") for name in table}
    return {name: message_factory.GetMessageClass(descriptor) for name, descriptor in found.items()}
