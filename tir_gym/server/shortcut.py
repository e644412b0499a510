"""uvicorn's WebSocket with a shortcut: a request that is answered at once is answered where it is read.

By the book a message goes through a queue to the application's task and its reply comes back through another call,
which together cost as much as a step of a quick environment. An application that takes the shortcut, offered in its
scope, is handed the message directly. While it is busy, or the client reads too slowly, everything goes by the book.
Another ASGI server offers no shortcut, and the application serves the same.

What a client says is nearly always one short frame that arrives in one piece, which is read and answered right here;
all else is the library's.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.http11 import Request
from websockets.protocol import State

from tir_gym.short_frames import only_payload, still_owed, text_frame

EXTENSION = "tir_gym.shortcut"
"""In `scope["extensions"]`: a function that takes a `Taker`."""

_IN_A_ROW = 64
"""Messages of one read that are answered before others get their turn."""


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

    async def send(self, message: Any) -> None:
        await super().send(message)
        # A client that is not let in has had its answer, which uvicorn forgets and then calls an error.
        self.handshake_complete = self.handshake_complete or self.close_sent

    def data_received(self, data: bytes) -> None:
        self._left = _IN_A_ROW
        text = None if self._owed != 0 else self._only_message(data)
        if text is not None:
            assert self._taker is not None
            reply = self._taker.take(text)
            if reply is not None:
                self.transport.write(text_frame(reply.encode()))
            return
        if not self.handshake_initiated:
            self._owed = 0 if data.endswith(b"\r\n\r\n") else None
        elif self._owed is not None:
            self._owed = still_owed(data, self._owed, masked=True)
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
        if self._taker is None or len(data) > self.config.ws_max_size:
            return None
        if self.conn.state is not State.OPEN or self.conn.current_size is not None or not self._is_free(self._taker):
            return None
        payload = only_payload(data, masked=True)
        if payload is None:
            return None
        try:
            return payload.decode()
        except UnicodeDecodeError:
            return None

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
