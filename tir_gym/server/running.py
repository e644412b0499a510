"""A server process: a socket, uvicorn on it, and nothing left over at the end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import uvicorn
from starlette.applications import Starlette

from tir_gym.errors import UsageError
from tir_gym.listening import is_loopback, listen
from tir_gym.server.app import create_app
from tir_gym.server.catalogue import Catalogue
from tir_gym.server.sessions import Bounds
from tir_gym.server.shortcut import ShortcutProtocol
from tir_gym.server.waiting import new_loop


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


class EnvironmentServer:
    """A server that listens from the start and serves while it runs.

    Args:
        catalogue: What clients may make.
        bounds: What they may use.
        terms: Where to listen, and who may come.

    Raises:
        UsageError: The address cannot be listened on, others could reach it and there is no token, or it is one that
            no client could show.
    """

    def __init__(self, catalogue: Catalogue, bounds: Bounds | None = None, terms: Terms | None = None) -> None:
        bounds, terms = bounds or Bounds(), terms or Terms()
        if terms.token is None and not is_loopback(terms.host):
            raise UsageError(
                f"host {terms.host}: others can reach it, so a token is needed ($TIR_GYM_TOKEN); or use 127.0.0.1"
            )
        if terms.token is not None and not _fits_a_header(terms.token):
            raise UsageError(
                "the token ($TIR_GYM_TOKEN) goes through a header: give visible ASCII characters, no blank at an end"
            )
        self._socket = listen(terms.host, terms.port)
        name = f"[{terms.host}]" if ":" in terms.host else terms.host
        self.url = f"http://{name}:{self._socket.getsockname()[1]}"
        app = create_app(catalogue, bounds, expose_gold=terms.expose_gold, token=terms.token)
        self._server = _Server(_config(app, bounds))

    def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Serve until `stop`, SIGINT or SIGTERM; sessions are closed on the way out.

        Args:
            on_ready: Called once it serves.
        """
        self._server.on_started = on_ready
        with self._socket, _ending_quietly(), asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(self._server.serve(sockets=[self._socket]))

    def stop(self) -> None:
        """Make `run` come to its end; from any thread."""
        self._server.should_exit = True

    @contextlib.contextmanager
    def background(self) -> Iterator[str]:
        """Serve in a thread while it is entered; gives the URL."""
        ready = threading.Event()
        thread = threading.Thread(target=self.run, args=[ready.set], name="tir-gym-server", daemon=True)
        thread.start()
        try:
            while not ready.wait(0.1) and thread.is_alive():
                pass
            yield self.url
        finally:
            self.stop()
            thread.join()


@contextlib.contextmanager
def _ending_quietly() -> Iterator[None]:
    """uvicorn raises the signal that ended it once more; being ended is what a server is for."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _fits_a_header(text: str) -> bool:
    return text != "" and text.isascii() and text.isprintable() and text == text.strip()


class _Server(uvicorn.Server):
    on_started: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.on_started()


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
