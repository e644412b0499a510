"""The client's end of a session: numbers its requests, and sends the last one again until it is answered.

A number runs once at the server, so asking again is safe whatever got lost: the request, the reply, the connection.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Any

from tir_gym.envs.remote.connection import Connection, ConnectionLost, NoReplyInTime
from tir_gym.errors import InfrastructureError, UsageError
from tir_gym.short_json import read_short, writer

PROTOCOL = 1
"""The protocol that is spoken here; the server says its own."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
"""Seconds between attempts to connect."""

_UNCOUNTED = frozenset({"bad_message", "out_of_order", "busy"})
"""Refusals that use up no number of the session."""

_write = writer(ensure_ascii=True, separators=(",", ":"))


class RemoteSession:
    """A session at a server.

    Args:
        connection: To the server, of this session alone.
        patience: Seconds for which a broken connection is tried again before the server counts as lost.
        token: Of a session that is there already, from `fork`.
    """

    def __init__(self, connection: Connection, patience: float, token: str | None = None) -> None:
        self._connection = connection
        self._patience = patience
        self._token = token
        self._last = 0

    def create(self, env_id: str | None, options: dict[str, Any]) -> dict[str, Any]:
        """Open the session; gives what the server says of it. Raises as `ask` does."""
        request = {"op": "create", "id": secrets.token_urlsafe(18), "env_id": env_id, "options": options}
        created = self._answered(request)
        if created["protocol"] != PROTOCOL:
            raise InfrastructureError(
                f"{self._connection.url} speaks protocol {created['protocol']}, this client {PROTOCOL}; "
                "take the same version of tir-gym on both sides",
                kind="server_refused",
            )
        self._token = created["session"]
        return created

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """A request of the session, and its result.

        Raises:
            UsageError: The environment refuses.
            InfrastructureError: Something broke: at the server, or the server or the session is gone (`server_lost`,
                `session_lost`), or it did not answer in time (`server_timeout`).
        """
        self._last += 1
        try:
            return self._answered({"op": op, "id": self._last, "session": self._token, **fields})
        except InfrastructureError as error:
            if error.kind == "message_too_big":  # the server has not read it
                self._last -= 1
            raise

    def branch(self, created: dict[str, Any], connection: Connection) -> RemoteSession:
        """The session that `fork` has opened, over a connection of its own."""
        return RemoteSession(connection, self._patience, created["session"])

    def close(self) -> None:
        """End the session if the server can be reached; safe to call twice."""
        if self._token is not None:
            self._patience = 0.0
            try:
                if not self._connection.is_stale():
                    self.ask("close")
            except (UsageError, InfrastructureError):
                pass  # the server closes it by itself when nobody uses it
            self._token = None
        self._connection.close()

    def _answered(self, request: Mapping[str, Any]) -> dict[str, Any]:
        url = self._connection.url
        try:
            reply = self._send(request)
            if reply["ok"]:
                result: dict[str, Any] = reply["result"]
                return result
            kind, message = reply["error"]["kind"], reply["error"]["message"]
        except (ValueError, KeyError, TypeError) as error:
            raise InfrastructureError(f"{url} speaks another protocol: {error!r}", kind="server_bug") from error
        if kind in _UNCOUNTED and request["op"] != "create":
            self._last -= 1
        if kind == "usage":
            raise UsageError(message)
        if kind == "no_session":
            raise InfrastructureError(
                f"{url} does not have the session any more: it was restarted, or nobody used the session for long",
                kind="session_lost",
            )
        if kind == "infrastructure":
            raise InfrastructureError(message, kind=reply["error"]["cause"])
        if kind == "limit":
            raise InfrastructureError(f"{url}: {message}", kind="server_full")
        raise InfrastructureError(f"{url}: {kind}: {message}", kind="server_bug")

    def _send(self, request: Mapping[str, Any]) -> dict[str, Any]:
        text = _write(request)
        until, pause = time.monotonic() + self._patience, _FIRST_PAUSE
        while True:
            try:
                reply: dict[str, Any] = read_short(self._connection.ask(text))
                if reply["id"] not in (request["id"], None):  # `None` is of a request that could not be read
                    self._connection.close()
                    raise ConnectionLost(f"a reply to request {reply['id']} came for {request['id']}")
                return reply
            except ConnectionLost as error:
                if time.monotonic() + pause > until:
                    raise InfrastructureError(
                        f"lost the server at {self._connection.url}: {error}", kind="server_lost"
                    ) from error
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            except NoReplyInTime as error:
                raise InfrastructureError(f"{self._connection.url}: {error}", kind="server_timeout") from error
