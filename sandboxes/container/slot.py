"""A slot in a container of its own: the jail's supervisor as PID 1, driven over the container's pipe.

The supervisor is sent to the container and not built into its image, so that any image with Python does. The engine's
own way to run something in a container (`exec`) is not used: it takes twenty times as long.
"""

from __future__ import annotations

import base64
import logging
import os
import signal
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tir_gym.errors import SandboxDied, SandboxUnavailable, UsageError
from tir_gym.sandbox import MIB, Limits
from tir_gym.sandboxes.container.commit import KEPT
from tir_gym.sandboxes.container.engine import Engine, failures, sdk
from tir_gym.sandboxes.container.hardening import TEMPORARY, USER, WORK, breach, host_config, refused, widen
from tir_gym.sandboxes.container.image import missing
from tir_gym.sandboxes.container.reaping import OWNER, owner, started
from tir_gym.sandboxes.container.seccomp import ARCHITECTURES, profile
from tir_gym.sandboxes.container.stream import Stream
from tir_gym.sandboxes.jail.inside import wire
from tir_gym.sandboxes.jail.inside.seccomp import program

log = logging.getLogger("tir_gym.sandbox")

GRACE = 15.0
"""Seconds that the container has to answer, beyond those that a call may take by its limits."""
START_SECONDS = 60.0
PICTURES_AT_ONCE = 8
GONE_SECONDS = 10.0
"""How long the end of a container is waited for when it is closed."""

HERE = Path(__file__).parent
BEFORE_ALL = "import sys; i = sys.stdin.buffer; exec(i.read(int(i.read(8))))"
"""The command of a container: reads its first program, which has its length in eight digits before it."""
FIRST = (HERE / "first.py").read_bytes()
"""The first program: reads the supervisor and becomes it."""
SUPERVISOR: Mapping[str, str] = {
    path.stem: path.read_text() for path in sorted((HERE.parent / "jail" / "inside").glob("*.py"))
}
"""Source of the supervisor, by module."""
ENVIRONMENT: Mapping[str, str] = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": WORK,
    "PWD": WORK,
    "USER": "sandbox",
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    # One thread each: what a sandbox may use is one processor by default, and threads count as processes.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class Terms:
    """What a container is made from. Equal terms make equal containers."""

    image: str
    limits: Limits
    modules: tuple[str, ...] = ()
    cpus: float = 1.0
    network: str | None = None
    runtime: str | None = None


class ContainerSlot:
    """A container, from its start to its end; see `jail/slot.py` for the requests it answers.

    Args:
        engine: Where it runs.
        terms: What it is made from.

    Raises:
        SandboxUnavailable: No such image (`image_missing`), or the engine does not start it on these terms.
        SandboxDied: The engine went away.
        UsageError: The image lacks one of the modules.
    """

    def __init__(self, engine: Engine, terms: Terms) -> None:
        self.engine = engine
        self.limits = terms.limits
        self.id = create(engine, terms)
        self._lock = threading.Lock()
        self._number = 0
        self._pictures = self._room = 0
        self._host_process: list[tuple[int, str]] = []
        try:
            with failures(engine, "to start a container"):
                self._stream = Stream(engine, self.id)
        except BaseException:
            _remove(engine, self.id, [])
            raise
        self._end = weakref.finalize(self, _end, os.getpid(), engine, self.id, self._stream, self._host_process)
        _open.add(self)
        try:
            with failures(engine, "to start a container"):
                engine.client.api.start(self.id)
                self._host_process += _host_process(engine, self.id)
            self._begin(terms)
        except BaseException:
            self.close()
            raise

    @property
    def alive(self) -> bool:
        """Whether requests can be made: it is open, and neither the container nor the engine has ended."""
        return self._end.alive and not self._stream.ended

    def request(self, op: str, **fields: Any) -> dict[str, Any]:
        """Ask the supervisor.

        Raises:
            SandboxDied: The container is gone or answers no more.
        """
        with self._lock:
            if not self._end.alive:
                raise SandboxDied(f"container {self.id[:12]} is closed")
            self._number += 1
            if op == "snapshot":
                self._make_room()
            elif op == "drop":
                self._pictures -= 1
            wall = (fields.get("limits") or {}).get("wall_seconds", self.limits.wall_seconds)
            return self._exchange({"op": op, "n": self._number, **fields}, wall + GRACE)

    def close(self) -> None:
        """End the container. Safe to call twice."""
        self._end()

    def forget(self) -> None:
        """Leave the container to the process that this one was forked from."""
        self._end.detach()
        self._stream.forget()

    def _make_room(self) -> None:
        """Snapshots are processes, which the engine counts like all others."""
        self._pictures += 1
        if self._pictures > self._room:
            self._room += PICTURES_AT_ONCE
            with failures(self.engine, "to let a container have more snapshots"):
                widen(self.engine, self.id, self.limits, self._room)

    def _begin(self, terms: Terms) -> None:
        machine = ARCHITECTURES[self.engine.architecture][0]
        sent = {
            "sources": SUPERVISOR,
            "environment": ENVIRONMENT,
            "modules": terms.modules,
            "limits": terms.limits.model_dump(),
            "writable": [WORK, TEMPORARY],
            "kept": KEPT,
            "files": terms.limits.files if self.engine.is_podman else None,
            "filters": base64.b64encode(program(machine, network=terms.network is not None)).decode(),
        }
        ready = self._exchange({"n": 0, **sent}, START_SECONDS, b"%08d" % len(FIRST) + FIRST)
        problem = breach(ready["walls"], terms.runtime)
        if problem is not None:
            raise problem
        if ready["unfit"]:
            raise SandboxUnavailable(
                f"the supervisor cannot work in a container of {terms.image!r} under this kernel: {ready['unfit']}",
                kind="runtime_unfit",
            )
        if "missing" in ready:
            raise UsageError(f"modules: the image {terms.image!r} has none that is called {ready['missing']}")

    def _exchange(self, message: dict[str, Any], seconds: float, before: bytes = b"") -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        try:
            self._stream.send(before + wire.frame(message), deadline)
            length = wire.LENGTH.unpack(self._stream.receive(wire.LENGTH.size, deadline))[0]
            if length > self._largest():
                raise wire.Broken(f"an answer of {length} bytes")
            reply = wire.parse(self._stream.receive(length, deadline))
            number = reply.pop("n", None)
            if number != message["n"]:
                raise wire.Broken(f"an answer to request {number!r} instead of {message['n']}")
            return reply
        except BaseException as error:
            # Whatever came in between, a Ctrl-C too, half an answer may be left in the pipe.
            said = self._stream.errors
            self.close()
            if not isinstance(error, (OSError, EOFError, wire.Broken)):
                raise
            how = f"gave no answer within {seconds:g} s" if isinstance(error, TimeoutError) else f"is gone: {error}"
            doing = message.get("op", "its start")
            raise SandboxDied(
                f"container {self.id[:12]} on {self.engine} {how} (at {doing})" + (f"; it said: {said}" if said else "")
            ) from error

    def _largest(self) -> int:
        # Text may be six bytes a character, and twice over for output and errors; files come as base64.
        return 16 * MIB + 12 * self.limits.output + 2 * self.limits.disk


_open: weakref.WeakSet[ContainerSlot] = weakref.WeakSet()


def _forget_all() -> None:
    for slot in list(_open):
        slot.forget()


# A forked process holds copies of the connections; while it lives, the containers would outlive their owner.
os.register_at_fork(after_in_child=_forget_all)


def create(engine: Engine, terms: Terms) -> str:
    """A container that is not started yet; its id."""
    errors = sdk().errors
    api = engine.client.api
    with failures(engine, "to make a container"), _seccomp(engine, terms.network is not None) as filter:
        config = host_config(
            engine,
            terms.limits,
            cpus=terms.cpus,
            network=terms.network,
            runtime=terms.runtime,
            seccomp=filter,
        )
        try:
            created = api.create_container(
                terms.image,
                ["python3", "-s", "-X", "utf8", "-c", BEFORE_ALL],
                user=f"{USER}:{USER}",
                working_dir=WORK,
                environment=dict(ENVIRONMENT),
                hostname="sandbox",
                entrypoint=[],
                stdin_open=True,
                labels={OWNER: owner()},
                host_config=config,
            )
        except errors.ImageNotFound as error:
            raise missing(engine, terms.image) from error
        id = str(created["Id"])
        problem = refused(engine, terms.runtime, created)
        if problem is not None:
            _remove(engine, id, [])
            raise problem
        return id


@contextmanager
def _seccomp(engine: Engine, network: bool) -> Iterator[str]:
    """The filter as the engine takes it: its text, or for Podman the path of a file, which it reads at once."""
    text = profile(engine.architecture, network=network)
    if not engine.is_podman:
        yield text
        return
    with tempfile.NamedTemporaryFile("w", prefix="tir-gym-seccomp-", suffix=".json") as file:
        file.write(text)
        file.flush()
        yield file.name


def _host_process(engine: Engine, id: str) -> list[tuple[int, str]]:
    """PID 1 of the container as this machine knows it, and when it started; nothing where the engine is elsewhere."""
    process = int(engine.client.api.inspect_container(id)["State"].get("Pid") or 0)
    since = started(process) if process and engine.url.startswith("unix://") else "-"
    return [(process, since)] if since != "-" else []


def _end(owner: int, engine: Engine, id: str, stream: Stream, host_process: list[tuple[int, str]]) -> None:
    if os.getpid() != owner:
        return
    stream.close()
    _remove(engine, id, host_process)


def _remove(engine: Engine, id: str, host_process: list[tuple[int, str]]) -> None:
    """Remove the container; where the engine is gone, kill what runs in it, if this process may."""
    api, errors = engine.client.api, sdk().errors
    try:
        with suppress(errors.APIError):  # it is just being removed, or is no more
            api.remove_container(id, force=True, v=True)
        deadline = time.monotonic() + GONE_SECONDS
        while time.monotonic() < deadline:
            with suppress(errors.NotFound):
                api.inspect_container(id)
                time.sleep(0.01)
                continue
            return
    except errors.APIError as error:
        log.debug("container %s: %s", id, error)  # Podman's way of saying that it has just gone
    except (errors.DockerException, OSError):
        for process, since in host_process:
            if started(process) == since:
                with suppress(OSError):
                    os.kill(process, signal.SIGKILL)
