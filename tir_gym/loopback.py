"""Whether a name or an address is this machine's own: what listens there and asks for no token relies on it."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own and reached from nowhere else.

    Of names only `localhost`: `127.example.org` may lead anywhere.
    """
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
