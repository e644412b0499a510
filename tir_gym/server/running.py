"""A server process: a socket, uvicorn on it, and nothing left over at the end."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass

import uvicorn
from starlette.applications import Starlette

from tir_gym.errors import UsageError
from tir_gym.server.app import create_app
from tir_gym.server.catalogue import Catalogue
from tir_gym.server.guard import is_loopback
from tir_gym.server.sessions import Bounds
from tir_gym.server.shortcut import ShortcutProtocol


@dataclass(frozen=True)
class Terms:
    """Where to listen, and who may come."""

    host: str = "127.0.0.1"
    port: int = 8765
    """0 for any that is free."""
    token: str | None = None
    """What clients must show; needed where others than this machine can reach the server."""
    expose_gold: bool = False
    """Whether clients see the gold trace and the matching."""


def serve(
    catalogue: Catalogue, bounds: Bounds, terms: Terms, *, on_ready: Callable[[str], None] = lambda url: None
) -> None:
    """Serve until interrupted (SIGINT, SIGTERM); sessions are closed on the way out.

    Args:
        catalogue: What clients may make.
        bounds: What they may use.
        terms: Where to listen, and who may come.
        on_ready: Called with the server's URL once it listens.

    Raises:
        UsageError: The address cannot be listened on, or others could reach it and there is no token.
    """
    if terms.token is None and not is_loopback(terms.host):
        raise UsageError(f"host {terms.host}: others can reach it, so give a token; or listen on 127.0.0.1")
    listening = _listen(terms.host, terms.port)
    app = create_app(catalogue, bounds, expose_gold=terms.expose_gold, token=terms.token)
    name = f"[{terms.host}]" if ":" in terms.host else terms.host
    url = f"http://{name}:{listening.getsockname()[1]}"
    with listening:
        _Server(_config(app, bounds), lambda: on_ready(url)).run(sockets=[listening])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()


def _config(app: Starlette, bounds: Bounds) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        ws=ShortcutProtocol,
        ws_max_size=bounds.message,
        # A client that waits for a model answers no ping, and a session outlives its connection anyway.
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
        backlog=2048,
    )


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        raise UsageError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    made.setblocking(False)
    return made
