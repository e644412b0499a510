"""Tier B: a slot on the host's own file system, behind Landlock, a filter on system calls and limits.

For hosts where no namespaces can be had. A slot has a folder of its own among the host's temporary files, and reads the
system's and the interpreter's files; the rest it can neither read nor change (that something is there, it can see).
A janitor stays behind for each slot: when the supervisor is gone, however that came about, it ends what is left and
removes the folder. Where the kernel cannot count the slot's processes, it does (`asking.py`).
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Callable
from typing import NoReturn

from . import asking, enter, kernel, landlock, seccomp
from .processes import Processes
from .starting import Place
from .view import Shown, View

_DEVICES = ("null", "zero", "full", "random", "urandom")


def check() -> int:
    """The version of Landlock.

    Raises:
        OSError: The kernel has none, or does not list the children of a process.
    """
    abi = landlock.version()
    if abi == 0:
        raise OSError("this kernel has no Landlock, or it is not switched on (lsm=landlock,...)")
    if not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
        raise OSError("this kernel does not list the children of a process in /proc (CONFIG_PROC_CHILDREN)")
    return abi


def reach(pieces: list[Shown]) -> None:
    """Let other users come to the pieces through closed folders of root's, by a mount namespace of this process.

    A closed folder on the way is covered by an empty open one, in which only the pieces stand. Needs root.

    Raises:
        OSError: The kernel does not allow it.
    """
    closed: dict[str, list[str]] = {}
    for piece in pieces:
        folder = os.path.realpath(piece.source)
        way = [folder]
        while folder != "/":
            folder = os.path.dirname(folder)
            way.append(folder)
        shut = [step for step in way[::-1][:-1] if not os.stat(step).st_mode & stat.S_IXOTH]
        if shut:
            closed.setdefault(shut[0], []).append(way[0])
    if not closed:
        return
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    for folder, sources in closed.items():
        opened = [(source, os.open(source, os.O_PATH | os.O_CLOEXEC)) for source in sources]
        kernel.mount("tmpfs", folder, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=1m,mode=755")
        for source, fd in opened:
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                os.makedirs(source, exist_ok=True)
            else:
                os.makedirs(os.path.dirname(source), exist_ok=True)
                os.close(os.open(source, os.O_CREAT | os.O_WRONLY, 0o644))
            kernel.mount(f"/proc/self/fd/{fd}", source, None, kernel.MS_BIND | kernel.MS_REC)
            os.close(fd)


def start(view: View, extra: list[Shown], host: socket.socket) -> tuple[Place, int, int]:
    """Become a supervisor; the process that called stays behind as the janitor and does not return.

    Returns:
        Where the supervisor is, its number and the janitor's.

    Raises:
        OSError: There is no Landlock, or no folder can be made.
    """
    abi = check()
    for piece in extra:
        if piece.source != piece.path:
            raise OSError(f"{piece.source} cannot be shown as {piece.path} in tier B: paths are the host's there")
    user, lock = enter.free_user(os.getpid()) if os.getuid() == 0 else (os.getuid(), None)
    base = tempfile.mkdtemp(prefix="tir-gym-slot-", dir="/tmp")
    folders = tuple(f"{base}/{name}" for name in ("work", "tmp"))
    try:
        for folder in folders:
            os.mkdir(folder, 0o755)
            if lock is not None:
                os.chown(folder, user, user)
        os.chmod(base, 0o711)
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        bound = asking.Bound() if lock is None else None
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        janitor = os.getpid()
        pid = kernel.fork()
    except BaseException:
        shutil.rmtree(base, ignore_errors=True)
        raise
    if pid:
        host.close()
        theirs.close()
        _tidy(pid, base, ours, bound)
    ours.close()
    if lock is not None:
        lock.detach()  # held until this process ends
        enter.become(user)
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    rules = landlock.ruleset(_rules(view, extra, folders, abi), abi)
    vault = os.open(folders[1], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    own = lock is not None
    if bound is not None and not asking.begin(bound, theirs):
        bound = None
    theirs.close()
    place = Place(
        folders,
        proc,
        vault,
        init=False,
        counts=own,
        others=0 if own or bound is not None else _threads_of_user(),
        bound=bound,
        janitor=None if bound is None else janitor,
        confine=_confinement(rules, signals=abi >= landlock.SCOPES_SIGNALS, attributes=own),
        bounded=False,
    )
    return place, os.getpid(), janitor


def _confinement(rules: int, *, signals: bool, attributes: bool) -> Callable[[], None]:
    instructions = seccomp.second(seccomp.machine(), signals=signals, attributes=attributes)

    def confine() -> None:
        landlock.restrict(rules)
        seccomp.install(instructions)

    return confine


def _rules(view: View, extra: list[Shown], writable: tuple[str, ...], abi: int) -> list[tuple[str, int]]:
    rules: list[tuple[str, int]] = []
    for piece in [*view.shown, *extra]:
        rules += landlock.around(os.path.realpath(piece.source), view.covered)
    for name in _DEVICES:
        rules.append((f"/dev/{name}", landlock.READ_FILE | landlock.WRITE_FILE))
    rules += [(folder, landlock.writing(abi)) for folder in writable]
    return rules


def _threads_of_user() -> int:
    """Processes and threads that this user has on the host now."""
    count = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.stat(f"/proc/{name}").st_uid == os.getuid():
                    count += len(os.listdir(f"/proc/{name}/task"))
            except OSError:
                continue  # gone meanwhile
    return count


def _tidy(supervisor: int, base: str, end: socket.socket, bound: asking.Bound | None) -> NoReturn:
    """Wait for the end of the supervisor and answer its slot meanwhile; end what it left, remove its folder."""
    try:
        os.dup2(end.detach(), 3)
        os.closerange(4, 4096)
        if bound is None:
            os.waitpid(supervisor, 0)
        else:
            asking.serve(supervisor, bound, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, 3))
        processes = Processes(os.open("/proc", os.O_RDONLY | os.O_DIRECTORY), init=False)
        processes.kill()
        for _ in range(100):
            _open_up(base)
            shutil.rmtree(base, ignore_errors=True)
            if not os.path.exists(base):
                break
            time.sleep(0.05)
    finally:
        os._exit(0)


def _open_up(base: str) -> None:
    for folder, names, _ in os.walk(base):
        for name in names:
            path = os.path.join(folder, name)
            if not os.path.islink(path):
                os.chmod(path, 0o700)
