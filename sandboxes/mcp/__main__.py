"""`python -m tir_gym.sandboxes.mcp MODULE:FUNCTION`: what the function returns, a sandbox, served as an MCP server."""

from __future__ import annotations

import argparse
import importlib
import sys

from tir_gym.sandbox import Sandbox
from tir_gym.sandboxes.mcp.serving import serve_http, serve_stdio


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tir_gym.sandboxes.mcp", description=__doc__)
    parser.add_argument("make", metavar="MODULE:FUNCTION", help="a function without arguments that returns a sandbox")
    parser.add_argument("--http", metavar="HOST:PORT", help="serve over streamable HTTP instead of stdio")
    options = parser.parse_args()
    module, _, name = options.make.partition(":")
    host, _, port = (options.http or "").rpartition(":")
    if options.http and not (host and port.isdecimal()):
        parser.error(f"--http {options.http}: give HOST:PORT, such as 127.0.0.1:8000")
    sys.path.insert(0, "")
    try:
        make = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        parser.error(f"{options.make}: {error}")
    sandbox = make()
    if not isinstance(sandbox, Sandbox):
        parser.error(f"{options.make} returned {sandbox!r}, no sandbox")
    with sandbox:
        if options.http:
            serve_http(sandbox, host, int(port))
        else:
            serve_stdio(sandbox)


if __name__ == "__main__":
    main()
