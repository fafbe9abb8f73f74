"""Results of MCP tools as text. Pure."""

import json

from mcp_types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)

from agentfleet.runtime.tools import contain


def text_of(result: CallToolResult) -> str:
    """The texts of `result`, one under the other; what is no text is named. Structured content where there is none."""
    if not result.content and result.structured_content is not None:
        return json.dumps(result.structured_content, ensure_ascii=False)
    return "\n".join(_text(block) for block in result.content)


def _text(block: object) -> str:
    match block:
        case TextContent():
            return block.text
        case ImageContent() | AudioContent():
            return contain.left_out(block.mime_type, len(block.data) * 3 // 4)  # base64
        case EmbeddedResource(resource=TextResourceContents() as resource):
            return resource.text
        case EmbeddedResource(resource=BlobResourceContents() as resource):
            return contain.left_out(resource.mime_type or "binary", len(resource.blob) * 3 // 4)
        case ResourceLink():
            return f"[link to a resource: {block.name}]"
        case _:
            return f"[{type(block).__name__}, left out]"
