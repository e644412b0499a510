"""Landlock: which files a process may touch, where it has no file system of its own; and whom it may signal.

What the kernel's version of it leaves open is closed by a second filter on system calls, in the slot's processes only
(the supervisor must signal them): signals where Landlock does not hold them back, the attributes of files, and the
settings of other processes of the same user.
"""

from __future__ import annotations

import errno
import os
import struct

from . import kernel

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
READ = EXECUTE | READ_FILE | READ_DIR
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_FIRST = (1 << 13) - 1
_OF_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | _TRUNCATE | _IOCTL_DEV
_BIND_TCP, _CONNECT_TCP = 1, 2
_SCOPE_ABSTRACT_SOCKETS, _SCOPE_SIGNALS = 1, 2
SCOPES_SIGNALS = 6
"""The first version that keeps signals to the domain."""


def version() -> int:
    """The kernel's Landlock, as it counts its versions; 0 without one."""
    version_flag = 1
    try:
        return kernel.syscall("landlock_create_ruleset", None, 0, version_flag)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP):
            return 0
        raise


def writing(abi: int) -> int:
    """All rights on files that this version knows."""
    return _FIRST | (_REFER if abi >= 2 else 0) | (_TRUNCATE if abi >= 3 else 0) | (_IOCTL_DEV if abi >= 5 else 0)


def ruleset(rules: list[tuple[str, int]], abi: int) -> int:
    """A set of rules, as an open file.

    Args:
        rules: Paths, each with the rights on it and on all below it. What stands nowhere cannot be touched.
        abi: `version()`.
    """
    known = writing(abi)
    described = struct.pack("=Q", known)
    if abi >= 4:
        described += struct.pack("=Q", _BIND_TCP | _CONNECT_TCP)
    if abi >= SCOPES_SIGNALS:
        described += struct.pack("=Q", _SCOPE_ABSTRACT_SOCKETS | _SCOPE_SIGNALS)
    made = kernel.syscall("landlock_create_ruleset", described, len(described), 0)
    os.set_inheritable(made, False)
    for path, rights in rules:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not os.path.isdir(path):
                rights &= _OF_A_FILE
            beneath = 1
            kernel.syscall("landlock_add_rule", made, beneath, struct.pack("=Qi", rights & known, fd), 0)
        finally:
            os.close(fd)
    return made


def restrict(made: int) -> None:
    """Put this process and all that it starts under a set of rules, for good."""
    kernel.syscall("landlock_restrict_self", made, 0)


def around(path: str, covered: list[str]) -> list[tuple[str, int]]:
    """Rules that let a folder be read but for some folders in it, of which only names can be seen."""
    inside = [folder for folder in covered if folder.startswith(path + "/")]
    if path in covered:
        return []
    if not inside:
        return [(path, READ)]
    rules = [(path, READ_DIR)]
    for name in sorted(os.listdir(path)):
        rules += around(f"{path}/{name}", inside)
    return rules
