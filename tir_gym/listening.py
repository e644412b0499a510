"""Where servers of ours listen, and whether that is this machine alone: what asks for no token relies on it."""

from __future__ import annotations

import errno
import ipaddress
import socket

from tir_gym.errors import UsageError


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens, non-blocking.

    Args:
        host: Name or address.
        port: 0 for any that is free.

    Raises:
        UsageError: There is no such host here, or the port is taken.
    """
    try:
        # With its protocol named: asyncio sends without delay only over sockets that say they are TCP. With a delay an
        # HTTP reply, which goes out as head and body, waits 40 ms for the other side to acknowledge the head.
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )[0]
        made = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UsageError(f"host {host}: {error.strerror or error}") from None
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(2048)
        made.setblocking(False)
    except OSError as error:
        made.close()
        other = "host" if error.errno == errno.EADDRNOTAVAIL else "port"
        raise UsageError(f"cannot listen on {host}:{port}: {error.strerror or error}; choose another {other}") from None
    return made


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own and reached from nowhere else.

    Of names only `localhost`: `127.example.org` may lead anywhere.
    """
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
