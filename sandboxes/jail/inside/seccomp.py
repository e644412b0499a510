"""The filter on system calls: an allow-list, assembled by hand as classic BPF, so that no library is needed.

A call of another instruction set (32-bit, x32) kills the process. Numbers are searched as a binary tree; the kernel
also remembers which numbers always pass, so an ordinary call costs next to nothing. A few calls are examined:

- `clone` makes processes and threads but no namespaces; `clone3` hides its flags in memory, so it is absent, and the
  C library falls back to `clone`.
- `socketpair` makes connected pairs of local streams; no other socket can be made, bound or connected.
- `ioctl` knows a handful of harmless requests; the rest is "not a terminal".
- `mknod` makes pipes and files, no devices.
- `setsockopt` may ask for credentials, which the supervisor needs, and nothing else.
- `prlimit64` and what else limits or slows another process leave process 1 alone, which is the supervisor.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import struct

from . import kernel
from .syscalls import numbers

LOAD, EQUAL, AT_LEAST, ANY_BIT, JUMP, RETURN, MASK = 0x20, 0x15, 0x35, 0x45, 0x05, 0x06, 0x54
ALLOW, KILL_PROCESS, ERRNO, TRACE = 0x7FFF0000, 0x80000000, 0x00050000, 0x7FF00000
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "arm64": 0xC00000B7}
RLIMIT_NPROC = 6
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data; arguments are 8 bytes each, low half first
X32 = 0x40000000

NAMESPACES = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
AF_UNIX, SOCK_STREAM = 1, 1
PRIO_USER = 2
S_IFMT, S_IFIFO, S_IFREG = 0o170000, 0o010000, 0o100000
SOL_SOCKET, SO_PASSCRED = 1, 16
# Terminal and file requests that programs make to find out what they talk to: TCGETS, TCSETS*, TIOCGPGRP, TIOCSPGRP,
# TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX. TIOCSTI and TIOCLINUX, which type into a terminal, are not here.
REQUESTS = (0x5401, 0x5402, 0x5403, 0x5404, 0x540F, 0x5410, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
SIGNALLING = ("kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal")
NETWORK = ("socket", "connect", "bind", "listen", "accept", "accept4", "setsockopt")
OF_ANOTHER = (
    "prlimit64",
    "sched_setaffinity",
    "sched_setparam",
    "sched_setscheduler",
    "sched_setattr",
    "setpgid",
    "get_robust_list",
)
WATCHING = ("inotify_init", "inotify_init1", "inotify_add_watch")
ATTRIBUTES = (
    *("chmod", "fchmod", "fchmodat", "fchmodat2"),
    *("chown", "fchown", "lchown", "fchownat"),
    *("utime", "utimes", "futimesat", "utimensat"),
)
OWNING = (8, 10, 15)  # fcntl: F_SETOWN, F_SETSIG and F_SETOWN_EX let a file send any signal to anybody
FORKS = ("clone", "fork", "vfork")
UNTRACED = 0x00800000  # CLONE_UNTRACED
LANDLOCK = ("landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self")


def program(machine: str, *, landlock: bool = False, network: bool = False) -> bytes:
    """The filter's instructions for a machine as `os.uname` calls it.

    Args:
        machine: `x86_64` or `aarch64`.
        landlock: Whether Landlock domains may be entered.
        network: Whether any socket may be made and used.
    """
    table = numbers(machine)
    refuse = _return(ERRNO | errno.EPERM)
    leaves: dict[int, tuple[bytes, ...]] = {}
    for number in table["allowed"].values():
        leaves[number] = (_return(ALLOW),)
    for number in table["refused"].values():
        leaves[number] = (refuse,)
    for name, number in table["examined"].items():
        leaves[number] = _examined(name)
    for name in OF_ANOTHER:
        leaves[table["allowed"][name]] = (_argument(0), _step(EQUAL, 1, 0, 1), refuse, _return(ALLOW))
    whole_user = (_argument(0), _step(EQUAL, PRIO_USER, 2, 0))
    leaves[table["allowed"]["setpriority"]] = (
        *whole_user,
        _argument(1),
        _step(EQUAL, 1, 0, 1),
        refuse,
        _return(ALLOW),
    )
    if landlock:
        for name in LANDLOCK:
            leaves[table["absent"][name]] = (_return(ALLOW),)
    if network:
        for name in NETWORK:
            leaves[table["examined"].get(name) or table["refused"][name]] = (_return(ALLOW),)
    begin = [_step(LOAD, ARCHITECTURE), _step(EQUAL, ARCHITECTURES[machine], 1, 0), _return(KILL_PROCESS)]
    begin += [_step(LOAD, NUMBER), _step(AT_LEAST, X32, 0, 1), _return(KILL_PROCESS)]
    return b"".join([*begin, *_search(_borders(leaves, (_return(ERRNO | errno.ENOSYS),)))])


def second(machine: str, *, signals: bool, attributes: bool) -> bytes:
    """A further filter, for processes that share a host's files and process numbers with others (tier B).

    Other processes of the same user cannot be limited, slowed or signalled by way of a file, nor files be watched.

    Args:
        machine: As `os.uname` calls it.
        signals: Whether signals may be sent at all: where something else keeps them in.
        attributes: Whether modes, owners and times of files can be changed. Where not, that succeeds without effect,
            because programs that copy files do it by the way; Landlock does not keep it to the slot's own files.
    """
    table = numbers(machine)["allowed"]
    refuse, nothing = _return(ERRNO | errno.EPERM), _return(ERRNO)
    leaves = _itself_alone(table)
    owning = (_step(EQUAL, command, len(OWNING) - n, 0) for n, command in enumerate(OWNING))
    leaves[table["fcntl"]] = (_argument(1), *owning, _return(ALLOW), refuse)
    for name in WATCHING + (() if signals else SIGNALLING):
        if name in table:
            leaves[table[name]] = (refuse,)
    if not attributes:
        for name in ATTRIBUTES:
            if name in table:
                leaves[table[name]] = (nothing,)
    return b"".join([_step(LOAD, NUMBER), *_search(_borders(leaves, (_return(ALLOW),)))])


@functools.cache
def fixed_processes(machine: str) -> bytes:
    """A further filter, for a notebook: it cannot change how many processes it may have, nor limit or slow snapshots.

    Its hard limit lies above its soft one, because the supervisor, which has no privilege to raise a hard one, has to
    make room for each snapshot.

    Args:
        machine: As `os.uname` calls it.
    """
    table = numbers(machine)["allowed"]
    refuse, allow = _return(ERRNO | errno.EPERM), _return(ALLOW)
    high = _step(LOAD, ARGUMENTS + 8 * 2 + 4)
    asks = (_argument(2), _step(EQUAL, 0, 0, 2), high, _step(EQUAL, 0, 1, 0))  # no new limit: a question, no change
    itself = (_argument(0), _step(EQUAL, 0, 1, 0), refuse)
    leaves = {
        **_itself_alone(table),
        table["prlimit64"]: (*itself, _argument(1), _step(EQUAL, RLIMIT_NPROC, 0, 5), *asks, refuse, allow),
        table["setrlimit"]: (_argument(0), _step(EQUAL, RLIMIT_NPROC, 0, 1), refuse, allow),
    }
    return b"".join([_step(LOAD, NUMBER), *_search(_borders(leaves, (allow,)))])


def forks(machine: str) -> bytes:
    """A further filter, under which the tracer is asked before each fork. What another one refuses it is not asked.

    Args:
        machine: As `os.uname` calls it.
    """
    table = numbers(machine)
    known = {**table["allowed"], **table["examined"]}
    ask = _return(TRACE)
    leaves: dict[int, tuple[bytes, ...]] = {known[name]: (ask,) for name in FORKS if name in known}
    hidden = (_argument(0), _step(ANY_BIT, UNTRACED, 0, 1), _return(ERRNO | errno.EPERM))
    leaves[known["clone"]] = (*hidden, ask)
    return b"".join([_step(LOAD, NUMBER), *_search(_borders(leaves, (_return(ALLOW),)))])


def install(instructions: bytes) -> None:
    """Put this process and whatever it starts under the filter, for good.

    Raises:
        OSError: The kernel has no filters, or refuses this one.
    """
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    described = struct.pack("@HxxxxxxQ", len(instructions) // 8, _address(instructions))
    # By prctl and not by seccomp(2), which the filter itself does not let through, so that a second one can be laid on.
    kernel.prctl(kernel.PR_SET_SECCOMP, 2, _address(described))


def _address(data: bytes) -> int:
    """Where the kernel finds them. Not by a buffer of ctypes', which makes a class for each length."""
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0


def machine() -> str:
    """This machine's name, as the tables are keyed."""
    return os.uname().machine


def _itself_alone(table: dict[str, int]) -> dict[int, tuple[bytes, ...]]:
    """Rules by which a process limits and slows itself and no other one."""
    refuse, allow = _return(ERRNO | errno.EPERM), _return(ALLOW)
    process = (_argument(0), _step(EQUAL, 0, 1, 0), refuse)
    return {
        **{table[name]: (*process, allow) for name in OF_ANOTHER},
        table["setpriority"]: (*process, _argument(1), _step(EQUAL, 0, 1, 0), refuse, allow),
    }


def _borders(leaves: dict[int, tuple[bytes, ...]], otherwise: tuple[bytes, ...]) -> list[tuple[int, tuple[bytes, ...]]]:
    """The numbers from which on something else is done than before, in order."""
    borders: list[tuple[int, tuple[bytes, ...]]] = []
    for number in sorted({0, *leaves, *(n + 1 for n in leaves)}):
        leaf = leaves.get(number, otherwise)
        if not borders or borders[-1][1] != leaf:
            borders.append((number, leaf))
    return borders


def _search(borders: list[tuple[int, tuple[bytes, ...]]]) -> list[bytes]:
    """Instructions that find the last border at or below the number and do what stands there."""
    if len(borders) == 1:
        return list(borders[0][1])
    middle = len(borders) // 2
    below, above = _search(borders[:middle]), _search(borders[middle:])
    if len(below) <= 255:
        return [_step(AT_LEAST, borders[middle][0], len(below), 0), *below, *above]
    return [_step(AT_LEAST, borders[middle][0], 0, 1), _step(JUMP, len(below)), *below, *above]


def _examined(name: str) -> tuple[bytes, ...]:
    allow, refuse = _return(ALLOW), _return(ERRNO | errno.EPERM)
    if name == "clone":
        return (_argument(0), _step(ANY_BIT, NAMESPACES, 0, 1), refuse, allow)
    if name == "socketpair":
        family = (_argument(0), _step(EQUAL, AF_UNIX, 1, 0), refuse)
        return (*family, _argument(1), _step(MASK, 0xF), _step(EQUAL, SOCK_STREAM, 0, 1), allow, refuse)
    if name == "ioctl":
        left = range(len(REQUESTS), 0, -1)
        known = (_step(EQUAL, request, steps, 0) for request, steps in zip(REQUESTS, left, strict=True))
        return (_argument(1), *known, _return(ERRNO | errno.ENOTTY), allow)
    if name in ("mknod", "mknodat"):
        kinds = (_step(EQUAL, S_IFIFO, 2, 0), _step(EQUAL, S_IFREG, 1, 0))
        return (_argument(1 if name == "mknod" else 2), _step(MASK, S_IFMT), *kinds, refuse, allow)
    if name == "setsockopt":
        level = (_argument(1), _step(EQUAL, SOL_SOCKET, 1, 0), refuse)
        return (*level, _argument(2), _step(EQUAL, SO_PASSCRED, 0, 1), allow, refuse)
    raise ValueError(f"no rule for {name}")


def _argument(index: int) -> bytes:
    """Load the low half of an argument; what is compared here are ints, whose upper half the kernel ignores."""
    return _step(LOAD, ARGUMENTS + 8 * index)


def _return(action: int) -> bytes:
    return _step(RETURN, action)


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value & 0xFFFFFFFF)
