"""The agent's interpreter: runs code as a script or as a notebook, in a process forked from the supervisor.

What it reports to the supervisor is a fixed few bytes, because everything in this process is in the agent's hands: a
nonce that is new with each call, how it ended and the exit code. Whatever else comes is taken as the end of it.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import gc
import io
import linecache
import os
import random
import resource
import signal
import socket
import stat
import struct
import sys
import threading
import traceback
import types
import warnings
import weakref
from collections.abc import Callable
from typing import Any, NoReturn

from . import kernel

REPORT = struct.Struct("<16sBi")
ORDER = struct.Struct("<c16sQI")
"""To a session: what to do, nonce, seed, bytes of code that follow."""
ENDS = ("ok", "raised", "memory_limit", "disk_limit", "file_limit", "process_limit")
OK, RAISED, MEMORY, DISK, FILES, PROCESSES = range(6)
NAME = "<tool>"

_places: dict[int, int] = {}
"""In a snapshot: `_open_files` when it was taken."""


def run_script(control: int) -> NoReturn:
    """Wait for code, run it as a program of its own, report, and end the process.

    Args:
        control: Number of a socket that it is ordered by and reports to.
    """
    handlers = _exit_handlers()
    scope = begin(0)
    own = os.getpid()
    _, nonce, seed, length = _order(os.read(control, ORDER.size))
    if seed:
        sow(seed)
    try:
        code = _code(length, lambda most: os.read(control, most))
    except MemoryError:
        end, number = MEMORY, 1
    else:
        end, number = run(code, scope)
    # What an interpreter does at its end, as far as there is anything to do.
    steps: list[Callable[[], object]] = []
    if threading.active_count() > 1:
        steps.append(threading._shutdown)  # type: ignore[attr-defined]
    if _exit_handlers() != handlers:
        steps.append(atexit._run_exitfuncs)
    for step in (*steps, scope.clear, gc.collect, _flush):  # files that were left open are written at last
        try:
            step()
        except BaseException as error:
            explain(error, None)
    if os.getpid() != own:  # a child that the code forked, come to the end of the code like its parent
        os._exit(number)
    try:
        os.write(control, REPORT.pack(nonce, end, number))
    finally:
        os._exit(0)


def serve(control: socket.socket, seed: int) -> NoReturn:
    """Run one piece of code after the other in one scope, as a notebook does, until the supervisor closes the socket.

    On `s` (snapshot) the process forks: the copy waits on the socket that came along, until it is told to go on (`r`)
    as yet another copy of itself.
    """
    scope = begin(seed)
    # A child that the code leaves behind would take orders that are meant for the notebook.
    os.register_at_fork(after_in_child=lambda: _let_go(control))
    keep = [os.dup(number) for number in (0, 1, 2)]
    output = (sys.stdout, sys.stderr)
    ancillary = socket.CMSG_SPACE(4)
    while True:
        head, passed, _, _ = control.recvmsg(ORDER.size, ancillary)
        what, nonce, seed, length = _order(head)
        if what != b"c":
            control = _copy(control, _descriptor(passed), what)
            continue
        code = _code(length, control.recv)
        for number in (0, 1, 2):
            os.dup2(keep[number], number)
        if sys.stdout is not output[0] or sys.stderr is not output[1] or output[0].closed or output[1].closed:
            output = _reopened(output)
        if seed:
            sow(seed - 1)
        own = os.getpid()
        end, number = run(code, scope)
        try:
            _flush()
        except BaseException as error:
            explain(error, None)
        if os.getpid() != own:
            os._exit(number)
        control.send(REPORT.pack(nonce, end, number))


def _order(head: bytes) -> tuple[bytes, bytes, int, int]:
    if len(head) < ORDER.size:  # nobody is there any more
        os._exit(0)
    what, nonce, seed, length = ORDER.unpack(head)
    return what, nonce, seed, length


def _code(length: int, receive: Callable[[int], bytes]) -> str:
    """The code that follows an order."""
    parts = []
    while length:
        part = receive(min(length, 1 << 20))
        if not part:
            os._exit(0)
        parts.append(part)
        length -= len(part)
    return b"".join(parts).decode("utf-8", "surrogatepass")


def begin(seed: int) -> dict[str, Any]:
    """Make this process a Python program's; its global scope."""
    gc.enable()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main = types.ModuleType("__main__")
    main.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = main
    sys.argv = [NAME]
    if seed:  # they come seeded with 0 from the supervisor
        sow(seed)
    return main.__dict__


def sow(seed: int) -> None:
    """Seed the generators that programs use without saying so."""
    random.seed(seed)
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed(seed % (1 << 32))


def run(code: str, scope: dict[str, Any]) -> tuple[int, int]:
    """Run code; how it ended and the exit code."""
    try:
        exec(compile(code, NAME, "exec", dont_inherit=True), scope)
        return OK, 0
    except SystemExit as error:
        return _exited(error.code)
    except BaseException as error:
        explain(error, code)
        return _kind(error), 1


def explain(error: BaseException, code: str | None) -> None:
    """Write the traceback, without this file's own frames, to where the agent reads errors."""
    text = None
    with contextlib.suppress(BaseException):
        _show_source(error, code)
        inner = error.__traceback__
        while inner is not None and inner.tb_frame.f_code.co_filename == __file__:
            inner = inner.tb_next
        text = "".join(traceback.format_exception(type(error), error, inner))
    if text is None:  # its text raises, or the agent has changed how tracebacks are made
        text = f"{type(error).__name__} (which cannot be shown)\n"
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except BaseException:
        with contextlib.suppress(BaseException):
            os.write(2, text.encode("utf-8", "backslashreplace"))


def _show_source(error: BaseException, code: str | None) -> None:
    """Let lines of the code stand in the traceback, unless one is of an earlier call: its lines are not at hand."""
    linecache.cache.pop(NAME, None)
    if code is None:
        return
    own: set[str] = set()
    todo: list[Any] = [compile(code, NAME, "exec", dont_inherit=True)] if not isinstance(error, SyntaxError) else []
    while todo:
        compiled = todo.pop()
        own.add(
            f"{compiled.co_qualname if hasattr(compiled, 'co_qualname') else compiled.co_name}:"
            f"{compiled.co_firstlineno}:{hash(compiled.co_code)}"
        )
        todo += [constant for constant in compiled.co_consts if isinstance(constant, types.CodeType)]
    seen: set[int] = set()
    chain: list[BaseException | None] = [error]
    while chain:
        link = chain.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        chain += [link.__cause__, link.__context__]
        step = link.__traceback__
        while step is not None:
            used = step.tb_frame.f_code
            if used.co_filename == NAME:
                name = used.co_qualname if hasattr(used, "co_qualname") else used.co_name
                if f"{name}:{used.co_firstlineno}:{hash(used.co_code)}" not in own:
                    return
            step = step.tb_next
    lines = code.splitlines(keepends=True)
    linecache.cache[NAME] = (len(code), None, lines, NAME)


def _exited(code: object) -> tuple[int, int]:
    if code is None or code == 0:
        return OK, 0
    if isinstance(code, int):
        return RAISED, code & 0xFF
    with contextlib.suppress(BaseException):
        print(code, file=sys.stderr)
    return RAISED, 1


def _kind(error: BaseException) -> int:
    """Which limit an exception tells of."""
    if isinstance(error, MemoryError):
        return MEMORY
    if isinstance(error, OSError):
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return DISK  # or files: the supervisor looks at what is left
        if error.errno == errno.EMFILE:
            return FILES
        if error.errno == errno.EAGAIN:
            return PROCESSES
        if error.errno == errno.ENOMEM:
            return MEMORY
        if error.errno == errno.EFBIG:
            return DISK
    if isinstance(error, RuntimeError) and error.args == ("can't start new thread",):
        return PROCESSES
    return RAISED


def _copy(control: socket.socket, other: int, what: bytes) -> socket.socket:
    """Fork for a snapshot or from one. The child is the copy; it is the supervisor's child, not this one's."""
    try:
        copy = _fork()
    except OSError:  # the supervisor sees the socket closed
        copy = False
    if not copy:
        os.close(other)
        return control
    # A snapshot's memory is not to be written to by way of /proc.
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0 if what == b"s" else 1)
    # Where open files are read or written next is shared by all copies, so each snapshot remembers it for itself.
    if what == b"s":
        _places.clear()
        _places.update(_open_files())
    else:
        for fd, place in _places.items():
            with contextlib.suppress(OSError):
                os.lseek(fd, place, os.SEEK_SET)
    control.close()
    own = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, other)
    own.send(b"!")  # the kernel adds who sent it
    return own


def _open_files() -> dict[int, int]:
    """Number -> where it is read or written next, of plain files."""
    found: dict[int, int] = {}
    for fd in range(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0]):
        with contextlib.suppress(OSError):
            if stat.S_ISREG(os.fstat(fd).st_mode):
                found[fd] = os.lseek(fd, 0, os.SEEK_CUR)
    return found


def _fork() -> bool:
    """Make a copy; whether this is it."""
    if threading.active_count() == 1:
        with contextlib.suppress(OSError):  # not every kernel can do that
            return kernel.fork_sibling() == 0
    # Two forks, so that the copy becomes the supervisor's child; and what Python does after one, because threads, which
    # do not live on in a copy, may hold locks just now.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        own = os.getpid()
        drawn = random.getstate()
        _copying.append(True)
        try:
            middle = os.fork()
            if middle:
                os.waitpid(middle, 0)
                return False
            copied = os.fork() == 0
        except OSError:
            if os.getpid() == own:
                raise
            os._exit(1)
        finally:
            _copying.clear()
        if not copied:
            os._exit(0)
        random.setstate(drawn)  # Python seeds it from chance after a fork
    return True


_copying: list[bool] = []
"""Not empty while the fork at hand is a snapshot's."""


def _let_go(control: socket.socket) -> None:
    if not _copying:
        with contextlib.suppress(OSError):
            os.close(control.fileno())


def _descriptor(passed: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in passed:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS and len(data) >= 4:
            return int(struct.unpack_from("=i", data)[0])
    os._exit(1)


def _reopened(output: tuple[Any, Any]) -> tuple[Any, Any]:
    """Standard output and error as they were, where code has closed or exchanged them."""
    streams: list[Any] = []
    for stream, number, errors in ((output[0], 1, "strict"), (output[1], 2, "backslashreplace")):
        if stream.closed:
            raw = io.FileIO(number, "w", closefd=False)
            stream = io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8", errors=errors)
        streams.append(stream)
    sys.__dict__.update(stdout=streams[0], stderr=streams[1], __stdout__=streams[0], __stderr__=streams[1])
    return streams[0], streams[1]


def _flush() -> None:
    for stream in {id(s): s for s in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)}.values():
        if stream is not None and not getattr(stream, "closed", True):
            stream.flush()


def _exit_handlers() -> tuple[int, int, int]:
    """How much there is to do at the end; more than before if the code has added something."""
    logging = sys.modules.get("logging")
    finalizers: dict[Any, Any] = weakref.finalize._registry  # type: ignore[attr-defined]
    return atexit._ncallbacks(), len(logging._handlerList) if logging is not None else 0, len(finalizers)
