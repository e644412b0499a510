"""How long does a call to an MCP server take? A kept session, ours, and a new session for each call, in one run.

    python benchmarks/mcp_calls.py [--calls N] [--rounds N]

A tool that adds two numbers, in a server of the SDK's: in memory, as a program over stdio, and over streamable HTTP.
Asked by our sandbox through its asynchronous and its synchronous face, by the SDK's own client with one session kept,
and by the SDK's client with a session for each call, as peers do. Then one of our own sandboxes, served in memory. Wall
milliseconds: median, best, and of CPU where all of it is in this process. The rows are measured in turns, so that all
meet the same machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import datetime
from importlib.metadata import version
from typing import Any

from mcp import Client, StdioServerParameters
from mcp.server.mcpserver import MCPServer

from tir_gym.records import ToolCall
from tir_gym.sandboxes import make_sandbox
from tir_gym.sandboxes.mcp import McpSandbox, serve
from tir_gym.sandboxes.state import State, StateSandbox, World
from tir_gym.tool import Toolkit, tool

ADD = ToolCall("add", {"a": 1, "b": 2})
Row = tuple[str, Callable[[], Awaitable[Any]], bool, int]
"""What it says, one call, whether all of it runs in this process, and calls a round."""


def server() -> MCPServer:
    made = MCPServer("adder", log_level="WARNING")

    @made.tool()
    async def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    return made


@tool
def add(state: State, a: int, b: int) -> dict[str, int]:
    """Add two numbers.

    Args:
        a: One.
        b: The other.
    """
    return {"result": a + b}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=100, help="calls a round")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--serve", choices=["stdio", "http"], help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve == "stdio":
        server().run("stdio")
    elif options.serve == "http":
        server().run("streamable-http", port=options.port, json_response=True)
    else:
        print(
            f"mcp {version('mcp')}, Python {sys.version.split()[0]}, {options.rounds} rounds of {options.calls} calls"
        )
        with http() as url:
            asyncio.run(measure(options.rounds, options.calls, url))


async def measure(rounds: int, calls: int, url: str) -> None:
    program = {"command": sys.executable, "args": [__file__, "--serve", "stdio"]}
    stdio = StdioServerParameters(command=sys.executable, args=[__file__, "--serve", "stdio"])
    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        rows: list[Row] = []
        for where, place, inside in (
            ("in memory", {"server": server}, True),
            ("stdio", program, False),
            ("HTTP", {"url": url}, False),
        ):
            native = await enter(sandbox(place))
            bridged = stack.enter_context(make_sandbox("mcp", **place))
            assert isinstance(bridged, McpSandbox)
            target = {"in memory": server(), "stdio": stdio, "HTTP": url}[where]
            kept = await enter(Client(target))
            rows += [
                (f"{where}: ours, asynchronous", lambda it=native: it.acall(ADD), inside, calls),
                (f"{where}: ours, synchronous", lambda it=bridged: blocking(it), inside, calls),
                (f"{where}: the SDK's client, session kept", lambda it=kept: ask(it), inside, calls),
                (
                    f"{where}: the SDK's client, a session a call",
                    lambda it=target: once(it),
                    inside,
                    1 if where == "stdio" else max(1, calls // 10),
                ),
            ]
        box = StateSandbox(Toolkit([add]), World({}), datetime(2025, 1, 6))
        served = await enter(sandbox({"server": lambda: serve(box.fork())}))
        rows.append(("in memory, a sandbox of ours served: asynchronous", lambda: served.acall(ADD), True, calls))
        batch = lambda: served.arun_turn([ADD] * 64)  # noqa: E731
        rows.append(("in memory, a sandbox of ours served: 64 calls in one turn", batch, True, max(1, calls // 50)))
        await report(rounds, rows)


async def report(rounds: int, rows: list[Row]) -> None:
    times: dict[str, list[float]] = {name: [] for name, *_ in rows}
    cpu: dict[str, list[float]] = {name: [] for name, *_ in rows}
    for number in range(rounds + 1):
        for name, call, _, calls in rows:
            begin = time.process_time()
            took = []
            for _ in range(calls):
                start = time.perf_counter()
                await call()
                took.append(time.perf_counter() - start)
            if number:  # the first round warms up
                times[name] += took
                cpu[name].append((time.process_time() - begin) / calls)
    for name, _, inside, _ in rows:
        shown = f"{statistics.median(times[name]) * 1e3:9.2f} ms, best {min(times[name]) * 1e3:8.2f}"
        print(f"{name:58} {shown}" + (f", CPU {statistics.median(cpu[name]) * 1e3:.2f}" if inside else ""))


async def blocking(sandbox: McpSandbox) -> None:
    sandbox.call(ADD)


async def ask(client: Client) -> None:
    await client.call_tool("add", {"a": 1, "b": 2})


async def once(target: Any) -> None:
    async with Client(target) as client:
        await client.call_tool("add", {"a": 1, "b": 2})


@contextlib.asynccontextmanager
async def sandbox(place: dict[str, Any]) -> AsyncIterator[McpSandbox]:
    async with make_sandbox("mcp", **place) as made:
        assert isinstance(made, McpSandbox)
        yield made


@contextlib.contextmanager
def http() -> Iterator[str]:
    """A server of this file over HTTP."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, __file__, "--serve", "http", "--port", str(port)])
    try:
        for _ in range(600):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
