"""A server's process and the pipes to it, as a transport of the SDK's: a clean environment, and nothing without bound.

The SDK's own stdio transport passes parts of the host's environment on, reads lines of any length and logs each line
that is no message; this one does not. It forwards what a session waits for (answers to its requests, each once, and
requests of the server) and drops the rest: notifications, noise, late and forged answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import weakref
from types import TracebackType
from typing import Self

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream
from mcp.shared.message import SessionMessage
from mcp_types import PARSE_ERROR, ErrorData, JSONRPCError, JSONRPCNotification, JSONRPCRequest, jsonrpc_message_adapter

from tir_gym.sandboxes.mcp.launching import Launch, Launched, abandon

TOO_BIG = 413
"""Code of the error that answers a request whose answer was too big; servers use codes below 0."""

_CHUNK = 1 << 16
_TAIL = 4096
_FLOOD_BYTES = 1 << 30
_FLOOD_LINES = 200_000
_FLOOD_REQUESTS = 1000
"""What a server may send between two answers; beyond it is killed."""
_UNSENT = 1 << 20
"""Bytes that may wait for a server that does not read."""
_ID = re.compile(rb'"id"\s*:\s*(\d{1,15}|"\d{1,15}")')


class ServerProcess:
    """Starts a server when entered, on the running loop; ends it, and all that it has started, when left.

    Args:
        launch: Starts it; what it raises is raised on entering.
        frame: Bytes that one message may have; what is longer is read, dropped, and answered with `TOO_BIG`.
    """

    def __init__(self, launch: Launch, frame: int) -> None:
        self._launch = launch
        self._frame = frame
        self._waiting: set[int] = set()
        self._buffer = bytearray()
        self._skipping = False
        self._since_answer = [0, 0, 0]  # bytes, lines, requests
        self._unsent = bytearray()
        self._sent: asyncio.Future[None] | None = None
        self._tail = b""
        self._fault = ""
        self._fds: dict[str, int] = {}

    # The transport.

    async def __aenter__(self) -> tuple[MemoryObjectReceiveStream[SessionMessage | Exception], Requests]:
        self._loop = asyncio.get_running_loop()
        self._deliver, received = anyio.create_memory_object_stream[SessionMessage | Exception](float("inf"))
        self._process = await self._start()
        self._fds = self._process.fds
        self._loop.add_reader(self._fds["out"], self._read_out)
        if "err" in self._fds:
            self._loop.add_reader(self._fds["err"], self._read_err)
        return received, Requests(self)

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._end()
        for name in list(self._fds):
            self.close_pipe(name)
        try:
            with anyio.CancelScope(shield=True):
                await self._reap(4.0)
                if self._process.poll() is None:
                    self._process.kill()
                    await self._reap(1.0)
        finally:  # a scope shields from its own kind only, and whoever waited for the start may cancel the task itself
            if self._process.poll() is None:
                self._process.kill()
            self._process.clean()

    async def send(self, item: SessionMessage) -> None:
        message = item.message
        if "in" not in self._fds:
            raise anyio.BrokenResourceError
        if isinstance(message, JSONRPCRequest) and isinstance(message.id, int):
            self._waiting.add(message.id)
        elif isinstance(message, JSONRPCNotification) and message.method == "notifications/cancelled":
            self._waiting.discard((message.params or {}).get("requestId", -1))
            if self._unsent:
                return  # who does not read will not read this
        self._unsent += message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
        self._write()
        while len(self._unsent) > _UNSENT and "in" in self._fds:
            if self._sent is None:
                self._sent = self._loop.create_future()
            await asyncio.shield(self._sent)
        if "in" not in self._fds:
            raise anyio.BrokenResourceError

    async def obituary(self) -> str:
        """How the process has ended, as far as can be known soon; its last words on stderr."""
        await self._reap(0.5)
        code = self._process.poll()
        how = self._fault or ("closed its output" if code is None else f"ended{_status(code)}")
        words = self._tail.decode("utf-8", "replace").strip()
        return f"the server {how}" + (f"; its last words: {words[-500:]}" if words else "")

    def abandon(self) -> None:
        """In a forked child: let go of the parent's pipes without touching its server."""
        abandon(self._process)

    # Life.

    async def _start(self) -> Launched:
        """In a thread, because it takes long; what was started for someone who waits no more is ended."""
        starting = self._loop.run_in_executor(None, self._launch)
        try:
            launched = await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(_end_started)
            raise
        for name in ("in", "out", "err"):
            if name in launched.fds:
                os.set_blocking(launched.fds[name], False)
        _running.add(self)
        return launched

    async def _reap(self, seconds: float) -> None:
        deadline = self._loop.time() + seconds
        while self._process.poll() is None and self._loop.time() < deadline:
            await asyncio.sleep(0.01)

    def close_pipe(self, name: str) -> None:
        """Close `in`, `out`, `err` or `hold`; the server may end when `hold` is closed."""
        descriptor = self._fds.pop(name, None)
        if descriptor is None:
            return
        if name in ("out", "err"):
            self._loop.remove_reader(descriptor)
        elif name == "in":
            self._loop.remove_writer(descriptor)
            self._wake()
        os.close(descriptor)

    def _end(self, fault: str = "") -> None:
        """No message comes any more; if there is a fault, the server is killed for it."""
        self._fault = self._fault or fault
        self._deliver.close()
        if fault:
            for name in ("in", "out", "hold"):
                self.close_pipe(name)

    # Reading.

    def _read_out(self) -> None:
        try:
            data = os.read(self._fds["out"], _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close_pipe("out")
            self._end()
            return
        self._count(0, len(data), _FLOOD_BYTES, f"sent more than {_FLOOD_BYTES} bytes without an answer")
        if self._fault:
            return
        *lines, rest = data.split(b"\n")
        for line in lines:
            if self._skipping:
                self._skipping = False
            elif len(self._buffer) + len(line) > self._frame:
                self._refuse(bytes(self._buffer[:_TAIL]) + line[:_TAIL], TOO_BIG, "the answer is too big")
            else:
                self._line(bytes(self._buffer) + line)
            self._buffer.clear()
            if self._fault:
                return
        if not self._skipping:
            self._buffer += rest
            if len(self._buffer) > self._frame:
                self._refuse(bytes(self._buffer[:_TAIL]), TOO_BIG, "the answer is too big")
                self._buffer.clear()
                self._skipping = True

    def _line(self, line: bytes) -> None:
        if b'"id"' not in line:
            self._count(1, 1, _FLOOD_LINES, f"sent more than {_FLOOD_LINES} lines without an answer")
            return  # a notification, or no message at all
        try:
            message = jsonrpc_message_adapter.validate_json(line, by_name=False)
        except ValueError:
            if line.lstrip().startswith(b"{") and b'"jsonrpc"' in line:
                self._refuse(line[:_TAIL], PARSE_ERROR, "the server has sent a message that is no JSON-RPC")
            return
        if isinstance(message, JSONRPCRequest):
            self._count(2, 1, _FLOOD_REQUESTS, f"sent more than {_FLOOD_REQUESTS} requests without an answer")
        elif isinstance(message, JSONRPCNotification):
            return
        else:
            number = _number(message.id)
            if number not in self._waiting:
                return
            self._answered(number)
        self._forward(SessionMessage(message))

    def _refuse(self, head: bytes, code: int, reason: str) -> None:
        """Answer, in the server's place, the request that such a message was for; all, where it cannot be told."""
        found = _ID.search(head)
        number = _number(found[1].decode().strip('"')) if found else None
        for one in sorted(self._waiting) if number not in self._waiting else [number]:
            self._answered(one)
            error = ErrorData(code=code, message=reason)
            self._forward(SessionMessage(JSONRPCError(jsonrpc="2.0", id=one, error=error)))

    def _answered(self, number: int) -> None:
        self._waiting.discard(number)
        self._since_answer = [0, 0, 0]

    def _forward(self, message: SessionMessage) -> None:
        with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            self._deliver.send_nowait(message)

    def _count(self, what: int, n: int, limit: int, fault: str) -> None:
        self._since_answer[what] += n
        if self._since_answer[what] > limit and not self._fault:
            self._end(f"was killed: it {fault}")

    def _read_err(self) -> None:
        try:
            data = os.read(self._fds["err"], _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close_pipe("err")
            return
        self._tail = (self._tail + data)[-_TAIL:]
        if len(data) == _CHUNK:  # it floods; others live on this loop, too
            self._loop.remove_reader(self._fds["err"])
            self._loop.call_later(0.002, self._read_err_again)

    def _read_err_again(self) -> None:
        if "err" in self._fds:
            self._loop.add_reader(self._fds["err"], self._read_err)

    # Writing.

    def _write(self) -> None:
        descriptor = self._fds["in"]
        try:
            while self._unsent:
                del self._unsent[: os.write(descriptor, self._unsent[:_CHUNK])]
        except BlockingIOError:
            self._loop.add_writer(descriptor, self._write)
        except OSError:
            self._unsent.clear()
            self.close_pipe("in")
            return
        else:
            self._loop.remove_writer(descriptor)
        if len(self._unsent) <= _UNSENT:
            self._wake()

    def _wake(self) -> None:
        if self._sent is not None and not self._sent.done():
            self._sent.set_result(None)
        self._sent = None


class Requests:
    """The writing half of a process, in the form that the SDK wants."""

    def __init__(self, process: ServerProcess) -> None:
        self._process = process

    async def send(self, item: SessionMessage, /) -> None:
        await self._process.send(item)

    async def aclose(self) -> None:
        self._process.close_pipe("in")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


def _end_started(starting: asyncio.Future[Launched]) -> None:
    if not starting.cancelled() and starting.exception() is None:
        launched = starting.result()
        abandon(launched)
        launched.kill()
        launched.clean()


_running: weakref.WeakSet[ServerProcess] = weakref.WeakSet()


def _abandon_all() -> None:
    for process in list(_running):
        process.abandon()


os.register_at_fork(after_in_child=_abandon_all)


def _number(id: str | int | None) -> int | None:
    if isinstance(id, str):
        return int(id) if id.isdecimal() and len(id) < 16 else None
    return id


def _status(code: int) -> str:
    return "" if code < 0 else f" with status {code}" + (f" (signal {code - 128})" if 128 < code < 160 else "")
