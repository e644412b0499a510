"""The server's event loop: nothing is sent late, and nothing that one client asks for holds up another."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="the extra 'server' is not installed: pip install 'tir-gym[server]'")

from serving import BareClient, server_here
from websockets.client import ClientProtocol
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from tir_gym.long_json import MOST
from tir_gym.making import make_env
from tir_gym.server import Bounds, Catalogue, EnvironmentServer, Terms
from tir_gym.server.figures import Figures
from tir_gym.server.house import House
from tir_gym.server.playing import Player
from tir_gym.server.sessions import Sessions

CALCULATOR = "tir_gym/Calculator-v0"
ADD = {"id": "c", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with server_here(CALCULATOR) as url:
        yield url


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
            if not isinstance(reply, str):  # the whole machine paused, which made a step too slow for the loop
                reply = await reply
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


@pytest.mark.parametrize("seed", range(6))
def test_messages_are_answered_however_they_arrive(url: str, seed: int) -> None:
    """Alone, together, in pieces, in fragments, between pings: nothing is lost, and nothing is taken for another."""
    draw = random.Random(seed)
    client = ClientProtocol(parse_uri(url.replace("http", "ws") + "/v1/ws"), max_size=None)
    client.send_request(client.connect())
    with socket.create_connection(tuple(url.rsplit("/", 1)[1].split(":")), 30.0) as line:  # type: ignore[arg-type]
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def flush(pieces: int) -> None:
            data = b"".join(client.data_to_send())
            places = sorted(draw.randrange(len(data) + 1) for _ in range(pieces - 1))
            for begin, end in itertools.pairwise([0, *places, len(data)]):
                line.sendall(data[begin:end])
                time.sleep(draw.choice([0.0, 0.002]))

        answers: list[Frame] = []

        def read() -> None:
            data = line.recv(1 << 16)
            assert data, "the server closed the connection"
            client.receive_data(data)
            answers.extend(event for event in client.events_received() if isinstance(event, Frame))

        flush(1)
        while client.state is not State.OPEN:
            read()
        expected, pings = set(), 0
        for number in range(60):
            size = draw.choice([0, 0, 0, 80, 81, 82, 83, 84, 300, 20_000, 70_000])
            text = json.dumps({"op": "fly", "id": number, "more": "x" * size}).encode()
            if draw.random() < 0.2:
                half = len(text) // 2
                client.send_text(text[:half], fin=False)
                if draw.random() < 0.5:
                    client.send_ping(b"?")
                    pings += 1
                client.send_continuation(text[half:], fin=True)
            else:
                client.send_text(text)
            expected.add(number)
            if draw.random() < 0.6:
                flush(draw.choice([1, 1, 1, 2, 5]))
        flush(1)
        while len(answers) < len(expected) + pings:
            read()
        told = [json.loads(bytes(frame.data)) for frame in answers if frame.opcode is Opcode.TEXT]
        assert {answer["id"] for answer in told} == expected
        assert all(answer["error"]["kind"] == "bad_message" for answer in told)
        client.send_text(b"\x81\xff", fin=True)
        flush(1)
        while client.close_rcvd is None:
            read()
        assert client.close_rcvd.code == CloseCode.INVALID_DATA


def test_a_frame_without_a_mask_ends_the_connection(url: str) -> None:
    client = ClientProtocol(parse_uri(url.replace("http", "ws") + "/v1/ws"))
    client.send_request(client.connect())
    with socket.create_connection(tuple(url.rsplit("/", 1)[1].split(":")), 30.0) as line:  # type: ignore[arg-type]
        line.sendall(b"".join(client.data_to_send()))
        while client.state is not State.OPEN:
            client.receive_data(line.recv(1 << 16))
        line.sendall(b"\x81\x00" * 50)
        while data := line.recv(1 << 16):
            client.receive_data(data)
        assert client.close_rcvd is not None
        assert client.close_rcvd.code == CloseCode.PROTOCOL_ERROR
