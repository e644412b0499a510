"""Where a server is: a program to start, an address, or an object in this process. How to connect to each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import httpx2
from mcp.client.streamable_http import streamable_http_client
from mcp.server import Server
from mcp.server.mcpserver import MCPServer

from tir_gym.errors import UsageError
from tir_gym.sandboxes.mcp.launching import Launch
from tir_gym.sandboxes.mcp.process import ServerProcess
from tir_gym.sandboxes.mcp.tee import Tee

_GOODBYE = 2.0
"""Seconds that a server has to take note of the end of a session."""
_LONGEST_NAME = 60

ServerObject: TypeAlias = Server[Any] | MCPServer


class Connection(Protocol):
    """One way to one server, to be used for one session."""

    target: Any
    """What the SDK's client takes as its server."""
    tee: Tee | None
    """What the server listed as its tools, as it came on the wire, where there is a wire."""

    async def obituary(self) -> str:
        """Why the connection is gone, as far as can be known."""
        ...

    def too_big(self) -> bool:
        """Whether an answer since the last question was cut off for its size."""
        ...


class Place(Protocol):
    """Where a server is."""

    name: str
    reusable: bool
    """Whether each connection finds the server in its initial state."""

    def connect(self, frame: int) -> Connection:
        """A new connection on which no message of more than `frame` bytes is read."""
        ...


class Program:
    """A program that speaks over its standard input and output, started anew for each connection."""

    reusable = True

    def __init__(self, command: Sequence[str], launch: Launch) -> None:
        about = next((arg for arg in command[1:] if not arg.startswith("-")), "")
        about = " ".join(Path(about).name.split())[:_LONGEST_NAME]  # it may be a whole program: python -c "..."
        self.name = " ".join(filter(None, (Path(command[0]).name, about)))
        self._launch = launch

    def connect(self, frame: int) -> Connection:
        return _ToProgram(ServerProcess(self._launch, frame))


class Address:
    """A server behind streamable HTTP. What a new session of it finds is its own affair."""

    reusable = True

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        if not url.startswith(("http://", "https://")):
            raise UsageError(f"url={url!r}: give the address of an MCP server, such as http://127.0.0.1:8000/mcp")
        self.name = url
        self._headers = dict(headers)

    def connect(self, frame: int) -> Connection:
        return _ToAddress(self.name, self._headers, frame)


class InMemory:
    """A server object in this process, or a function that makes one for each connection."""

    def __init__(self, server: ServerObject | Callable[[], ServerObject]) -> None:
        made = isinstance(server, (Server, MCPServer))
        if not made and not callable(server):
            raise UsageError(f"server={server!r}: give a Server or MCPServer of the SDK, or a function that makes one")
        self.name = str(getattr(server, "name", None) or getattr(server, "__name__", "server"))
        self.reusable = not made
        self._server = server

    def connect(self, frame: int) -> Connection:
        server = self._server
        return _ToObject(server if isinstance(server, (Server, MCPServer)) else server())


def whole_command(command: Any, args: Any, env: Any) -> list[str]:
    """The words of a program's command line.

    Raises:
        UsageError: The options that name the program and what it gets are of other types than they should be.
    """
    if not isinstance(command, str) or not command:
        raise UsageError(f"command={command!r:.200}: give the program alone, such as 'uvx', and the rest as args=[...]")
    if isinstance(args, str) or not isinstance(args, Sequence) or not all(isinstance(arg, str) for arg in args):
        raise UsageError(f"args={args!r:.200}: give a list of texts, such as ['mcp-server-time']")
    if not isinstance(env, Mapping) or not all(isinstance(text, str) for pair in env.items() for text in pair):
        raise UsageError("env: give texts by name, such as {'API_KEY': '...'}")
    return [command, *args]


class _ToProgram:
    def __init__(self, process: ServerProcess) -> None:
        tee = Tee(process)
        self.tee: Tee | None = tee
        self.target = tee.target()
        self._process = process

    async def obituary(self) -> str:
        return await self._process.obituary()

    def too_big(self) -> bool:
        return False  # such answers come as errors with a code of their own


class _ToObject:
    def __init__(self, server: ServerObject) -> None:
        self.target = server
        self.tee: Tee | None = None

    async def obituary(self) -> str:
        return "its session has ended"

    def too_big(self) -> bool:
        return False


class _ToAddress:
    def __init__(self, url: str, headers: Mapping[str, str], frame: int) -> None:
        self._bounded = _BoundedHttp(frame)
        tee = Tee(_http(url, headers, self._bounded, frame))
        self.tee: Tee | None = tee
        self.target = tee.target()

    async def obituary(self) -> str:
        return "the server closed the connection, or cannot be reached"

    def too_big(self) -> bool:
        cut, self._bounded.cut = self._bounded.cut, False
        return cut


@asynccontextmanager
async def _http(url: str, headers: Mapping[str, str], transport: _BoundedHttp, frame: int) -> AsyncIterator[Any]:
    # How long an answer may take is for whoever waits for it. Nothing of the host's environment (.netrc) is sent.
    timeout = httpx2.Timeout(30.0, read=None)
    async with (
        httpx2.AsyncClient(headers=dict(headers), timeout=timeout, transport=transport, trust_env=False) as client,
        streamable_http_client(url, http_client=client, max_sse_event_size=frame) as streams,
    ):
        yield streams


class _BoundedHttp(httpx2.AsyncBaseTransport):
    """Reads no more of one response than a number of bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._inner = httpx2.AsyncHTTPTransport()
        self.cut = False

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        # Nobody waits for the goodbye of a session.
        async with asyncio.timeout(_GOODBYE if request.method == "DELETE" else None):
            response = await self._inner.handle_async_request(request)
        if request.method == "POST":  # the other stream lives as long as the session, and bounds its events
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            response.stream = _BoundedStream(response.stream, self)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()

    def check(self, size: int) -> None:
        if size > self._limit:
            self.cut = True
            raise httpx2.StreamError(f"the answer has more than {self._limit} bytes")


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream, owner: _BoundedHttp) -> None:
        self._inner = inner
        self._owner = owner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._inner:
            size += len(part)
            self._owner.check(size)
            yield part

    async def aclose(self) -> None:
        await self._inner.aclose()
