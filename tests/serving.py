"""Servers and bare clients for the tests: a real process where it is killed or loaded, else one in a thread."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tir_gym.envs.remote.connection import Connection
from tir_gym.server import Bounds, Catalogue, EnvironmentServer, Terms

HERE = Path(__file__).parent


@contextlib.contextmanager
def server_process(*options: str, **variables: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`tir-gym serve` on a free port: its URL and process."""
    program = "import sys; from tir_gym.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "serve", *options, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=HERE, env={**os.environ, **variables})
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said.startswith("tir-gym serves at http://"), said
        yield said.split()[3], process
    finally:
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def server_here(*ids: str, token: str | None = None, expose_gold: bool = False, **bounds: Any) -> Iterator[str]:
    """A server in a thread of this process: its URL."""
    server = EnvironmentServer(Catalogue(ids), Bounds(**bounds), Terms(port=0, token=token, expose_gold=expose_gold))
    with server.background() as url:
        yield url


class BareClient:
    """Sends what it is told to and gives replies as they come."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url
        self.connection = Connection(url, token, 30.0)
        self.session = ""
        self.last = 0

    def say(self, **message: Any) -> dict[str, Any]:
        """One message and its reply."""
        reply: dict[str, Any] = json.loads(self.connection.ask(json.dumps(message)))
        return reply

    def open(self, env_id: str | None = None, **options: Any) -> dict[str, Any]:
        reply = self.say(op="create", id=os.urandom(10).hex(), env_id=env_id, options=options)
        self.session, self.last = reply["result"]["session"], 0
        return reply

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """The session's next request."""
        self.last += 1
        return self.say(op=op, id=self.last, session=self.session, **fields)


def http(url: str, message: Any = None, **headers: str) -> tuple[int, str]:
    """Status and text of a GET, or of a POST where there is a message."""
    body = None if message is None else message if isinstance(message, bytes) else json.dumps(message).encode()
    try:
        with urlopen(Request(url, body, headers), timeout=30) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()
