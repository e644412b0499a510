"""The server's event loop: nothing is sent late, and nothing that one client asks for holds up another."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="the extra 'server' is not installed: pip install 'tir-gym[server]'")

from serving import BareClient, server_here

from tir_gym.long_json import MOST
from tir_gym.making import make_env
from tir_gym.server import Bounds, Catalogue, EnvironmentServer, Terms
from tir_gym.server.figures import Figures
from tir_gym.server.house import House
from tir_gym.server.playing import Player
from tir_gym.server.sessions import Sessions

CALCULATOR = "tir_gym/Calculator-v0"
ADD = {"id": "c", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}


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


def test_while_a_long_message_is_read_others_are_served() -> None:
    async def play() -> None:
        sessions = Sessions(Bounds())
        house = House(Player(Catalogue([CALCULATOR]), sessions), Figures(lambda: 0.0, 1))
        session = sessions.open(CALCULATOR, make_env(CALCULATOR, max_turns=10**9))
        session.env.reset(seed=1)
        session.at_once = True
        long = house.call('{"op": "fly", "id": 7, "action": [' + "[]," * (MOST - 100) + "[]]}")
        assert isinstance(long, asyncio.Future)
        steps = 0
        while not long.done():
            steps += 1
            message = {"op": "step", "id": steps, "session": session.token, "action": {"tool_calls": [ADD]}}
            reply = house.call(json.dumps(message))
            assert isinstance(reply, str)
            assert json.loads(reply)["ok"]
            await asyncio.sleep(0)
        assert steps > 3
        refused = json.loads(long.result())
        assert (refused["id"], refused["error"]["kind"]) == (7, "bad_message")
        await house.close()

    asyncio.run(play())


def test_long_messages_are_answered_as_short_ones_are() -> None:
    env = make_env(CALCULATOR)
    env.reset(options={"task": "test/1"})
    action: dict[str, Any] = {"content": "well, " * 20_000, "tool_calls": [ADD]}
    observation, reward, *_ = env.step(action)
    with server_here(CALCULATOR) as url:
        client = BareClient(url)
        client.open()
        client.ask("reset", task="test/1")
        result = client.ask("step", action=action)["result"]
        assert (tuple(result["observation"]), result["reward"]) == (observation, reward)
        again = client.say(op="step", id=client.last, session=client.session, action=action)
        assert again["result"] == result  # and nothing was run
        assert client.say(op="step", id=9, session=client.session, action=action)["error"]["kind"] == "out_of_order"
        for text, fault in [
            ("[" * 100_000, "nested too deeply"),
            ("{" + " " * 20_000, "no JSON"),
            ('{"op": "step", "action": [' + "1," * MOST + "1]}", f"more than {MOST} values"),
            (json.dumps({"op": "step", "id": 3, "session": client.session, "more": "x" * 20_000}), "action: Field"),
        ]:
            error = json.loads(client.connection.ask(text))["error"]
            assert error["kind"] == "bad_message"
            assert fault in error["message"]
        refused = client.say(op="create", id="x" * 16, options={"dialect": "x" * 20_000})["error"]
        assert refused["kind"] == "usage"
        assert len(client.ask("trace")["result"]["trace"]["turns"]) == 1
