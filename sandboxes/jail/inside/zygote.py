"""The zygote: a warm interpreter that slots are forked from, so that no slot waits for an import.

One per process of the host and set of modules. It takes its terms and then one request per slot over the socket that
it was started with, and ends when that closes. It runs nothing of an agent.
"""

from __future__ import annotations

import gc
import importlib
import os
import random
import signal
import socket
import struct
import sys
from typing import Any, NoReturn

from . import enter, fenced, interpreter, kernel, layout, root, seccomp, view
from .starting import Place
from .supervisor import Supervisor
from .wire import LENGTH, Broken, Channel, frame, parse

# What every script may need soon; imported once here instead of in each.
USUAL = """
    atexit bisect collections copy csv datetime decimal functools hashlib heapq io itertools json linecache math
    operator random re statistics string subprocess tempfile threading time traceback types typing uuid
"""
PATH = "/usr/local/bin:/usr/bin:/bin"


class Zygote:
    """Serves one host process.

    Args:
        control: To the host.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        terms, _ = receive(control)
        if terms is None:
            os._exit(0)
        try:
            room = layout.make_room()
            self._import(terms["modules"])
            own_root = terms["tier"] == "A"
            self._view = view.look(terms["cover"], view.moved() if own_root else {})
            if own_root:
                view.tell_modules()
            self._gathering_fault = self._gather(own_root)
            self._filters = seccomp.program(seccomp.machine(), landlock=not own_root)
            seccomp.fixed_processes(seccomp.machine())  # kept, for all notebooks
        except Exception as error:
            self._control.sendall(frame({"error": str(error), "module": getattr(error, "module", None)}))
            os._exit(1)
        # What all forks would do is done here: each would have a copy of every page that it writes to.
        os.environ.clear()
        os.environ.update(_environment())
        interpreter.sow(0)
        gc.collect()
        self._filling = (room, layout.fill_gaps())
        layout.large_pages()
        gc.freeze()
        gc.disable()  # a collection in a fork would copy every page that holds an object
        self._control.sendall(frame({"ready": True, "pid": os.getpid()}))

    def serve(self) -> NoReturn:
        """Fork a slot for each request, until the host is gone."""
        while True:
            request, fds = receive(self._control)
            if request is None:
                os._exit(0)
            if not fds:
                continue
            if kernel.fork() == 0:
                self._start(request, fds[0])
            for fd in fds:
                os.close(fd)

    def _import(self, modules: list[str]) -> None:
        view.keep_own_paths()
        for name in [*USUAL.split(), *modules]:
            try:
                importlib.import_module(name)
            except BaseException as error:
                failure = ImportError(f"{type(error).__name__}: {error}")
                failure.module = name  # type: ignore[attr-defined]
                raise failure from error
        if "numpy" in sys.modules:
            importlib.import_module("numpy.random").seed(0)  # makes the generator, which is put off otherwise
            importlib.import_module("numpy.ma")  # which a median or a quantile would import, in each fresh call again

    def _gather(self, own_root: bool) -> str | None:
        if os.getuid() != 0:
            return None
        try:
            if own_root:
                self._view = self._view._replace(shown=view.gather(self._view.shown))
            else:
                fenced.reach(self._view.shown)
            enter.users()  # kept, for all slots
        except OSError as error:
            return str(error)  # in a container; the paths themselves may do, and if not the slot says so
        return None

    def _start(self, request: dict[str, Any], fd: int) -> NoReturn:
        """In a fork: become a slot, or say why not."""
        try:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # process 1 gets no signal that it does not handle
            self._control.close()
            host = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fd)
            try:
                self._enter(request, host)
            except Exception as error:
                host.sendall(frame({"error": f"{error}", "type": type(error).__name__}))
                os._exit(1)
        finally:
            os._exit(1)

    def _enter(self, request: dict[str, Any], host: socket.socket) -> NoReturn:
        extra = [view.Shown(*pair) for pair in request["read_only"]]
        if request["tier"] == "B":
            place, number, outer = fenced.start(self._view, extra, host)
        else:
            place, number = self._own_root(request["limits"], extra)
            outer = number
        if place.writable != tuple(root.FOLDERS.values()):
            os.environ.update(_folders(place.writable))
        if request["env"]:
            os.environ.update(request["env"])
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
        kernel.drop_capabilities()
        seccomp.install(self._filters)
        self._check()
        watched = not place.counts and place.bound is None
        host.sendall(frame({"ready": True, "pid": number, "outer": outer, "watched": watched}))
        _work(request, host, place, request["limits"])

    def _own_root(self, limits: dict[str, Any], extra: list[view.Shown]) -> tuple[Place, int]:
        """Tier A: into namespaces and a root of one's own; where that is, and the number on the host."""
        if os.getuid() == 0:
            user, lock = enter.free_user(os.getpid())
            lock.detach()  # held until this process ends
            if extra:
                extra = view.gather(extra, self._view.shown)
            enter.become(user)
        user, group = os.getuid(), os.getgid()
        enter.namespaces()
        built, done = os.pipe()
        # Process 1 waits while this one builds, and so writes to few pages itself: each would be copied for good.
        if kernel.fork():
            enter.name_user(root.USER, user, group)
            root.build(self._view, extra, disk=limits["disk"], files=limits["files"])
            kernel.hostname("sandbox")
            os.write(done, b"!")
            os._exit(0)
        number = enter.own_host_pid()
        os.close(done)
        if not os.read(built, 1):  # the host has been told why
            os._exit(1)
        os.close(built)
        kept = root.enter()
        return Place(tuple(root.FOLDERS.values()), kept.proc, kept.vault), number

    def _check(self) -> None:
        """See that the interpreter's files can be read from here, or a later import would fail without a reason."""
        library = os.path.dirname(os.__file__)
        try:
            os.listdir(library)
        except OSError as error:
            reason = f" ({self._gathering_fault})" if self._gathering_fault else ""
            raise OSError(
                f"the interpreter's files in {library} cannot be read from a slot: {error}{reason}"
            ) from error


def _work(request: dict[str, Any], host: socket.socket, place: Place, limits: dict[str, Any]) -> NoReturn:
    try:
        if request["program"] is not None:
            if place.bound is not None:
                place.bound.allow(limits["processes"])
                place.bound.close()  # for all but what the program itself forks, which is trusted
            if place.confine is not None:
                place.confine()
            random.seed()
            scope: dict[str, Any] = {"__name__": "program"}
            exec(compile(request["program"], "<program>", "exec"), scope)
            scope["main"](host, request["config"])
        else:
            Supervisor(Channel(host.fileno(), host.fileno()), place, limits).serve()
    finally:
        os._exit(0)


def _environment() -> dict[str, str]:
    """What programs in a slot find set, where its folders are those of tier A."""
    programs = os.path.dirname(sys.executable)
    return {
        "PATH": PATH if programs in PATH.split(":") else f"{programs}:{PATH}",
        **_folders(tuple(root.FOLDERS.values())),
        "USER": "sandbox",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }


def _folders(writable: tuple[str, ...]) -> dict[str, str]:
    return {"HOME": writable[0], "PWD": writable[0], "TMPDIR": writable[1]}


def receive(control: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """One message from the host and the descriptors that came along; None once the host is gone."""
    data, ancillary, _, _ = control.recvmsg(LENGTH.size, socket.CMSG_SPACE(4))
    fds: list[int] = []
    for level, kind, sent in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds += struct.unpack(f"={len(sent) // 4}i", sent[: len(sent) // 4 * 4])
    while 0 < len(data) < LENGTH.size:
        more = control.recv(LENGTH.size - len(data))
        if not more:
            return None, fds
        data += more
    if not data:
        return None, fds
    length = LENGTH.unpack(data)[0]
    body = bytearray()
    while len(body) < length:
        more = control.recv(length - len(body))
        if not more:
            return None, fds
        body += more
    try:
        return parse(body), fds
    except Broken:
        return None, fds


def main(number: int) -> NoReturn:
    """Become a zygote on an inherited socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is the host's to handle
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    Zygote(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, number)).serve()
