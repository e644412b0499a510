"""The file system of a slot: an empty read-only root, the host's pieces in it, and one small disk to write on.

`/work` and `/tmp` (and `/dev/shm`) are folders of one tmpfs, so that its size and number of files bound them together.
`/proc` shows the slot's own processes and nothing of the machine.
"""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

from . import kernel
from .view import WORK, Shown, View, empty

USER = 1000
"""User and group inside."""
FOLDERS = {"work": WORK, "tmp": "/tmp", "shm": "/dev/shm"}
_DEVICES = ("null", "zero", "full", "random", "urandom")
_ETC = {
    "passwd": f"sandbox:x:{USER}:{USER}:sandbox:{WORK}:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    "group": f"sandbox:x:{USER}:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost\n",
    "hostname": "sandbox\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    "resolv.conf": "",
}


class Kept(NamedTuple):
    """Folders that the supervisor keeps open and that no path leads to."""

    proc: int
    """All processes of the slot; what agents see of `/proc` hides the supervisor."""
    vault: int
    """Another tmpfs, for what snapshots save."""


def build(view: View, extra: list[Shown], *, disk: int, files: int) -> None:
    """Make the root, all but what only process 1 can. Needs a mount namespace of its own with the rights in it.

    Args:
        view: What to show of the host.
        extra: Further pieces.
        disk: Bytes that can be written.
        files: Files and folders that can be made.

    Raises:
        OSError: The kernel refuses; the text says which mount.
    """
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    # Opened before the new root is built on a folder that may hide them.
    pieces = [(piece.path, os.open(piece.source, os.O_PATH | os.O_CLOEXEC)) for piece in [*view.shown, *extra]]
    root = _base()
    kernel.mount("tmpfs", root, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=1m,mode=755")
    for name in ("proc", "dev", "etc", "opt", ".disk", ".proc", ".vault"):
        os.mkdir(f"{root}/{name}")
    for path, source in pieces:
        _show(source, root + path)
    for path in view.covered:
        if os.path.isdir(root + path):
            kernel.mount("tmpfs", root + path, "tmpfs", kernel.MS_RDONLY | kernel.MS_NOSUID, "size=4k,mode=755")
    for link in view.links:
        os.makedirs(os.path.dirname(root + link.path), exist_ok=True)
        os.symlink(link.target, root + link.path)
    for name, content in _ETC.items():
        with open(f"{root}/etc/{name}", "w") as file:
            file.write(content)
    _devices(root)
    _disk(root, disk, files)


def enter() -> Kept:
    """Go into the root that has been built, as process 1 of the namespace whose processes are to be seen in it.

    Raises:
        OSError: See `build`.
    """
    root = _base()
    kept = Kept(_hidden_proc(root), _vault(root))
    _visible_proc(root)
    kernel.pivot(root)
    os.utime("/", (0, 0))  # a listing shall not tell when the slot was made
    kernel.mount(
        "none", "/", None, kernel.MS_BIND | kernel.MS_REMOUNT | kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV
    )
    os.chdir(WORK)
    return kept


def _base() -> str:
    """A folder to build on. What it hides is not missed: every source is open already."""
    return next(path for path in ("/tmp", "/mnt", "/var", "/usr") if os.path.isdir(path))


def _show(source: int, target: str) -> None:
    empty(target, folder=stat.S_ISDIR(os.fstat(source).st_mode))
    kernel.mount(f"/proc/self/fd/{source}", target, None, kernel.MS_BIND | kernel.MS_REC)
    kernel.protect(target)
    os.close(source)


def _devices(root: str) -> None:
    for name in _DEVICES:
        empty(f"{root}/dev/{name}", folder=False)
        kernel.mount(f"/dev/{name}", f"{root}/dev/{name}", None, kernel.MS_BIND)
    os.symlink("/proc/self/fd", f"{root}/dev/fd")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"/proc/self/fd/{number}", f"{root}/dev/{name}")


def _disk(root: str, disk: int, files: int) -> None:
    own = 1 + len(FOLDERS)
    options = f"size={disk},nr_inodes={files + own},mode=755"
    kernel.mount("tmpfs", f"{root}/.disk", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, options)
    for name, path in FOLDERS.items():
        os.mkdir(f"{root}/.disk/{name}", 0o755)
        os.makedirs(root + path, exist_ok=True)
        kernel.mount(f"{root}/.disk/{name}", root + path, None, kernel.MS_BIND)
    kernel.detach(f"{root}/.disk")
    os.rmdir(f"{root}/.disk")


def _hidden_proc(root: str) -> int:
    return _kept(root, ".proc", "proc", None)


def _vault(root: str) -> int:
    return _kept(root, ".vault", "tmpfs", "mode=700")


def _kept(root: str, name: str, kind: str, options: str | None) -> int:
    """Mount something, keep it open, and take it out of the tree."""
    path = f"{root}/{name}"
    kernel.mount(kind, path, kind, kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC, options)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    kernel.detach(path)
    os.rmdir(path)
    return fd


def _visible_proc(root: str) -> None:
    flags = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
    kernel.mount("proc", f"{root}/proc", "proc", flags, "hidepid=invisible,subset=pid")
