"""Who failed, when a call has no result: the agent, the tool, the server, or the connection."""

from __future__ import annotations

import pydantic
from mcp import MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
)

from tir_gym.errors import InfrastructureError, InvalidArguments, OutputLimit, ToolError
from tir_gym.sandboxes.mcp.process import TOO_BIG

_BROKEN = (0, INTERNAL_ERROR)  # the SDK's servers of series 1 answer 0 where a handler raised
_AGAINST_THE_PROTOCOL = (PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND)


def failure_of(error: Exception, tool: str, too_big: bool) -> ToolError | InfrastructureError | None:
    """What to raise for it; `None` if the connection is gone.

    Args:
        error: Of the SDK.
        tool: Name of the tool that was called.
        too_big: Whether the answer was cut off for its size.
    """
    if isinstance(error, pydantic.ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        text = f"tool {tool}: the server's answer is no result: {first['msg']}"
        return InfrastructureError(text, tool=tool, kind="bad_result")
    if too_big:
        return OutputLimit("the result is far beyond the limit and was dropped; ask for less")
    if not isinstance(error, MCPError) or error.code == CONNECTION_CLOSED:
        return None
    if error.code == TOO_BIG:
        return failure_of(error, tool, True)
    if error.code == INVALID_PARAMS:
        return InvalidArguments(error.message)
    if error.code in _BROKEN:
        return InfrastructureError(f"tool {tool} broke: {error.message}", tool=tool, kind="tool_bug")
    if error.code in _AGAINST_THE_PROTOCOL:
        text = f"tool {tool}: the server does not keep to the protocol: {error.message}"
        return InfrastructureError(text, tool=tool, kind="bad_answer")
    return ToolError(error.message or f"the server refused with code {error.code}")
