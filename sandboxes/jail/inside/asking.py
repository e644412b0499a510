"""An exact bound on a slot's processes and threads where the kernel cannot count them apart: it asks before each fork.

For tier B of an ordinary user, whose slots all have that user's number, so that RLIMIT_NPROC means all of them
together. A filter stops whoever calls `clone`, `fork` or `vfork` until the slot's janitor has answered, which is
outside the walls and traces the slot (ptrace(2)). Up to the bound the call goes on as it is; beyond it fails with
EAGAIN, as it does where the kernel counts. With the janitor the slot ends. Only where the kernel does not let it
trace, because somebody else does or nobody may, is the number of processes watched and no more.

It is not done by a listener (seccomp_unotify(2)), which costs less: while that is asked, a signal makes the fork fail
with EINTR, which no fork does otherwise, and `dash` ends a script for it.

Counted is what RLIMIT_NPROC counts: every thread, and those that have ended and that nobody has waited for.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import signal
import socket
import struct
from contextlib import suppress

from . import kernel, seccomp

CONT, GETEVENTMSG, SEIZE, LISTEN = 7, 0x4201, 0x4206, 0x4208
OPTIONS = 0x2 | 0x4 | 0x8 | 0x80 | 0x100000  # report fork, vfork, clone and what the filter says; kill with the tracer
FORKED, ASKS, STOPPED = (1, 2, 3), 7, 128  # events
STOPS = (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
ALL = 0x40000000  # __WALL: threads too


class Bound:
    """How many processes and threads agents may have in the slot; written by the supervisor, read by the janitor.

    It lies in a page that both have in common and no other process: it has no name, no descriptor leads to it, and
    what the supervisor forks is born without it.
    """

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)

    def now(self) -> int:
        """Processes and threads."""
        number: int = struct.unpack_from("@I", self._page)[0]
        return number

    def allow(self, number: int) -> None:
        """Let there be as many from now on."""
        struct.pack_into("@I", self._page, 0, number)

    def keep(self) -> None:
        """Leave it out of all forks of this process."""
        self._page.madvise(mmap.MADV_DONTFORK)

    def close(self) -> None:
        """Let it stand as it is, for this process too."""
        self._page.close()


def begin(bound: Bound, janitor: socket.socket) -> bool:
    """In the supervisor: have this process and all that it starts ask the janitor before each fork.

    Args:
        bound: Made before the janitor and this process parted.
        janitor: A socket to it.

    Returns:
        Whether it answers. If not, nothing has changed.
    """
    if not janitor.recv(1):
        bound.close()
        return False
    bound.keep()
    seccomp.install(seccomp.forks(seccomp.machine()))
    return True


def serve(supervisor: int, bound: Bound, end: socket.socket) -> None:
    """In the janitor: answer until the supervisor has ended, and wait for it. Afterwards nobody in the slot can fork.

    Args:
        supervisor: A child of this process, about to `begin`.
        bound: Made before it was forked.
        end: The other end of what it has; closed.
    """
    with end:
        try:
            _trace(SEIZE, supervisor, 0, OPTIONS)
            end.send(b"!")
        except OSError:
            end.close()
            os.waitpid(supervisor, 0)
            return
    _Asked(supervisor, bound).serve()


class _Asked:
    """Who answers.

    It hears of each fork when it is asked for and again when the child is there, before parent or child goes on. So it
    knows all processes and threads by number, at any time, and those that it has let through and that are not there
    yet. Who has ended is looked for when it comes to the bound, after all else that has happened is known.
    """

    def __init__(self, supervisor: int, bound: Bound) -> None:
        self._supervisor = supervisor
        self._bound = bound
        self._threads: set[int] = set()
        """All below the supervisor, and some that are gone."""
        self._passing: set[int] = set()
        """Those that were let through, until they are known to be."""
        self._asking: list[int] = []
        """Those for whom there seems to be no room."""
        self._refuse = {"x86_64": _refuse_x86_64, "aarch64": _refuse_aarch64}[os.uname().machine]

    def serve(self) -> None:
        """Answer until the supervisor has ended."""
        while True:
            thread, status = os.waitpid(-1, ALL | (os.WNOHANG if self._asking else 0))
            if thread == 0:
                self._decide()
            elif os.WIFSTOPPED(status):
                with suppress(ProcessLookupError):  # killed meanwhile
                    self._go_on(thread, os.WSTOPSIG(status), status >> 16)
            else:
                self._passing.discard(thread)
                if thread == self._supervisor:
                    return

    def _go_on(self, thread: int, number: int, event: int) -> None:
        if event == ASKS:
            self._passing.discard(thread)  # whatever it was allowed before is done
            if thread != self._supervisor and self._most() >= self._bound.now():
                self._asking.append(thread)
            else:
                self._let_through(thread)
        elif event in FORKED:
            child = ctypes.c_ulong()
            _trace(GETEVENTMSG, thread, 0, ctypes.addressof(child))
            self._threads.add(child.value)
            self._passing.discard(thread)
            _trace(CONT, thread)
        elif event == STOPPED and number in STOPS:
            _trace(LISTEN, thread)  # it stays stopped, as it would be
        else:
            _trace(CONT, thread, 0, 0 if event else number)  # a signal, which it now gets

    def _decide(self) -> None:
        asking, self._asking = self._asking, []
        self._threads = {thread for thread in self._threads if _there(thread)}
        for thread in asking:
            with suppress(ProcessLookupError):
                if self._most() < self._bound.now():
                    self._let_through(thread)
                else:
                    self._refuse(thread)
                    _trace(CONT, thread)

    def _most(self) -> int:
        return len(self._threads) + len(self._passing)

    def _let_through(self, thread: int) -> None:
        self._passing.add(thread)
        _trace(CONT, thread)


def _there(thread: int) -> bool:
    """Whether there is a process or thread of that number, if only for its parent to wait for."""
    try:
        os.kill(thread, 0)
    except ProcessLookupError:
        return False
    return True


def _refuse_x86_64(thread: int) -> None:
    """Have a system call that has not begun skipped, with EAGAIN as what it returns."""
    poke, number, result = 6, 8 * 15, 8 * 10  # PTRACE_POKEUSER; orig_rax and rax in struct user
    _trace(poke, thread, number, -1)
    _trace(poke, thread, result, -errno.EAGAIN)


def _refuse_aarch64(thread: int) -> None:
    get, put, general, call = 0x4204, 0x4205, 1, 0x404  # PTRACE_{GET,SET}REGSET, NT_PRSTATUS, NT_ARM_SYSTEM_CALL
    registers = (ctypes.c_int64 * 34)()
    _trace(get, thread, general, _vector(registers))
    registers[0] = -errno.EAGAIN
    _trace(put, thread, general, _vector(registers))
    _trace(put, thread, call, _vector(ctypes.c_int(-1)))


def _vector(data: ctypes.Array[ctypes.c_int64] | ctypes.c_int) -> bytes:
    return struct.pack("@PN", ctypes.addressof(data), ctypes.sizeof(data))


def _trace(request: int, thread: int, address: int = 0, data: int | bytes = 0) -> None:
    kernel.syscall("ptrace", request, thread, address, data)
