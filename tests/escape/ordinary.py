"""Runs a command as an ordinary user, from root: `python ordinary.py COMMAND...`

The interpreter and the checkout may lie where only root may go. So the command gets a mount namespace in which every
closed folder on the way to them is an open one with nothing in it but that way. Writes nothing; what the user may not
do, such as writing to the checkout, stays forbidden.
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys
from pathlib import Path

USER = 61234
"""Nobody's number on most machines."""


def needed() -> list[Path]:
    """Folders that the command must be able to read."""
    checkout = Path(__file__).resolve().parent.parent.parent
    return [Path(sys.base_prefix), Path(sys.prefix), checkout]


def closed(path: Path) -> Path | None:
    """The outermost folder on the way to `path` that others may not enter."""
    for folder in reversed([path, *path.parents]):
        if not folder.stat().st_mode & stat.S_IXOTH:
            return folder
    return None


def open_the_way() -> None:
    """Make the needed folders reachable for everybody, in this process's mount namespace only."""
    libc = ctypes.CDLL(None, use_errno=True)

    def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
        encoded = [None if text is None else text.encode() for text in (source, target, kind, data)]
        if libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3]) != 0:
            raise OSError(ctypes.get_errno(), f"mount of {source} at {target}")

    if libc.unshare(0x20000) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    mount("none", "/", None, 16384 | 1 << 18)  # recursively private
    paths = [path for path in needed() if closed(path)]
    kept = {path: os.open(path, os.O_PATH) for path in paths}
    for folder in sorted({closed(path) for path in paths} - {None}):
        mount("tmpfs", str(folder), "tmpfs", 0, "mode=755")
    for path, descriptor in kept.items():
        path.mkdir(parents=True, exist_ok=True)
        mount(f"/proc/self/fd/{descriptor}", str(path), None, 4096)
        os.close(descriptor)


if __name__ == "__main__":
    open_the_way()
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
    # What follows is a program that this user may look into, as all of its own.
    os.execvp(sys.argv[1], sys.argv[1:])
