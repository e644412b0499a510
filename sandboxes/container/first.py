"""The first program of a container: reads the supervisor's source and settings from its input, and becomes it.

It is itself sent there (`slot.BEFORE_ALL` reads it), so it imports nothing of this package. It says on its output what
it found of the walls around it, before any code of an agent runs.
"""

from __future__ import annotations

import base64
import functools
import gc
import importlib
import importlib.util
import json
import os
import signal
import struct
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

PACKAGE = "jail_inside"


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one signal that process 1 would hear from agents
    # Buffered, which may read ahead; but nothing follows before this has answered.
    source = sys.stdin.buffer
    sent = json.loads(source.read(struct.unpack("<I", source.read(4))[0]))
    # Whatever is printed by accident must not get between the frames.
    reads, writes = os.dup(0), os.dup(1)
    nothing = os.open("/dev/null", os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.close(nothing)
    os.environ.clear()
    os.environ.update(sent["environment"])
    sys.path[:] = [entry for entry in sys.path if entry]  # the work folder is no place to import from, yet
    sys.meta_path.insert(0, Sent(sent["sources"]))
    answer: dict[str, Any] = {"n": 0, "walls": walls(), "unfit": unfit()}
    try:
        load(sent["modules"])
    except ImportError as error:
        answer["missing"] = str(error)
    supervisor = None
    try:
        supervisor = None if answer["unfit"] else make_supervisor(sent, reads, writes)
    except Exception as error:
        answer["unfit"] = f"{type(error).__name__}: {error}"
    body = json.dumps(answer).encode()
    os.write(writes, struct.pack("<I", len(body)) + body)
    if supervisor is not None:
        supervisor.serve()


def load(names: list[str]) -> None:
    """Import what forks are to find imported."""
    usual = importlib.import_module(f"{PACKAGE}.zygote").USUAL.split()
    for name in [*usual, *names]:
        importlib.import_module(name)
    if "numpy" in sys.modules:
        importlib.import_module("numpy.random").seed(0)  # makes the generator, which each fork would make anew


def make_supervisor(sent: dict[str, Any], reads: int, writes: int) -> Any:
    """The jail's, told where it finds itself: in a place that is walled in already."""
    files, interpreter, kernel, seccomp, starting, supervisor, wire = (
        importlib.import_module(f"{PACKAGE}.{name}")
        for name in ("files", "interpreter", "kernel", "seccomp", "starting", "supervisor", "wire")
    )
    if os.path.exists(sent["kept"]):
        with open(sent["kept"], "rb") as file:
            files.Tree(tuple(sent["writable"]), None).unpack(base64.b64encode(file.read()).decode())
    filters = base64.b64decode(sent["filters"])
    place = starting.Place(
        writable=tuple(sent["writable"]),
        proc=os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC),
        vault=None,
        counts=False,  # one user has all containers of this machine
        files=sent["files"],
        confine=functools.partial(seccomp.install, filters) if filters else None,
    )
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    gc.collect()
    gc.freeze()
    gc.disable()  # a collection in a fork would copy every page that holds an object
    interpreter.sow(0)
    return supervisor.Supervisor(wire.Channel(reads, writes), place, sent["limits"])


def walls() -> dict[str, str]:
    """What the kernel says of this process: user, capabilities, filter, whether privileges can be gained."""
    with open("/proc/self/status") as file:
        lines = dict(line.rstrip("\n").split(":", 1) for line in file)
    wanted = ("Uid", "CapPrm", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp")
    return {name: lines[name].strip() for name in wanted if name in lines}


def unfit() -> str | None:
    """Why the supervisor could not work under this kernel, which need not be the host's."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError) as error:
        return f"no pidfd_open (Linux 5.3, Python 3.9): {error}"
    return None


class Sent(MetaPathFinder, Loader):
    """The supervisor's modules, whose source was sent."""

    def __init__(self, sources: dict[str, str]) -> None:
        self.sources = sources

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        package, _, module = name.partition(".")
        if package != PACKAGE or (module or "__init__") not in self.sources:
            return None
        return importlib.util.spec_from_loader(name, self, is_package=not module)

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        module.__file__ = f"<{name}>"  # by which tracebacks are told apart
        exec(compile(self.sources[name.partition(".")[2] or "__init__"], module.__file__, "exec"), module.__dict__)


if __name__ == "__main__":
    main()
