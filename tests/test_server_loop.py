"""The server's event loop: nothing is sent late, and nothing that one client asks for holds up another."""

from __future__ import annotations

import asyncio
import socket

import pytest

pytest.importorskip("uvicorn", reason="the extra 'server' is not installed: pip install 'tir-gym[server]'")

from tir_gym.server import Catalogue, EnvironmentServer, Terms

CALCULATOR = "tir_gym/Calculator-v0"


def test_replies_do_not_wait_for_acknowledgements() -> None:
    server = EnvironmentServer(Catalogue([CALCULATOR]), terms=Terms(port=0))

    async def accepted() -> int:
        loop = asyncio.get_running_loop()
        came: asyncio.Future[asyncio.BaseTransport] = loop.create_future()

        class Taking(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                came.set_result(transport)

        async with await loop.create_server(Taking, sock=server._socket):
            _, writer = await asyncio.open_connection(*server._socket.getsockname())
            transport = await came
            without_delay: int = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            writer.close()
            transport.close()
        return without_delay

    assert asyncio.run(accepted()) == 1
