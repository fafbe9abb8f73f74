"""One HTTP request as a tool: arguments into path, query or body; the answer's text out."""

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from agentfleet.runtime.config_tools import HttpTool, ToolEntry
from agentfleet.runtime.tools import contain
from agentfleet.runtime.tools.naming import of_entry
from agentfleet.runtime.tools.outbound import CONNECT_TIMEOUT, MountedHeaders, tls
from agentfleet.runtime.tools.records import MAX_BODY, Busy, Invocation, Offer, Unreached, passed_on
from agentfleet.runtime.types import ToolError

_PLACE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_TEXT = re.compile(
    r"text/|application/(?:[\w.+-]*\+)?(?:json|xml|yaml|x-yaml|x-ndjson|javascript|x-www-form-urlencoded)\b"
)
_IN_QUERY = frozenset({"GET", "DELETE"})
_EXCERPT = 1000
"""Characters of an error's body that the model gets."""


class HttpSource:
    """One entry with `http`: one tool, named as the entry with _ for -."""

    def __init__(self, entry: ToolEntry, use: HttpTool) -> None:
        self.entry = entry
        self._use = use
        self._headers = MountedHeaders(use.headers)
        self._problem = wrong_address(use.url)
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(verify=tls(), trust_env=False),
            trust_env=False,
            follow_redirects=False,  # whoever answers must not choose where headers and arguments go next
            timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT),  # the whole call is bounded by the pipeline
        )

    async def start(self) -> None:
        """Nothing is connected before the first call."""

    async def close(self) -> None:
        """Close idle connections."""
        await self._client.aclose()

    def missing(self) -> str | None:
        """Never: whether the server is there shows when it is called, an idle call might do something."""
        return None

    def problems(self) -> tuple[str, ...]:
        """What is wrong with the address."""
        return (self._problem,) if self._problem else ()

    def offers(self) -> tuple[Offer, ...]:
        """The one tool."""
        if self._problem:
            return ()
        return (Offer(of_entry(self.entry.name), self._use.description or self.entry.name, parameters(self._use)),)

    def secrets(self) -> tuple[str, ...]:
        """Headers' values."""
        return self._headers.values()

    def address(self) -> str:
        """With places for arguments."""
        return self._use.url

    async def call(self, invocation: Invocation) -> str:
        """One request, never repeated here."""
        url, rest = place(self._use.url, invocation.arguments)
        headers = {**passed_on(invocation.task.headers), **self._headers.read(), "accept-encoding": "identity"}
        if self._use.method != "GET":
            headers.setdefault("idempotency-key", invocation.key)
        query = self._use.method in _IN_QUERY
        request = self._client.build_request(
            self._use.method,
            httpx.URL(url).copy_merge_params(_flat(rest)) if query and rest else url,
            json=None if query else rest,
            headers=headers,
        )
        try:
            response = await self._client.send(request, stream=True)
            try:
                body = await _read(response)
            finally:
                await response.aclose()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise Unreached("its server cannot be reached") from error
        except httpx.HTTPError as error:
            raise ToolError("the connection broke; whether it was done is not known") from error
        return self._judged(response, body)

    def _judged(self, response: httpx.Response, body: bytes) -> str:
        text = as_text(response.headers.get("content-type", ""), body)
        if response.is_redirect:
            raise ToolError(f"it answers with a redirect (status {response.status_code}), which is not followed")
        if response.status_code in {429, 503}:
            raise Busy(f"its server takes no calls now (status {response.status_code})")
        if response.status_code >= 400:
            raise ToolError(f"it answers with status {response.status_code}: {text[:_EXCERPT]}")
        return text or f"(status {response.status_code}, no content)"


def wrong_address(url: str) -> str | None:
    """What is wrong with an address that may have {name} in path and query, and nowhere else."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return "its address is none of http:// or https://"
    if "{" in parts.netloc:
        return "its address takes an argument as the host: arguments go into path and query alone"
    return None


def parameters(use: HttpTool) -> Mapping[str, Any]:
    """The schema: what is written, with the names in the path required; else those names as strings."""
    places = list(dict.fromkeys(_PLACE.findall(use.url)))
    if use.input_schema is None:
        return {
            "type": "object",
            "properties": {name: {"type": "string"} for name in places},
            "required": places,
            "additionalProperties": False,
        }
    required = use.input_schema.get("required", [])
    return {"type": "object", **use.input_schema, "required": list(dict.fromkeys([*required, *places]))}


def place(url: str, arguments: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """`url` with its arguments in it, and the other arguments. A value can never add a segment, a host or a query."""
    used: set[str] = set()

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        used.add(name)
        given = arguments.get(name)
        if isinstance(given, bool) or not isinstance(given, str | int | float) or given == "":
            raise ToolError(f"{name} goes into the address: it must be a text or a number")
        if str(given) in {".", ".."}:
            raise ToolError(f"{name} must not be {given!r}")
        return quote(str(given), safe="")

    filled = _PLACE.sub(value, url)
    return filled, {name: given for name, given in arguments.items() if name not in used}


def as_text(content_type: str, body: bytes) -> str:
    """What was answered, for the model; what is no text is named."""
    kind = content_type.partition(";")[0].strip().lower()
    if not body:
        return ""
    if contain.is_binary(body) or (kind and not _TEXT.match(kind)):
        return contain.left_out(kind or "binary", len(body))
    charset = re.search(r"charset=\"?([\w.-]+)", content_type)
    try:
        text = body.decode(charset.group(1) if charset else "utf-8", "replace")
    except LookupError:
        text = body.decode("utf-8", "replace")
    return text + _note(kind, text)


def _note(kind: str, text: str) -> str:
    if not kind.endswith("json"):
        return ""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return "\n[it says that this is JSON, and it is not]"
    return ""


def _flat(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """For a query: lists repeat their name, objects are JSON, nothing is left out."""
    return {
        name: [_scalar(item) for item in value] if isinstance(value, list) else _scalar(value)
        for name, value in arguments.items()
        if value is not None
    }


def _scalar(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


async def _read(response: httpx.Response) -> bytes:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise ToolError("its answer is compressed, which was not asked for")  # a bomb has this form
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MAX_BODY:
            raise ToolError(f"its answer has more than {MAX_BODY // 1024 // 1024} MiB")
    return bytes(body)
