"""Starting a server's process: under a keeper, in a clean environment, or in a slot of the jail."""

from __future__ import annotations

import contextlib
import inspect
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from tir_gym.errors import SandboxUnavailable, UsageError
from tir_gym.sandbox import Limits

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Launched(Protocol):
    """A process that was started."""

    fds: dict[str, int]
    """This end of its pipes: `in`, `out`, perhaps `err`, and perhaps `hold`, which it lives on."""

    def poll(self) -> int | None:
        """Its exit status, below 0 if that is not known, or None while it lives."""
        ...

    def kill(self) -> None:
        """End it, and wait for nothing."""
        ...

    def clean(self) -> None:
        """Remove what is left of it."""
        ...


class Launch(Protocol):
    """How to start one."""

    def __call__(self) -> Launched: ...


class Kept:
    """A program under a keeper (`keeper.py`): with an environment and a folder of its own, and gone when it should be.

    Args:
        command: The program and its arguments.
        env: Variables that it gets besides `PATH`, `LANG`, `HOME` and `TMPDIR`.
        cwd: Working folder instead of its own one.

    Raises:
        SandboxUnavailable: There is no such program.
    """

    def __init__(self, command: Sequence[str], env: Mapping[str, str], cwd: str | None) -> None:
        program = found(command[0], env)
        self._folder = tempfile.mkdtemp(prefix="tir-gym-mcp-")
        keeper = Path(__file__).with_name("keeper.py")
        control, hold = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(keeper), str(control), self._folder, program, *command[1:]],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env={"PATH": _PATH, "LANG": "C.UTF-8", "HOME": self._folder, "TMPDIR": self._folder, **env},
                cwd=cwd or self._folder,
                pass_fds=(control,),
                start_new_session=True,
            )
        except OSError as error:
            os.close(hold)
            self.clean()
            raise SandboxUnavailable(f"cannot start {command[0]!r}: {error}", kind="server_missing") from error
        finally:
            os.close(control)
        self.fds = {"hold": hold}
        for name, pipe in (("in", self._process.stdin), ("out", self._process.stdout), ("err", self._process.stderr)):
            assert pipe is not None
            self.fds[name] = os.dup(pipe.fileno())
            pipe.close()

    def poll(self) -> int | None:
        return self._process.poll()

    def kill(self) -> None:
        self._process.kill()

    def clean(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)  # the keeper has done it, unless it was killed


class Jailed:
    """A program in a slot of the jail: no network, no file of the host but programs, libraries and what is shown.

    Its last words are not heard, for a slot has one way out. Of the limits, `memory` holds for each of its processes.

    Args:
        command: The program and its arguments, as they are called inside.
        env: Variables that it gets besides those of a slot.
        shown: Folders and files of the host to show, and where; read-only.
        limits: What it may use.

    Raises:
        SandboxUnavailable: There is no such program, or no jail on this host.
    """

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], shown: Mapping[str, str], limits: Limits
    ) -> None:
        from tir_gym.sandboxes.jail.slot import start_slot
        from tir_gym.sandboxes.mcp import jailed

        within = [inside for inside in shown.values() if command[0].startswith(inside)]
        program = command[0] if within else found(command[0], env)
        if program == str(Path(sys.executable).absolute()):
            program = ""  # this interpreter, wherever it stands inside
        for host in shown:
            if not os.path.exists(host):
                raise UsageError(f"read_only: there is no {host} to show")
        self._slot = start_slot(
            limits,
            modules=(),
            env=env,
            read_only=shown.items(),
            program=inspect.getsource(jailed),
            config={"command": [program, *command[1:]], "limits": limits.model_dump()},
        )
        end = self._slot.socket.fileno()
        self.fds = {"in": os.dup(end), "out": os.dup(end)}

    def poll(self) -> int | None:
        return None if self._slot.alive else -1

    def kill(self) -> None:
        self._slot.close()

    def clean(self) -> None:
        self._slot.close()


def found(program: str, env: Mapping[str, str]) -> str:
    """The program's whole path.

    Raises:
        SandboxUnavailable: There is none of that name.
    """
    path = shutil.which(program, path=env.get("PATH", os.environ.get("PATH", _PATH)))
    if path is None:
        fix = "give its arguments as args=[...]" if " " in program else "install it or give its whole path"
        raise SandboxUnavailable(
            f"no program {program!r} to start as an MCP server; {fix}",
            kind="server_missing",
        )
    return str(Path(path).absolute())


def abandon(launched: Launched) -> None:
    """In a forked child: let go of the parent's pipes without touching its server."""
    for descriptor in launched.fds.values():
        with contextlib.suppress(OSError):
            os.close(descriptor)
    launched.fds.clear()
