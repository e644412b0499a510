"""A WebSocket on a blocking socket: one text goes out, one comes back, in the caller's thread.

The protocol is that of the package `websockets`; its own blocking client reads in a second thread, which costs a
switch for every message, and a client here waits for a model most of the time.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
import time
from typing import Any, NoReturn
from urllib.parse import unquote

from tir_gym.errors import InfrastructureError, MissingExtra, UsageError

try:
    from websockets.client import ClientProtocol
    from websockets.exceptions import InvalidHandshake, InvalidURI, WebSocketException
    from websockets.frames import CloseCode, Frame, Opcode
    from websockets.http11 import Response
    from websockets.protocol import State
    from websockets.uri import WebSocketURI, parse_uri

    from tir_gym.short_frames import only_payload, still_owed, text_frame
except ImportError as error:
    raise MissingExtra(
        "the environment tir_gym/Remote-v0 needs the package websockets: pip install 'tir-gym[server]'",
        name="websockets",
    ) from error

_READ = 1 << 16
_MOST = 1 << 28
"""Bytes of a reply that are read at most; a server sends what its environment says."""
_KEEPALIVE = (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
"""So that a peer that is gone without a word is noticed within 35 seconds."""


class ConnectionLost(Exception):
    """The connection could not be made or has broken; what was sent may have arrived or not."""


class NoReplyInTime(Exception):
    """The connection stands, the reply has not come."""


class Connection:
    """A connection, made at the first request and again after it broke.

    Args:
        url: Of the server, `http://HOST:PORT` or `https://...`; a password in it is the token.
        token: Shown to the server.
        timeout: Seconds to wait for a reply.

    Raises:
        UsageError: The URL is none.
    """

    def __init__(self, url: str, token: str | None, timeout: float) -> None:
        self._uri = _address(url)
        self.url = f"{'https' if self._uri.secure else 'http'}://{self._uri.host}:{self._uri.port}"
        self._token = token if token is not None else self._uri.password and unquote(self._uri.password)
        self._timeout = timeout
        self._socket: socket.socket | None = None
        self._protocol: Any = None
        self._arrived: list[Frame] = []
        self._owed: int | None = None
        """Bytes of the last frame that are still to come, if it is known where that ends."""
        self._limit = 0.0
        """Seconds that the socket waits at most."""

    def ask(self, text: str) -> str:
        """Send a text and wait for the one that comes back. Raises as `send` and `receive` do."""
        self.send(text)
        return self.receive()

    def send(self, text: str) -> None:
        """Send a text.

        Raises:
            ConnectionLost: Broken; the next one tries to connect again.
            InfrastructureError: The server refuses the connection, for want of the token or because it is none of ours.
        """
        try:
            if self._socket is None:
                self._connect()
            assert self._socket is not None
            if self._protocol.state is State.OPEN:
                self._wait_at_most(self._timeout)
                self._socket.sendall(text_frame(text.encode(), os.urandom(4)))
            else:
                self._protocol.send_text(text.encode())  # which says why it cannot
        except BaseException as error:
            self._give_up(error)

    def receive(self) -> str:
        """Wait for a text.

        Raises:
            ConnectionLost: Broken, or nothing was sent since it was.
            NoReplyInTime: As said.
        """
        try:
            if self._socket is None:
                raise EOFError("nothing was sent over this connection")
            return self._text()
        except BaseException as error:
            self._give_up(error)

    def is_stale(self) -> bool:
        """Whether the other side has closed the connection while nothing was asked."""
        return self._socket is not None and bool(select.select([self._socket], [], [], 0)[0])

    def close(self) -> None:
        """Drop the connection; safe to call twice."""
        if self._socket is not None:
            with contextlib.suppress(Exception):
                self._protocol.send_close(1000)
                self._flush()
        self._drop()

    def _drop(self) -> None:
        """Close without a farewell."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._arrived = []

    def _connect(self) -> None:
        made = socket.create_connection((self._uri.host, self._uri.port), min(self._timeout, 10.0))
        try:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _KEEPALIVE:
                if hasattr(socket, name):  # not on every system
                    made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
            if self._uri.secure:
                made = ssl.create_default_context().wrap_socket(made, server_hostname=self._uri.host)
        except BaseException:
            made.close()
            raise
        self._socket, self._protocol, self._arrived = made, ClientProtocol(self._uri, max_size=_MOST), []
        self._owed, self._limit = None, 0.0
        request = self._protocol.connect()
        request.headers.pop("Authorization", None)
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token}"
        self._protocol.send_request(request)
        self._flush()
        response = self._event(time.monotonic() + min(self._timeout, 10.0), Response)
        if self._protocol.handshake_exc is not None:
            raise self._refusal(response, self._protocol.handshake_exc)

    def _refusal(self, response: Any, error: Exception) -> Exception:
        body = (response.body or b"").decode("utf-8", "replace").strip()[:300] if response is not None else ""
        said = f"{self.url} does not let this client in: {error}{f' ({body})' if body else ''}"
        if response is not None and response.status_code >= 500:
            return ConnectionError(said)  # a server or a proxy that is starting or full
        if response is not None and response.status_code == 401:
            said += "; give token=, or set TIR_GYM_TOKEN"
        return InfrastructureError(said, kind="server_refused")

    def _give_up(self, error: BaseException) -> NoReturn:
        """Close, and say what became of the connection."""
        try:
            if isinstance(error, (NoReplyInTime, InfrastructureError)):
                self.close()
                raise error
            if isinstance(error, (OSError, EOFError, WebSocketException)):
                self.close()
                raise ConnectionLost(str(error) or type(error).__name__) from error
            self._drop()  # an interrupt: half a message may have gone, and the reply must not meet a later request
            raise error
        finally:
            del error  # its traceback holds this frame: a circle, which would keep alive all that failed

    def _text(self) -> str:
        until = time.monotonic() + self._timeout
        if not self._arrived and self._owed == 0:
            data = self._read(self._timeout)
            payload = only_payload(data, masked=False)
            if payload is not None:
                return payload.decode()
            self._take_in(data)
        parts: list[bytes] = []
        while True:
            frame = self._event(until, Frame)
            if frame.opcode in (Opcode.TEXT, Opcode.CONT):
                parts.append(frame.data)
                if frame.fin:
                    return b"".join(parts).decode()
            elif frame.opcode is Opcode.CLOSE:
                raise self._farewell()

    def _farewell(self) -> Exception:
        """Why the server has closed the connection."""
        close = self._protocol.close_rcvd
        if close is not None and close.code == CloseCode.MESSAGE_TOO_BIG:
            return InfrastructureError(
                f"{self.url} takes no message as long as this one; see its --max-message", kind="message_too_big"
            )
        return EOFError(f"the server closed the connection ({'no reason' if close is None else str(close)})")

    def _event(self, until: float, kind: type) -> Any:
        """The next thing that arrives."""
        while True:
            while self._arrived:
                event = self._arrived.pop(0)
                if isinstance(event, kind):
                    return event
            if self._protocol.state is State.CONNECTING and self._protocol.handshake_exc is not None:
                return None
            self._take_in(self._read(until - time.monotonic()))

    def _read(self, left: float) -> bytes:
        """What arrives next; empty at the end."""
        assert self._socket is not None
        try:
            if left <= 0:
                raise TimeoutError
            self._wait_at_most(left)
            return self._socket.recv(_READ)
        except TimeoutError:
            raise NoReplyInTime(f"no reply within {self._timeout:g} s") from None

    def _take_in(self, data: bytes) -> None:
        if data:
            opening = self._protocol.state is State.CONNECTING
            self._protocol.receive_data(data)
            if opening:
                self._owed = 0 if data.endswith(b"\r\n\r\n") else None
            elif self._owed is not None:
                self._owed = still_owed(data, self._owed, masked=False)
        else:
            self._protocol.receive_eof()
        self._arrived += self._protocol.events_received()
        self._flush()  # what the protocol answers by itself: pongs, the end of a close
        if self._protocol.parser_exc is not None:
            raise ConnectionError(f"not the WebSocket protocol: {self._protocol.parser_exc}")
        if not data and not self._arrived:
            raise EOFError("the server closed the connection")

    def _flush(self) -> None:
        assert self._socket is not None
        self._wait_at_most(self._timeout)
        for data in self._protocol.data_to_send():
            if data:
                self._socket.sendall(data)

    def _wait_at_most(self, seconds: float) -> None:
        assert self._socket is not None
        if seconds != self._limit:
            self._socket.settimeout(seconds)
            self._limit = seconds


def _address(url: str) -> WebSocketURI:
    scheme, separator, rest = url.rstrip("/").partition("://")
    schemes = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
    try:
        if not separator or scheme not in schemes:
            raise ValueError("write http://HOST:PORT")
        return parse_uri(f"{schemes[scheme]}://{rest}/v1/ws")
    except (InvalidURI, InvalidHandshake, ValueError) as error:
        raise UsageError(f"url={url!r} is no server's address: {error}") from None
