"""The viewer as a running server: where it listens, its token, and the line with its address."""

from __future__ import annotations

import errno
import secrets
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

from tir_gym.errors import UsageError
from tir_gym.loopback import is_loopback


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
    listening = _listen(host, port)
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


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, proto)
    except OSError as error:
        raise UsageError(f"--host {host}: {error.strerror or error}") from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except OSError as error:
        listening.close()
        other = "--host" if error.errno == errno.EADDRNOTAVAIL else "--port"
        raise UsageError(f"cannot listen on {host}:{port}: {error.strerror or error}; choose another {other}") from None
    return listening
