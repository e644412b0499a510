"""One connection to one server: opened and closed by one task, which owns it, on one event loop."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import time
import weakref
from collections.abc import Mapping
from typing import Any

from mcp import Client, MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    Implementation,
    InputRequiredResult,
    PaginatedRequestParams,
)
from pydantic import TypeAdapter

import tir_gym
from tir_gym.errors import SandboxUnavailable, TimeLimit
from tir_gym.sandboxes.mcp.places import Connection, Place

MAX_PAGES = 100
MAX_TOOLS = 2000
_ANSWER: TypeAdapter[CallToolResult | InputRequiredResult] = TypeAdapter(CallToolResult | InputRequiredResult)


class Session:
    """A connection, while it lasts. Its methods are for the loop that it was opened on, but for `stop`.

    Args:
        place: Where the server is.
        frame: Bytes that one message of the server may have.
    """

    def __init__(self, place: Place, frame: int) -> None:
        self._place = place
        self._frame = frame
        self._late: set[asyncio.Task[Any]] = set()
        self.ended = threading.Event()
        """Whether the connection and its process, if it had one, are gone."""
        self.pid = os.getpid()

    @property
    def usable(self) -> bool:
        return not self.ended.is_set() and self.pid == os.getpid() and not self.loop.is_closed()

    async def open(self, seconds: float) -> list[Any]:
        """Connect and list the tools, as they are on the wire.

        Raises:
            SandboxUnavailable: The server cannot be had, says nothing for so many seconds, or nothing sensible.
        """
        self.loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        ready: asyncio.Future[list[Any]] = self.loop.create_future()
        try:
            self._connection: Connection = self._place.connect(self._frame)
        except Exception as error:
            raise self._unavailable(error) from error
        self._owner = self.loop.create_task(self._own(ready))
        _open.add(self)
        try:
            await asyncio.wait((ready, self._owner), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            self._owner.cancel()
            raise
        if ready.done():
            return ready.result()
        self._owner.cancel()
        raise SandboxUnavailable(
            f"the MCP server {self._place.name} did not answer within {seconds:g} s", kind="server_missing"
        )

    async def call(self, name: str, arguments: Mapping[str, Any], seconds: float) -> CallToolResult:
        """Send one call, once.

        Raises:
            TimeLimit: No answer in so many seconds; whether the server has done anything is not known.
            MCPError: The server's protocol error, or the connection is gone.
            pydantic.ValidationError: The answer is no result of a call.
        """
        request = CallToolRequest(params=CallToolRequestParams(name=name, arguments=dict(arguments)))
        # The SDK's own `call_tool` would check the result with the server's patterns, on this loop, without bound.
        task = self.loop.create_task(self._client.session.send_request(request, _ANSWER))
        try:
            await asyncio.wait((task,), timeout=seconds)
        finally:
            if not task.done():
                task.cancel()
                self._late.add(task)
                task.add_done_callback(self._forget)
        if not task.done():
            raise TimeLimit(f"the server gave no answer within {seconds:g} s")
        answer = task.result()
        if isinstance(answer, InputRequiredResult):
            raise MCPError(code=-1, message="the server asks the user for input, and there is no user to ask")
        return answer

    def too_big(self) -> bool:
        """Whether an answer was cut off for its size, asked once after an error."""
        return self._connection.too_big()

    async def obituary(self) -> str:
        """Why the connection is gone."""
        return await self._connection.obituary()

    def stop(self) -> None:
        """End it, from any thread, without waiting; `ended` tells when it has."""
        if not self.usable:
            return
        try:
            self.loop.call_soon_threadsafe(self._stop.set)
        except RuntimeError:  # its loop was closed meanwhile, which has ended it
            self.ended.set()

    def wait(self, seconds: float) -> None:
        """Wait until it has ended, where that can be waited for: from another thread than its loop's."""
        if self.pid == os.getpid() and self.loop.is_running() and not is_running(self.loop):
            self.ended.wait(seconds)

    async def _own(self, ready: asyncio.Future[list[Any]]) -> None:
        about = Implementation(name="tir-gym", version=tir_gym.__version__)
        try:
            async with Client(
                self._connection.target, client_info=about, cache=None, raise_exceptions=True
            ) as self._client:
                listed = await self._list()
                if not ready.done():
                    ready.set_result(listed)
                await self._stop.wait()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            if not ready.done():
                obituary = await self._connection.obituary() if _closed(error) else ""
                ready.set_exception(self._unavailable(error, obituary))
        finally:
            self.ended.set()

    async def _list(self) -> list[Any]:
        tee = self._connection.tee
        found: list[Any] = []
        cursor = None
        for _ in range(MAX_PAGES):
            page = await self._client.session.list_tools(params=PaginatedRequestParams(cursor=cursor))
            if tee is None:
                found += [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in page.tools]
            else:
                found = tee.entries
            cursor = page.next_cursor
            if cursor is None:
                return found
            if len(found) > MAX_TOOLS:
                break
        raise ValueError(f"its list of tools does not end: {len(found)} so far")

    def _unavailable(self, error: BaseException, obituary: str = "") -> BaseException:
        error = _first(error)
        if isinstance(error, SandboxUnavailable) or not isinstance(error, Exception):
            return error
        why = obituary or "; ".join(str(error).strip().splitlines()[:3]) or type(error).__name__
        return SandboxUnavailable(f"the MCP server {self._place.name} cannot be used: {why}", kind="server_missing")

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._late.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, so that nobody complains


def is_running(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether this is the loop that runs in this thread."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _closed(error: BaseException) -> bool:
    error = _first(error)
    return isinstance(error, MCPError) and error.code == CONNECTION_CLOSED


_open: weakref.WeakSet[Session] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """Let servers end by themselves; whatever does not is ended by its keeper."""
    open_here = [session for session in _open if session.usable]
    for session in open_here:
        session.stop()
    deadline = time.monotonic() + 2.0
    for session in open_here:
        session.wait(max(0.0, deadline - time.monotonic()))
