"""The attach stream of a container: what goes to its input, and what comes from its output and error, taken apart.

Engines send both on one connection, in frames: one byte for the stream, three of padding, four for the length.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from contextlib import suppress
from typing import Any

from tir_gym.sandboxes.container.engine import Engine

STDOUT, STDERR = 1, 2
KEPT_ERRORS = 8192
"""Bytes kept of what the container says on its error stream: the end of it."""

_HEADER = struct.Struct(">BxxxI")


class Stream:
    """Bytes to and from PID 1 of a container. Attached before the container starts, so that nothing is missed.

    Closing it ends the container: its input was opened to be closed with this connection, and its PID 1 ends with its
    input. That holds however the connection ends, also when this process is killed.
    """

    def __init__(self, engine: Engine, container: str) -> None:
        wanted = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
        # What the SDK gives back keeps the connection alive; the socket under it has timeouts.
        self._connection: Any = engine.client.api.attach_socket(container, params=wanted)
        self._socket: socket.socket = getattr(self._connection, "_sock", self._connection)
        self._received = bytearray()
        self._out = bytearray()
        self._errors = bytearray()

    @property
    def errors(self) -> str:
        """The end of what the container has said on its error stream so far."""
        return self._errors.decode(errors="replace").strip()

    @property
    def ended(self) -> bool:
        """Whether the other end has hung up. Reads nothing, so that it can be asked while somebody else reads."""
        poll = select.poll()
        try:
            poll.register(self._socket, getattr(select, "POLLRDHUP", 0))
            return bool(poll.poll(0))
        except (OSError, ValueError):
            return True

    def send(self, data: bytes, deadline: float) -> None:
        """Send all of it.

        Raises:
            TimeoutError: Not all was taken by `deadline`, seconds on `time.monotonic`.
            OSError: The connection is gone.
        """
        self._socket.settimeout(_left(deadline))
        self._socket.sendall(data)

    def receive(self, size: int, deadline: float) -> bytes:
        """Exactly so many bytes of the container's output.

        Raises:
            TimeoutError: They were not there by `deadline`.
            EOFError: The container has closed its output, or ended.
            OSError: The connection is gone.
        """
        while len(self._out) < size:
            self._socket.settimeout(_left(deadline))
            data = self._socket.recv(1 << 18)
            if not data:
                raise EOFError(f"the container's output ended {size - len(self._out)} bytes early")
            self._received += data
            self._take_apart()
        taken = bytes(self._out[:size])
        del self._out[:size]
        return taken

    def close(self) -> None:
        """End the connection, and with it the container."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # a copy in a forked process must not keep it open
        self.forget()

    def forget(self) -> None:
        """Close this process's copy and leave the connection as it is."""
        with suppress(OSError):
            self._socket.close()
        with suppress(OSError):
            self._connection.close()

    def _take_apart(self) -> None:
        at = 0
        while len(self._received) - at >= _HEADER.size:
            kind, length = _HEADER.unpack_from(self._received, at)
            start = at + _HEADER.size
            if len(self._received) - start < length:
                break
            payload = memoryview(self._received)[start : start + length]
            if kind == STDERR:
                self._errors += payload
                del self._errors[:-KEPT_ERRORS]
            else:
                self._out += payload
            payload.release()
            at = start + length
        del self._received[:at]


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
