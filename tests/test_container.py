"""What of the sandbox `container` can be told without an engine: errors, the pipe's frames, whose a container is.

With an engine: `test_container_engine.py`.
"""

from __future__ import annotations

import errno
import json
import os
import random
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tir_gym.errors import SandboxUnavailable, UsageError
from tir_gym.records import ToolCall
from tir_gym.sandboxes import make_sandbox
from tir_gym.sandboxes.container import connect
from tir_gym.sandboxes.container.reaping import orphaned, owner
from tir_gym.sandboxes.container.seccomp import ARCHITECTURES, profile
from tir_gym.sandboxes.container.stream import KEPT_ERRORS, Stream
from tir_gym.sandboxes.jail.inside.seccomp import NETWORK
from tir_gym.sandboxes.jail.inside.syscalls import numbers

docker = pytest.importorskip("docker", reason="the Docker SDK is not installed: pip install 'tir-gym[docker]'")

CALL = ToolCall("python", {"code": "print(1)"})


def test_no_engine_is_said_with_how_to_start_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = f"unix://{tmp_path}/engine.sock"
    for make in (
        lambda: make_sandbox("container", engine=nobody).start(),
        lambda: make_sandbox("container", engine=nobody).call(CALL),
    ):
        with pytest.raises(SandboxUnavailable, match=r"engine\.sock.*podman system service") as caught:
            make()
        assert caught.value.kind == "engine_missing"
    monkeypatch.setenv("DOCKER_HOST", nobody)
    with pytest.raises(SandboxUnavailable, match=r"engine\.sock"):
        connect()


def test_what_listens_but_is_no_engine_is_none(tmp_path: Path) -> None:
    path = tmp_path / "engine.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        child = os.fork()
        if child == 0:
            with listener.accept()[0] as connection:
                connection.recv(100)
                connection.sendall(b"220 mail.example.org ESMTP\r\n")
            os._exit(0)
        with pytest.raises(SandboxUnavailable, match="no container engine answers"):
            connect(f"unix://{path}")
        os.waitpid(child, 0)


def test_without_the_sdk_the_extra_is_named() -> None:
    program = """
import sys
sys.modules["docker"] = None  # as if it were not installed
from tir_gym.errors import MissingExtra
from tir_gym.sandboxes import make_sandbox
try:
    make_sandbox("container").start()
except MissingExtra as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "pip install 'tir-gym[docker]'" in done.stdout


def test_options_that_cannot_be_are_refused() -> None:
    with pytest.raises(UsageError, match="choose 'session' or 'fresh'"):
        make_sandbox("container", mode="cold")
    with pytest.raises(UsageError, match="cpus="):
        make_sandbox("container", cpus=0)
    with pytest.raises(UsageError, match="has no option 'colour'"):
        make_sandbox("container", colour="blue")


def rules(architecture: str, network: bool) -> dict[str, list[dict[str, Any]]]:
    """Call -> its rules in the profile."""
    found: dict[str, list[dict[str, Any]]] = {}
    for rule in json.loads(profile(architecture, network=network))["syscalls"]:
        for name in rule["names"]:
            found.setdefault(name, []).append(rule)
    return found


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
@pytest.mark.parametrize("network", [False, True])
def test_the_engine_s_filter_says_what_the_jail_s_does(architecture: str, network: bool) -> None:
    table = numbers(ARCHITECTURES[architecture][0])
    found = rules(architecture, network)
    opened = {*NETWORK} if network else set()
    supervisor = {"seccomp", "memfd_create"}  # it needs these itself; its children are under the jail's own filter
    for name in {*table["allowed"], *opened, *supervisor}:
        assert [rule["action"] for rule in found[name]] == ["SCMP_ACT_ALLOW"], name
        assert found[name][0]["args"] == [], name
    for name in set(table["refused"]) - opened - supervisor:
        assert name not in found, f"{name} is left to the default, which refuses"
    for name in set(table["examined"]) - opened:
        assert all(rule["action"] == "SCMP_ACT_ALLOW" and rule["args"] for rule in found[name]), name
    for name in set(table["absent"]) - supervisor:
        assert [(rule["action"], rule["errnoRet"]) for rule in found[name]] == [("SCMP_ACT_ERRNO", errno.ENOSYS)]
    whole = json.loads(profile(architecture, network=network))
    assert (whole["defaultAction"], len(whole["architectures"])) == ("SCMP_ACT_ERRNO", 1)


class FakeEngine:
    """Hands out one end of a pair of sockets as the attach stream of whatever container."""

    def __init__(self) -> None:
        self.far, self._near = socket.socketpair()
        self.client = SimpleNamespace(api=SimpleNamespace(attach_socket=lambda container, params: self._near))


def framed(kind: int, payload: bytes) -> bytes:
    return struct.pack(">BxxxI", kind, len(payload)) + payload


@given(
    st.lists(st.tuples(st.sampled_from([1, 1, 2]), st.binary(max_size=400)), max_size=30),
    st.integers(0, 2**32),
)
def test_frames_are_taken_apart_however_they_arrive(frames: list[tuple[int, bytes]], seed: int) -> None:
    engine = FakeEngine()
    stream = Stream(engine, "x")  # type: ignore[arg-type]
    draw = random.Random(seed)
    data = b"".join(framed(kind, payload) for kind, payload in frames)
    said = b"".join(payload for kind, payload in frames if kind == 1)
    errors = b"".join(payload for kind, payload in frames if kind == 2)
    got = b""
    deadline = time.monotonic() + 30
    sent = 0
    for left in sorted([*(draw.randrange(len(data) + 1) for _ in range(5)), len(data)]):
        engine.far.sendall(data[sent:left])
        sent = left
    engine.far.close()
    while len(got) < len(said):
        got += stream.receive(draw.randint(1, len(said) - len(got)), deadline)
    assert got == said
    with pytest.raises(EOFError):
        stream.receive(1, deadline)
    assert stream.errors == errors[-KEPT_ERRORS:].decode(errors="replace").strip()
    stream.close()


def test_a_silent_container_is_not_waited_for_beyond_the_deadline() -> None:
    engine = FakeEngine()
    stream = Stream(engine, "x")  # type: ignore[arg-type]
    with pytest.raises(TimeoutError):
        stream.receive(1, time.monotonic() + 0.05)
    with pytest.raises(TimeoutError):
        stream.receive(1, time.monotonic() - 1)
    assert not stream.ended
    engine.far.sendall(framed(1, b"x"))
    assert not stream.ended
    engine.far.close()
    assert stream.ended
    assert stream.receive(1, time.monotonic() + 5) == b"x"
    stream.close()
    assert stream.ended


@pytest.mark.skipif(sys.platform != "linux", reason="processes are told apart by Linux's /proc")
def test_a_container_is_orphaned_when_its_very_owner_is_gone() -> None:
    assert not orphaned(owner())
    child = subprocess.Popen(
        [sys.executable, "-c", "from tir_gym.sandboxes.container.reaping import owner; print(owner()); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    label = child.stdout.readline().strip()
    assert not orphaned(label)
    child.kill()
    while os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT) is None:
        pass
    assert orphaned(label)  # dead, though not yet waited for
    child.communicate()
    assert orphaned(label)
    world, process, since = owner().rsplit(" ", 2)
    assert orphaned(f"{world} {process} {int(since) + 1}"), "another process with the same number"
    assert not orphaned(f"elsewhere {label.split(' ', 1)[1]}"), "whether it lives on another machine cannot be seen"
    assert not orphaned("spoiled")
