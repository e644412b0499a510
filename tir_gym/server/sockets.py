"""The WebSocket face: each text message is a request, each reply a text message. A connection may use many sessions."""

from __future__ import annotations

import asyncio
import contextlib

from starlette.types import Receive, Scope, Send

from tir_gym.server.house import Connection, House
from tir_gym.server.shortcut import EXTENSION
from tir_gym.server.wire import failed

_IN_FLIGHT = 256
"""Requests of one connection that may run at a time; no more is read meanwhile."""
_IN_A_ROW = 64
"""Requests of one connection that are served before others get their turn."""
_BINARY = failed(None, None, "bad_message", "a binary message; requests are text messages")


class WebSocketFace:
    """An ASGI application for WebSocket connections.

    Args:
        house: Serves the requests.
    """

    def __init__(self, house: House) -> None:
        self._house = house

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        line = _Line(self._house, send)
        offer = scope.get("extensions", {}).get(EXTENSION)
        if offer is not None:
            offer(line)
        served = 0
        self._house.figures.connections.inc()
        try:
            while (message := await receive())["type"] == "websocket.receive":
                text = message.get("text")
                reply = _BINARY if text is None else line.take(text)
                if reply is not None:
                    await send({"type": "websocket.send", "text": reply})
                await line.until_not_full()
                served += 1
                if served % _IN_A_ROW == 0:
                    await asyncio.sleep(0)
        except OSError:  # the other side went while it was being answered
            pass
        finally:
            self._house.figures.connections.dec()
            line.drop()


class _Line:
    """A connection that stands: what is served over it, and what is still to be sent."""

    def __init__(self, house: House, send: Send) -> None:
        self._house = house
        self._send = send
        self._connection = Connection()
        self._running: set[asyncio.Task[None]] = set()

    def is_full(self) -> bool:
        return len(self._running) >= _IN_FLIGHT

    async def until_not_full(self) -> None:
        if self.is_full():
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)

    def take(self, text: str) -> str | None:
        """Serve a request: the reply, or `None` if it will be sent when it is there."""
        reply = self._house.call(text, self._connection)
        if isinstance(reply, str):
            return reply
        task = asyncio.ensure_future(self._send_later(reply))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return None

    def drop(self) -> None:
        """Send nothing more; the sessions have their replies."""
        self._house.drop(self._connection)
        for task in self._running:
            task.cancel()

    async def _send_later(self, reply: asyncio.Future[str]) -> None:
        with contextlib.suppress(OSError):  # the connection is gone
            await self._send({"type": "websocket.send", "text": await asyncio.shield(reply)})
