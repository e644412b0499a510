"""Who may see the pages, and what a browser may do with them: around every answer, whatever is inside.

Bound to this machine alone, the viewer answers to the machine's own names only, so that a web site which points its
name at this address (DNS rebinding) is turned away. Bound to anything else it wants a token: in the link that it
prints, afterwards in a cookie that no script can read. Tokens are compared in constant time. The policy that goes with
every answer lets a browser load the viewer's own style and script and nothing else: no inline script, no other host.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from urllib.parse import urlencode

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
"""Names under which a viewer on this machine alone is asked for."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
"""Of every page."""

_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

COOKIE = "tir_gym_view"
"""Start of the cookie's name; the port follows, since browsers keep cookies of all ports of a host together."""


class Guard:
    """Middleware: turns away who may not see, and puts the policy on every answer.

    Args:
        app: What is guarded.
        hosts: Names that the `Host` header may have, without port; empty for any.
        token: What a reader must show; `None` where everybody on this machine may look.
        port: For the cookie's name.
    """

    def __init__(self, app: ASGIApp, *, hosts: Sequence[str] = LOOPBACK, token: str | None = None, port: int = 0):
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._token = token
        self._cookie = f"{COOKIE}_{port}"
        # The cookie shows that its owner had the token and is not the token.
        self._proof = "" if token is None else hashlib.sha256(f"tir-gym view {token}".encode()).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # there are no WebSockets here

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope)
        await (refusal if refusal is not None else self._app)(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        """What is answered to who may not see, or comes with a token; `None` to let the request through."""
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return PlainTextResponse("the viewer only shows: GET, HEAD and POST\n", 405, {"Allow": "GET, HEAD, POST"})
        if self._hosts and _host(Headers(scope=scope).get("host", "")) not in self._hosts:
            return PlainTextResponse("this viewer is asked for by another name; open the address it printed\n", 421)
        if self._token is None:
            return None
        query = QueryParams(scope["query_string"])
        if "token" in query:
            return self._welcome(scope, query) if _same(query["token"], self._token) else _unknown()
        connection = HTTPConnection(scope)
        shown = connection.headers.get("authorization", "").removeprefix("Bearer ")
        known = _same(shown, self._token) | _same(connection.cookies.get(self._cookie, ""), self._proof)
        return None if known else _unknown()

    def _welcome(self, scope: Scope, query: QueryParams) -> Response:
        """A cookie instead of the token, and the same page without the token in its address."""
        rest = urlencode([(name, value) for name, value in query.multi_items() if name != "token"])
        path = "/" + scope["path"].lstrip("/\\")  # two slashes in front would lead to another host
        answer = RedirectResponse(f"{path}?{rest}" if rest else path, 303)
        answer.set_cookie(self._cookie, self._proof, httponly=True, samesite="lax")
        return answer


def _unknown() -> Response:
    text = "this viewer wants a token; open the link that `tir-gym view` printed, with ?token=... in it\n"
    return PlainTextResponse(text, 401, {"WWW-Authenticate": "Bearer"})


def _same(shown: str, wanted: str) -> bool:
    return hmac.compare_digest(shown.encode("utf-8", "surrogatepass"), wanted.encode())


def _host(header: str) -> str:
    """The name in a `Host` header, without its port."""
    name = header.strip().lower()
    if name.startswith("["):
        return name.partition("]")[0] + "]"
    return name.rpartition(":")[0] if ":" in name else name
