"""The viewer as a running server: where it listens, its token, and the line with its address."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

from tir_gym.errors import UsageError
from tir_gym.listening import is_loopback, listen


def serve(
    store: str | None,
    *,
    host: str = "127.0.0.1",
    port: int = 8765,
    token: str | None = None,
    folders: Sequence[Path] = (),
    say: Callable[[str], None] = print,
) -> None:
    """Serve until interrupted.

    Args:
        store: Path or URL of the trace store; `None` where there is none, only logs of training.
        host: Where to listen; anything but this machine alone demands a token.
        port: Where to listen; 0 for any free one.
        token: What readers must show; made up where one is needed and none given.
        folders: Where to look for the logs of training runs.
        say: Told the address, once it can be opened.

    Raises:
        UsageError: The store cannot be opened, or the address is taken.
    """
    import uvicorn

    from tir_gym.viewer.app import make_app
    from tir_gym.viewer.guard import LOOPBACK
    from tir_gym.viewer.reader import Reader

    local = is_loopback(host)
    if token is not None and len(token) < 8:
        raise UsageError("--token must have at least 8 characters; leave it out and one is made up")
    if not local and token is None:
        token = secrets.token_urlsafe(24)
    listening = listen(host, port)
    port = listening.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    reader = Reader(store)
    try:
        hosts = (*LOOPBACK, shown) if local else ()
        app = make_app(reader, folders=folders, hosts=hosts, token=token, port=port)
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, date_header=False, lifespan="off"
        )
        # Whoever listens on every address is reached under this machine's name.
        name = socket.gethostname() if host in ("0.0.0.0", "::") else shown
        say(f"Viewer: http://{name}:{port}/" + (f"?token={quote(token, safe='')}" if token is not None else ""))
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        reader.close()
        listening.close()
