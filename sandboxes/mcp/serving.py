"""A sandbox of ours as an MCP server: its tools, its world, one call at a time.

What MCP has no field for travels under `_meta`, so that our own client gets back the very specifications and results;
any other client sees ordinary tools, texts, structured content and errors.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from mcp import MCPError
from mcp.server import Server
from mcp.server.stdio import stdio_server
from mcp_types import (
    INTERNAL_ERROR,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
    ToolAnnotations,
)

import tir_gym
from tir_gym.errors import InfrastructureError
from tir_gym.records import ToolCall, ToolResult, ToolSpec
from tir_gym.sandbox import Sandbox
from tir_gym.sandboxes.mcp.listing import META


def serve(sandbox: Sandbox, *, name: str = "tir-gym") -> Server[Any]:
    """A server of the SDK for the sandbox's tools, to be run on any transport or used in memory.

    All clients act on the one sandbox, one call at a time; for a world of its own each, give them a server of a fork
    each. A tool's refusal is a result with `isError`; a bug is a protocol error, as an infrastructure failure must be.

    Args:
        sandbox: Started; whoever made it closes it.
        name: What the server calls itself.
    """
    lock = asyncio.Lock()
    tools = [listed(spec) for spec in sandbox.specs]

    async def list_tools(context: Any, params: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=tools)

    async def run(call: ToolCall) -> ToolResult:
        async with lock:
            return await sandbox.acall(call)

    async def call_tool(context: Any, params: CallToolRequestParams) -> CallToolResult:
        # A client that waits no more must not leave the sandbox in the middle of a call.
        running = asyncio.ensure_future(run(ToolCall(params.name, params.arguments or {})))
        try:
            return answer(await asyncio.shield(running))
        except InfrastructureError as error:
            raise MCPError(code=INTERNAL_ERROR, message=str(error)) from error

    return Server(name, version=tir_gym.__version__, on_list_tools=list_tools, on_call_tool=call_tool)


def serve_stdio(sandbox: Sandbox) -> None:
    """Serve over this process's standard input and output until the input ends."""

    async def main() -> None:
        server = serve(sandbox)
        async with stdio_server() as (requests, answers):
            await server.run(requests, answers, server.create_initialization_options())

    asyncio.run(main())


def serve_http(sandbox: Sandbox, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve over streamable HTTP at `http://HOST:PORT/mcp` until interrupted; whoever reaches it may call.

    Args:
        sandbox: Started.
        host: Address to listen on.
        port: Port to listen on.
    """
    import uvicorn

    app = serve(sandbox).streamable_http_app(host=host, json_response=True)
    uvicorn.run(app, host=host, port=port, log_level="warning")


def listed(spec: ToolSpec) -> Tool:
    """A specification as MCP lists it."""
    return Tool(
        name=spec.name,
        description=spec.description,
        input_schema=dict(spec.parameters),
        annotations=ToolAnnotations(
            read_only_hint=spec.effect == "read", destructive_hint=spec.effect == "irreversible"
        ),
        _meta={META: {"scopes": list(spec.scopes), "comparators": dict(spec.comparators)}},
    )


def answer(result: ToolResult) -> CallToolResult:
    """A result as MCP gives it."""
    mine: dict[str, Any] = {}
    content = result.content
    if result.error is not None:
        mine["error_kind"] = result.error_kind
        if content is not None:
            mine["wrapped"] = True
        return CallToolResult(
            content=[TextContent(text=result.error)],
            structured_content={"result": content} if content is not None else None,
            is_error=True,
            _meta={META: mine},
        )
    if isinstance(content, str):
        return CallToolResult(content=[TextContent(text=content)])
    text = TextContent(text=json.dumps(content, ensure_ascii=False))
    if isinstance(content, dict):
        return CallToolResult(content=[text], structured_content=dict(content))
    # Before 2026 structured content had to be an object.
    return CallToolResult(content=[text], structured_content={"result": content}, _meta={META: {"wrapped": True}})
