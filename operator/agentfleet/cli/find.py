"""Reads objects of one kind from the API server; says what there is where a name is wrong."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from agentfleet.cli.api import Api, Refused
from agentfleet.cli.seen import Seen
from agentfleet.errors import AgentfleetError
from agentfleet.objects import GROUP, VERSION, Manifest

_Object = TypeVar("_Object", bound=Seen)


class NoSuchObject(AgentfleetError):
    """No object of the kind has this name, or the API server knows no such kind."""


@dataclass(frozen=True, slots=True)
class Finder(Generic[_Object]):
    """Finds objects of one kind."""

    kind: str
    read: Callable[[Manifest], _Object]

    def path_of(self, namespace: str | None, name: str = "") -> str:
        """The URL path of one object, or of all of a namespace, or of all."""
        where = f"/namespaces/{namespace}" if namespace else ""
        return f"/apis/{GROUP}/{VERSION}{where}/{self.kind.lower()}s" + (f"/{name}" if name else "")

    async def all(self, api: Api, namespace: str | None) -> list[_Object] | None:
        """Those of a namespace, of all where None, by namespace and name; None where there is no such kind."""
        try:
            found = await api.list(self.path_of(namespace))
        except Refused as error:
            if error.status == 404:
                return None
            raise
        return sorted(map(self.read, found), key=lambda each: (each.namespace, each.name))

    async def one(self, api: Api, namespace: str, name: str) -> _Object:
        """One; NoSuchObject names those that there are."""
        try:
            return self.read(await api.get(self.path_of(namespace, name)))
        except Refused as error:
            if error.status != 404:
                raise
            names = [each.name for each in await self.all(api, namespace) or ()]
            there = f"there are {', '.join(names[:20])}" if names else "there are none; is it the right --namespace?"
            raise NoSuchObject(f"there is no {self.kind} {name} in namespace {namespace}: {there}") from error
