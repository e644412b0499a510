"""The client's connection: replies are read however they arrive, and a broken one is told from a slow one."""

from __future__ import annotations

import contextlib
import gc
import itertools
import random
import socket
import threading
import time
import weakref
from collections.abc import Iterator

import pytest

pytest.importorskip("websockets", reason="the extra 'server' is not installed: pip install 'tir-gym[server]'")

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from tir_gym.envs.remote.connection import Connection, ConnectionLost, NoReplyInTime


class Echo:
    """Sends every text back: alone or with the next, in pieces, in fragments, between pings.

    Args:
        seed: How.
    """

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.pongs = self.pings = 0
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        line, _ = self.listening.accept()
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server = ServerProtocol(max_size=None)
        with line, contextlib.suppress(OSError):
            while data := line.recv(1 << 16):
                server.receive_data(data)
                for event in server.events_received():
                    if isinstance(event, Request):
                        server.send_response(server.accept(event))
                    elif isinstance(event, Frame) and event.opcode is Opcode.PONG:
                        self.pongs += 1
                    elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                        self._echo(server, bytes(event.data))
                self._flush(line, server)

    def _echo(self, server: ServerProtocol, text: bytes) -> None:
        way = self.draw.random()
        if way < 0.2:
            server.send_ping(b"?")
            self.pings += 1
        if way < 0.4:
            half = len(text) // 2
            server.send_text(text[:half], fin=False)
            if way < 0.1:
                server.send_ping(b"?")
                self.pings += 1
            server.send_continuation(text[half:], fin=True)
        else:
            server.send_text(text)

    def _flush(self, line: socket.socket, server: ServerProtocol) -> None:
        data = b"".join(server.data_to_send())
        places = sorted(self.draw.randrange(len(data) + 1) for _ in range(self.draw.choice([0, 0, 0, 1, 4])))
        for begin, end in itertools.pairwise([0, *places, len(data)]):
            line.sendall(data[begin:end])
            time.sleep(self.draw.choice([0.0, 0.002]))


@pytest.fixture
def deaf() -> Iterator[socket.socket]:
    """A server that takes connections and then does what the test says."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.mark.parametrize("seed", range(6))
def test_texts_come_back_whole_and_in_order(seed: int) -> None:
    server, draw = Echo(seed), random.Random(seed)
    connection = Connection(server.url, None, 30.0)
    waiting: list[str] = []
    for number in range(120):
        size = draw.choice([0, 0, 0, 90, 119, 120, 121, 122, 123, 124, 300, 70_000])
        waiting.append(f"{number} é {'x' * size}")
        connection.send(waiting[-1])
        while waiting and draw.random() < 0.6:
            assert connection.receive() == waiting.pop(0)
    while waiting:
        assert connection.receive() == waiting.pop(0)
    assert connection.ask("last") == "last"
    connection.close()
    server.thread.join(10)
    server.listening.close()
    assert server.pings == server.pongs > 0


def test_a_reply_that_does_not_come_in_time_is_not_a_broken_connection() -> None:
    server = Echo(0)
    connection = Connection(server.url, None, 0.3)
    assert connection.ask("hello") == "hello"
    with pytest.raises(NoReplyInTime, match=r"no reply within 0\.3 s"):
        connection.receive()
    with pytest.raises(ConnectionLost, match="nothing was sent"):
        connection.receive()
    server.listening.close()


def test_half_a_reply_counts_as_none_in_time(deaf: socket.socket) -> None:
    def serve() -> None:
        line, _ = deaf.accept()
        server = ServerProtocol()
        with line:
            while not (events := server.events_received()):
                server.receive_data(line.recv(1 << 16))
            assert isinstance(events[0], Request)
            server.send_response(server.accept(events[0]))
            line.sendall(b"".join(server.data_to_send()))
            with contextlib.suppress(OSError):  # the client goes
                line.sendall(b"\x81\x7e\xff\xff")
                for _ in range(300):  # each byte within the time that the whole reply has
                    line.sendall(b"x")
                    time.sleep(0.1)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    connection = Connection(f"http://127.0.0.1:{deaf.getsockname()[1]}", None, 0.5)
    connection.send("hello")
    with pytest.raises(NoReplyInTime):
        connection.receive()
    assert thread.is_alive()  # still sending
    thread.join()


def test_a_failure_leaves_nothing_to_the_garbage_collector() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connection = Connection(f"http://127.0.0.1:{silent.getsockname()[1]}", None, 0.05)
        gc.collect()
        gc.disable()
        try:
            with contextlib.suppress(NoReplyInTime):
                connection.ask("anybody there?")
            alive = weakref.ref(connection)
            del connection
            assert alive() is None
        finally:
            gc.enable()
