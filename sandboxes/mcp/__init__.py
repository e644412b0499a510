"""Tools of any MCP server as a sandbox, and any sandbox of ours as an MCP server. Needs the extra `mcp`."""

from tir_gym.errors import MissingExtra

try:
    from mcp import Client  # noqa: F401  the series 1 has no such name
except ImportError as error:
    raise MissingExtra(
        "the sandbox 'mcp' needs the package mcp, version 2: pip install 'tir-gym[mcp]'", name="mcp"
    ) from error

from tir_gym.sandboxes.mcp.listing import Listing, RefusedTool, read_tools
from tir_gym.sandboxes.mcp.sandbox import McpSandbox
from tir_gym.sandboxes.mcp.serving import serve, serve_http, serve_stdio

__all__ = ["Listing", "McpSandbox", "RefusedTool", "read_tools", "serve", "serve_http", "serve_stdio"]
