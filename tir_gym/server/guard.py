"""Who may come in: the token, where one is set, and no web page of somebody else's.

Without a token the server listens on loopback only, where every page in a browser on the same machine could still
reach it. So requests must name a loopback host, and a page's origin must be the server's own.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tir_gym.listening import is_loopback

_OPEN = ("/healthz",)


class Guard:
    """ASGI middleware.

    Args:
        app: What is guarded.
        token: What clients must show, as `Authorization: Bearer TOKEN`, or as the password of a URL
            (`http://any:TOKEN@host`) where a client can send no header.
    """

    def __init__(self, app: ASGIApp, token: str | None = None) -> None:
        self._app = app
        self._token = None if token is None else token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or scope["path"] in _OPEN:
            await self._app(scope, receive, send)
            return
        fault = self._fault(Headers(scope=scope))
        if fault is None:
            await self._app(scope, receive, send)
        else:
            status, text = fault
            challenge = {"WWW-Authenticate": "Bearer"} if status == 401 else None
            await PlainTextResponse(text, status, challenge)(scope, receive, send)

    def _fault(self, headers: Headers) -> tuple[int, str] | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return 403, f"origin {origin!r} is not this server's"
        if self._token is None:
            if not is_loopback(urlsplit(f"//{host}").hostname or ""):
                return 403, f"host {host!r} is not this machine's own; a server without a token serves no other"
        elif not hmac.compare_digest(_shown(headers.get("authorization", "")), self._token):
            return 401, "this server wants its token: Authorization: Bearer TOKEN"
        return None


def _shown(authorization: str) -> bytes:
    """The token that a client has shown."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip().encode("latin-1", "replace")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
        except binascii.Error:
            return b""
    return b""
