"""From what a server answers to a `ToolResult`: content as plain JSON, refusals as errors, bounded in bytes."""

from __future__ import annotations

import json
from typing import Any

from mcp_types import CallToolResult, TextContent

from tir_gym.records import ToolResult
from tir_gym.sandboxes.mcp.listing import META

KINDS = frozenset(
    {"refused", "invalid_arguments", "unknown_tool", "conflict", "raised", "died", "output_limit"}
    | {f"{what}_limit" for what in ("cpu", "time", "memory", "process", "file", "disk")}
)
"""Kinds of errors that a server of this package may name; a refusal of any other server is `refused`."""


def read_result(answer: CallToolResult, limit: int) -> ToolResult:
    """The answer as a result.

    Structured content is the content, unless pictures or resources come with it. One text alone is a string; anything
    else is the list of blocks as MCP has them, binary data in base64.

    Args:
        answer: From the server.
        limit: Bytes of JSON that a result may have; what is beyond is dropped and the error kind is `output_limit`.
    """
    mine = (answer.meta or {}).get(META)
    mine = mine if isinstance(mine, dict) else {}
    if answer.is_error:
        kind = mine.get("error_kind")
        error = _cut(_texts(answer) or "the tool failed and gave no reason", limit)
        content = _content(answer, mine) if "content" in mine or mine.get("wrapped") else None
        return ToolResult(
            content=None if _size(content) > limit else content,
            error=error,
            error_kind=kind if kind in KINDS else "refused",
        )
    content = _content(answer, mine)
    size = _size(content)
    if size <= limit:
        return ToolResult(content=content)
    return ToolResult(
        content=_cut(content, limit) if isinstance(content, str) else None,
        error=f"the result has {size} bytes, {limit} are allowed; ask for less",
        error_kind="output_limit",
    )


def _content(answer: CallToolResult, mine: dict[str, Any]) -> Any:
    structured, blocks = answer.structured_content, answer.content
    if structured is not None and all(isinstance(block, TextContent) for block in blocks):
        return structured.get("result") if mine.get("wrapped") and isinstance(structured, dict) else structured
    if structured is None and len(blocks) == 1 and isinstance(blocks[0], TextContent):
        return blocks[0].text
    plain = [block.model_dump(mode="json", by_alias=True, exclude_none=True) for block in blocks]
    return plain if structured is None else {"structured": structured, "content": plain}


def _texts(answer: CallToolResult) -> str:
    return "\n".join(block.text for block in answer.content if isinstance(block, TextContent))


def _size(content: Any) -> int:
    if isinstance(content, str):
        return len(content.encode("utf-8", "surrogatepass"))
    return len(json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def _cut(text: str, limit: int) -> str:
    data = text.encode("utf-8", "surrogatepass")
    return text if len(data) <= limit else data[:limit].decode("utf-8", "ignore")
