"""The WebSocket face: each text message is a request, each reply a text message. A connection may use many sessions."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from starlette.types import Receive, Scope, Send

from tir_gym.server.house import Connection, House
from tir_gym.server.wire import failed

_IN_FLIGHT = 256
"""Requests of one connection that may run at a time; no more is read meanwhile."""
_IN_A_ROW = 64
"""Requests of one connection that are served before others get their turn."""


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
        connection = Connection()
        running: set[asyncio.Task[None]] = set()
        served = 0
        self._house.figures.connections.inc()
        try:
            while (message := await receive())["type"] == "websocket.receive":
                reply = self._serve(message, connection)
                if isinstance(reply, str):
                    await send({"type": "websocket.send", "text": reply})
                else:
                    task = asyncio.ensure_future(_send_later(reply, send))
                    running.add(task)
                    task.add_done_callback(running.discard)
                    if len(running) >= _IN_FLIGHT:
                        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                served += 1
                if served % _IN_A_ROW == 0:
                    await asyncio.sleep(0)
        except OSError:  # the other side went while it was being answered
            pass
        finally:
            self._house.figures.connections.dec()
            self._house.drop(connection)
            for task in running:
                task.cancel()

    def _serve(self, message: Any, connection: Connection) -> str | asyncio.Future[str]:
        text = message.get("text")
        if text is None:
            return failed(None, None, "bad_message", "a binary message; requests are text messages")
        return self._house.call(text, connection)


async def _send_later(reply: asyncio.Future[str], send: Send) -> None:
    with contextlib.suppress(OSError):  # the connection is gone; the session has the reply
        await send({"type": "websocket.send", "text": await asyncio.shield(reply)})
