"""The host's end of zygotes: one warm interpreter per process and set of modules, from which slots are forked.

A zygote is started when the first slot of its kind is asked for. It ends when this process does, however that comes
about, because its socket closes then. A process made by `os.fork` starts its own.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import tir_gym
from tir_gym.errors import InfrastructureError, SandboxUnavailable, UsageError
from tir_gym.sandboxes.jail.inside import wire

INSIDE = Path(__file__).resolve().parent / "inside"
START_SECONDS = 120.0
"""For importing the modules; large ones take a while on a busy machine."""
LARGEST_ANSWER = 1 << 20

# Nothing of the host's environment reaches the inside. Threads of numerical libraries would not survive a fork, and
# each fork would bind for itself what is not bound now.
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/",
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "LD_BIND_NOW": "1",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


class Zygote:
    """A running zygote.

    Args:
        modules: What it imports beforehand.
        tier: Of the slots that it starts.

    Raises:
        UsageError: A module cannot be imported.
        SandboxUnavailable: The interpreter cannot be started.
    """

    def __init__(self, modules: tuple[str, ...], tier: str) -> None:
        self._lock = threading.Lock()
        self.alive = True
        if not sys.platform.startswith("linux"):
            raise SandboxUnavailable(
                f"the jail needs Linux and this is {sys.platform}; a container works: make_sandbox('container')",
                kind="tier_missing",
            )
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket = ours
        with theirs, tempfile.TemporaryFile() as said:
            # Not `-I`: that ignores PYTHONHASHSEED too. The environment is empty but for what stands above, and `-s`
            # and `-P` keep the user's packages and this folder off the path.
            command = [sys.executable, "-s", "-P", "-X", "utf8", str(INSIDE), str(theirs.fileno())]
            self._process = subprocess.Popen(
                command,
                env=ENVIRONMENT,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
            theirs.close()
            try:
                ours.settimeout(START_SECONDS)
                ours.sendall(wire.frame({"modules": list(modules), "tier": tier, "cover": _covered()}))
                answer = _receive(ours)
            except (OSError, wire.Broken) as error:
                self.close()
                said.seek(0)
                text = said.read(4000).decode("utf-8", "replace").strip()
                raise SandboxUnavailable(f"{sys.executable} started no zygote: {text or error}") from error
        if "error" in answer:
            self.close()
            if answer.get("module"):
                raise UsageError(
                    f"modules: {answer['module']!r} cannot be imported by {sys.executable} ({answer['error']}); "
                    "install it there, or leave it out"
                )
            raise SandboxUnavailable(f"{sys.executable} started no zygote: {answer['error']}", kind="tier_missing")
        self.pid: int = answer["pid"]

    def start(self, request: dict[str, Any]) -> tuple[socket.socket, dict[str, Any]]:
        """Start a slot.

        Args:
            request: What it is to be.

        Returns:
            The socket to it, and its answer: `pid`, or `error`.

        Raises:
            BrokenPipeError: The zygote is gone.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            data = wire.frame(request)
            passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("=i", theirs.fileno()))]
            try:
                with self._lock:
                    sent = self._socket.sendmsg([data], passed)
                    self._socket.sendall(data[sent:])
            except OSError as error:
                ours.close()
                self.close()
                raise BrokenPipeError("the zygote is gone") from error
        try:
            ours.settimeout(START_SECONDS)
            return ours, _receive(ours)
        except (OSError, wire.Broken) as error:
            ours.close()
            if self._process.poll() is not None:
                self.close()
                raise BrokenPipeError("the zygote is gone") from error
            raise InfrastructureError(f"a slot of the jail ended while it started: {error}") from error

    def close(self) -> None:
        """Let it end; slots that run already go on."""
        self.alive = False
        self._socket.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def disown(self) -> None:
        """In a forked process: leave it to the parent."""
        self.alive = False
        self._socket.close()
        self._process.returncode = 0  # not this process's child, so not this one's to wait for


def zygote(modules: tuple[str, ...], tier: str = "A") -> Zygote:
    """The zygote of this process with these modules and for this tier, started if there is none.

    Raises:
        UsageError, SandboxUnavailable: See `Zygote`.
    """
    with _lock:
        found = _zygotes.get((modules, tier))
        if found is None or not found.alive:
            found = _zygotes[modules, tier] = Zygote(modules, tier)
        return found


def _covered() -> list[str]:
    """Where this package's own code lies: tasks are made by it, with their answers."""
    package = Path(tir_gym.__file__).resolve().parent
    checkout = package.parent
    return [str(checkout if (checkout / "pyproject.toml").exists() else package)]


def _receive(end: socket.socket) -> dict[str, Any]:
    head = _exactly(end, wire.LENGTH.size)
    length = wire.LENGTH.unpack(head)[0]
    if length > LARGEST_ANSWER:
        raise wire.Broken(f"an answer of {length} bytes")
    return wire.parse(_exactly(end, length))


def _exactly(end: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = end.recv(size - len(data))
        if not more:
            raise wire.Broken("it ended without an answer")
        data += more
    return data


_zygotes: dict[tuple[tuple[str, ...], str], Zygote] = {}
_lock = threading.Lock()


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    for one in _zygotes.values():
        one.disown()
    _zygotes.clear()


def _at_exit() -> None:
    for one in _zygotes.values():
        with contextlib.suppress(OSError):
            one.close()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
