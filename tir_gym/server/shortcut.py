"""uvicorn's WebSocket with a shortcut: a request that is answered at once is answered where it is read.

By the book a message goes through a queue to the application's task and its reply comes back through another call,
which together cost as much as a step of a quick environment. An application that takes the shortcut, offered in its
scope, is handed the message directly. While it is busy, or the client reads too slowly, everything goes by the book.
Another ASGI server offers no shortcut, and the application serves the same.

What a client says is nearly always one short frame that arrives in one piece. Such a frame is read, and its reply
framed, right here (RFC 6455, 5.2); all else is the library's.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, apply_mask  # type: ignore[attr-defined]  # the one in C where that is built
from websockets.http11 import Request
from websockets.protocol import State

EXTENSION = "tir_gym.shortcut"
"""In `scope["extensions"]`: a function that takes a `Taker`."""

_IN_A_ROW = 64
"""Messages of one read that are answered before others get their turn."""


_WHOLE_TEXT = 0x81
"""First byte of a text message's only frame."""
_MASKED = 0x80
"""Least second byte of a client's frame; what is more is the length of up to 125, or says where that stands."""
_HEAD = 6
"""Bytes before the payload of a short frame of a client's, the last 4 of them the mask."""
_SHORT = 1 << 16
"""Bytes of a frame that is read here."""


class Taker(Protocol):
    """Who is handed messages."""

    def is_full(self) -> bool:
        """Whether messages must go by the book now."""
        ...

    def take(self, text: str) -> str | None:
        """Serve a message: its reply, or `None` if that will be sent later."""
        ...


class ShortcutProtocol(WebSocketsSansIOProtocol):
    """For `uvicorn.Config(ws=...)`."""

    _taker: Taker | None = None
    _left = 0
    _owed: int | None = None
    """Bytes of the last frame that are still to come, if it is known where that ends."""

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent:
            cast(dict[str, Any], self.scope["extensions"])[EXTENSION] = self._offer

    def data_received(self, data: bytes) -> None:
        self._left = _IN_A_ROW
        text = None if self._owed != 0 else self._only_message(data)
        if text is not None:
            assert self._taker is not None
            reply = self._taker.take(text)
            if reply is not None:
                self.transport.write(_frame(reply.encode()))
            return
        if not self.handshake_initiated:
            self._owed = 0 if data.endswith(b"\r\n\r\n") else None
        elif self._owed is not None:
            self._owed = _owed(data, self._owed)
        super().data_received(data)

    def handle_text(self, event: Frame) -> None:
        taker = self._taker
        if taker is None or not self._left or not event.fin or not self._is_free(taker):
            super().handle_text(event)
            return
        try:
            text = bytes(event.data).decode()
        except UnicodeDecodeError:
            super().handle_text(event)  # which knows how to end such a connection
            return
        self._left -= 1
        reply = taker.take(text)
        if reply is not None:
            self.conn.send_text(reply.encode())
            self.transport.write(b"".join(self.conn.data_to_send()))

    def _only_message(self, data: bytes) -> str | None:
        """The message in what was read after whole frames, if that is one short frame and it may be taken here."""
        if self._taker is None or len(data) < _HEAD or data[0] != _WHOLE_TEXT or data[1] < _MASKED:
            return None
        if self.conn.state is not State.OPEN or self.conn.current_size is not None or not self._is_free(self._taker):
            return None
        head = _HEAD if data[1] < _MASKED + 126 else _HEAD + 2
        if _end(data, 0) != len(data) or len(data) > min(_SHORT, self.config.ws_max_size):
            return None
        try:
            text: str = apply_mask(data[head:], data[head - 4 : head]).decode()
        except UnicodeDecodeError:
            return None
        return text

    def _is_free(self, taker: Taker) -> bool:
        """Whether the next message may be answered now."""
        return not (
            self.read_paused  # earlier messages are still in the queue
            or self.close_sent
            or not self.writable.is_set()
            or taker.is_full()
        )

    def _offer(self, taker: Taker) -> None:
        self._taker = taker


def _frame(payload: bytes) -> bytes:
    """A text message as a server sends it."""
    size = len(payload)
    if size < 126:
        return bytes((_WHOLE_TEXT, size)) + payload
    if size < 1 << 16:
        return bytes((_WHOLE_TEXT, 126)) + size.to_bytes(2, "big") + payload
    return bytes((_WHOLE_TEXT, 127)) + size.to_bytes(8, "big") + payload


def _owed(data: bytes, at: int) -> int | None:
    """Bytes that the last frame lacks, the first one beginning at that place; `None` if its head is not whole."""
    while at < len(data):
        end = _end(data, at)
        if end is None:
            return None
        at = end
    return at - len(data)


def _end(data: bytes, at: int) -> int | None:
    """Where the client's frame ends that begins at that place; `None` if its head is not whole."""
    if len(data) < at + 2:
        return None
    size, head = data[at + 1] - _MASKED, at + 2
    if size < 0:  # not masked, which ends the connection
        return None
    if size < 126:
        return head + 4 + size
    length = 2 if size == 126 else 8
    if len(data) < head + length:
        return None
    return head + length + 4 + int.from_bytes(data[head : head + length], "big")
