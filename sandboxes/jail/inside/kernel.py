"""The kernel calls that Python has no function for, through the C library."""

from __future__ import annotations

import ctypes
import errno
import os
import struct

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
_python = ctypes.PyDLL(None, use_errno=True)  # keeps hold of the interpreter while it calls
_libc.mount.argtypes = [ctypes.c_char_p] * 3 + [ctypes.c_ulong, ctypes.c_char_p]

_NUMBERS = {
    "x86_64": {"pivot_root": 155, "capset": 126, "clone": 56, "ptrace": 101},
    "aarch64": {"pivot_root": 41, "capset": 91, "clone": 220, "ptrace": 117},
}
# Newer calls have one number on every processor.
_COMMON = {
    "mount_setattr": 442,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
}

PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP = 4, 22, 24
PR_GET_TID_ADDRESS = 40
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 36, 38, 47

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC = 1, 2, 4, 8, 32, 4096, 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV = 1, 2, 4
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000


def syscall(name: str, *arguments: int | bytes | None) -> int:
    """Make a system call by name.

    Raises:
        OSError: It failed, or has no number on this processor.
    """
    machine = {"arm64": "aarch64"}.get(os.uname().machine, os.uname().machine)
    number = _COMMON.get(name) or _NUMBERS.get(machine, {}).get(name)
    if number is None:
        raise OSError(errno.ENOSYS, f"{name}: no number known on {machine}")
    passed = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return _checked(int(_libc.syscall(ctypes.c_long(number), *passed)), name)


def prctl(option: int, value: int = 0, *rest: int) -> int:
    """`prctl(2)`."""
    more = (*rest, 0, 0, 0)[:3]
    return _checked(int(_libc.prctl(option, value, *more)), f"prctl({option})")


def fork() -> int:
    """`fork(2)` of a process that has one thread, without what Python does after it, which would copy many pages.

    Python seeds `random` from chance there, and makes its locks anew in case that another thread held one.
    """
    return _checked(int(_python.fork()), "fork")


def fork_sibling() -> int:
    """Like `fork`, but the child is the child of this process's parent.

    Raises:
        OSError: It cannot be made, or the kernel does not tell where the C library keeps the thread's number.
    """
    address = ctypes.c_ulong()
    prctl(PR_GET_TID_ADDRESS, ctypes.addressof(address))
    child_settid, child_cleartid, parent, sigchld = 0x01000000, 0x00200000, 0x00008000, 17
    flags = child_settid | child_cleartid | parent | sigchld
    machine = os.uname().machine
    # The last two arguments, the thread's storage and the child's number, change places between processors.
    last = (address.value, 0) if machine == "x86_64" else (0, address.value)
    number = _NUMBERS["x86_64" if machine == "x86_64" else "aarch64"]["clone"]
    arguments = [ctypes.c_long(value) for value in (number, flags, 0, 0, *last)]
    _python.syscall.restype = ctypes.c_long
    return _checked(int(_python.syscall(*arguments)), "clone")


def collapse(begin: int, size: int) -> None:
    """Put memory into large pages now, where the kernel can and there is something in it."""
    madv_collapse = 25
    _libc.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(size), madv_collapse)


def unshare(flags: int) -> None:
    """`unshare(2)`: new namespaces."""
    _checked(int(_libc.unshare(ctypes.c_int(flags))), "unshare")


def mount(source: str, target: str, kind: str | None = None, flags: int = 0, data: str | None = None) -> None:
    """`mount(2)`."""
    result = _libc.mount(
        os.fsencode(source), os.fsencode(target), kind and kind.encode(), flags, data and data.encode()
    )
    _checked(int(result), f"mount of {source} at {target}")


def detach(target: str) -> None:
    """Take a mount out of the tree; what is open in it stays usable."""
    _checked(int(_libc.umount2(os.fsencode(target), ctypes.c_int(MNT_DETACH))), f"umount of {target}")


def protect(target: str, attributes: int = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV) -> None:
    """Set attributes on a mount and all mounts below it."""
    described = struct.pack("=QQQQ", attributes, 0, 0, 0)
    syscall("mount_setattr", _AT_FDCWD, os.fsencode(target), _AT_RECURSIVE, described, len(described))


def pivot(root: str) -> None:
    """Make `root`, a mount, the root of this mount namespace, and let go of the old one."""
    os.chdir(root)
    syscall("pivot_root", b".", b".")
    detach(".")
    os.chdir("/")


def hostname(name: str) -> None:
    """Set the name of the machine, in this namespace."""
    raw = name.encode()
    _checked(int(_libc.sethostname(raw, ctypes.c_size_t(len(raw)))), "sethostname")


def drop_capabilities() -> None:
    """Give up every capability in every set, and the means to get one back."""
    clear_all = 4
    prctl(PR_CAP_AMBIENT, clear_all)
    for capability in range(64):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:
            break  # past the last one this kernel knows, or none is held
    version_3 = 0x20080522
    syscall("capset", struct.pack("=Ii", version_3, 0), b"\0" * 24)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result
