"""Frames between the host and a slot: four bytes of length (little-endian), then a JSON object. Never pickle.

One request, one reply. Whoever reads bounds the length before reading on, so a broken or hostile other end can cost a
connection but no memory.
"""

from __future__ import annotations

import json
import os
import struct
from typing import Any

LENGTH = struct.Struct("<I")
LARGEST_REQUEST = 256 << 20
"""Bytes that a slot reads of one request at most."""


_encode = json.JSONEncoder(separators=(",", ":")).encode
_decode = json.JSONDecoder().decode


class Broken(Exception):
    """What was read is no frame, or is longer than allowed, or ended in the middle."""


def frame(message: dict[str, Any]) -> bytes:
    """The bytes of one message."""
    body = _encode(message).encode("ascii")
    return LENGTH.pack(len(body)) + body


def parse(body: bytes | bytearray) -> dict[str, Any]:
    """The message in a body.

    Raises:
        Broken: It is not a JSON object.
    """
    try:
        message = _decode(body.decode())
    except (ValueError, RecursionError) as error:
        raise Broken(f"not JSON: {error}") from error
    if not isinstance(message, dict):
        raise Broken("not a JSON object")
    return message


class Channel:
    """Frames over two file descriptors, which may be the same one: a socket, or two pipes."""

    def __init__(self, reads: int, writes: int, largest: int = LARGEST_REQUEST) -> None:
        self.reads = reads
        self.writes = writes
        self._largest = largest
        self._left = bytearray()

    def receive(self) -> dict[str, Any] | None:
        """The next message; None once the other end is closed.

        Raises:
            Broken: What came is no frame.
        """
        buffer = self._left
        while len(buffer) < LENGTH.size:
            data = os.read(self.reads, 65536)
            if not data:
                if buffer:
                    raise Broken("ended within a length")
                return None
            buffer += data
        length = LENGTH.unpack_from(buffer)[0]
        if length > self._largest:
            raise Broken(f"a frame of {length} bytes, more than {self._largest}")
        end = LENGTH.size + length
        while len(buffer) < end:
            data = os.read(self.reads, min(end - len(buffer), 1 << 20))
            if not data:
                raise Broken("ended within a frame")
            buffer += data
        body = bytes(buffer[LENGTH.size : end])
        self._left = buffer[end:]
        return parse(body)

    def waiting(self) -> bool:
        """Whether something of the next message has been read already."""
        return bool(self._left)

    def send(self, message: dict[str, Any]) -> None:
        """Write one message, all of it."""
        data = memoryview(frame(message))
        while data:
            data = data[os.write(self.writes, data) :]
