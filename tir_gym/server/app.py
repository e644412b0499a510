"""The application: which path leads where."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send

from tir_gym.registration import cards
from tir_gym.server.catalogue import Catalogue
from tir_gym.server.figures import Figures
from tir_gym.server.guard import Guard
from tir_gym.server.house import House
from tir_gym.server.openenv import OpenEnvFace
from tir_gym.server.playing import Player
from tir_gym.server.protocol import schema
from tir_gym.server.sessions import Bounds, Sessions
from tir_gym.server.sockets import WebSocketFace
from tir_gym.server.wire import failed, succeeded

if TYPE_CHECKING:
    from tir_gym.server.mcp import McpFace

_STATUS = {
    "bad_message": 400,
    "usage": 422,
    "no_session": 404,
    "out_of_order": 409,
    "busy": 409,
    "limit": 429,
    "infrastructure": 503,
    "internal": 500,
}


def create_app(
    catalogue: Catalogue,
    bounds: Bounds | None = None,
    *,
    expose_gold: bool = False,
    token: str | None = None,
) -> Starlette:
    """The server as an ASGI application, for uvicorn or any other ASGI server.

    Args:
        catalogue: What clients may make.
        bounds: What they may use.
        expose_gold: Whether they see the gold trace and the matching.
        token: What they must show; without one only requests to a loopback host are served.
    """
    bounds = bounds or Bounds()
    sessions = Sessions(bounds)
    house = House(Player(catalogue, sessions, expose_gold), Figures(lambda: len(sessions), bounds.sessions))
    openenv = OpenEnvFace(house)
    routes: list[BaseRoute] = [
        WebSocketRoute("/v1/ws", WebSocketFace(house)),
        Route("/v1/call", _Call(house), methods=["POST"]),
        *openenv.routes(),
        Route("/schema", lambda request: JSONResponse(schema())),
        Route("/environments", lambda request: JSONResponse(_described(catalogue))),
        Route("/healthz", lambda request: JSONResponse({"status": "ok"})),
        Route("/metrics", lambda request: Response(house.figures.text(), media_type="text/plain; version=0.0.4")),
    ]
    mcp = _mcp_face(house)
    if mcp is not None:
        routes += mcp.routes()

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            if mcp is not None:
                await stack.enter_async_context(mcp.running())
            sweeping = asyncio.ensure_future(house.sweep())
            try:
                yield
            finally:
                sweeping.cancel()
                await house.close()

    app = Starlette(routes=routes, middleware=[Middleware(Guard, token=token)], lifespan=lifespan)
    app.state.house = house
    return app


class _Call:
    """`POST /v1/call`: one request, one reply, the same messages as over WebSocket."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        text = await _body(request, self._house.sessions.bounds.message)
        if text is None:
            reply = failed(None, None, "limit", f"a message of more than {self._house.sessions.bounds.message} bytes")
            status = 413  # not the 429 of other limits, which invites the client to try again
        else:
            served = self._house.call(text)
            reply = served if isinstance(served, str) else await asyncio.shield(served)
            status = _status(reply)
        await Response(reply, status, media_type="application/json")(scope, receive, send)


def _status(reply: str) -> int:
    return 200 if succeeded(reply) else _STATUS[json.loads(reply)["error"]["kind"]]


async def _body(request: Request, most: int) -> str | None:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            return None
    return body.decode("utf-8", "replace")


def _described(catalogue: Catalogue) -> list[dict[str, str]]:
    known = cards()
    return [
        {"id": id, "title": known[id].title, "summary": known[id].summary} if id in known else {"id": id}
        for id in catalogue.ids
    ]


def _mcp_face(house: House) -> McpFace | None:
    """The MCP face, where the extra `mcp` is installed."""
    try:
        from tir_gym.server.mcp import McpFace
    except ImportError:
        return None
    return McpFace(house)
