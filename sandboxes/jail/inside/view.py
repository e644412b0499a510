"""What a slot sees of the host's files: the system's programs and libraries and this interpreter, nothing else.

The interpreter may live in a home folder that a slot's own user cannot enter, so a zygote of root first gathers all
pieces in a place of its own mount namespace that everybody can (`gather`). Inside they stand at the same paths, all
read-only; only what would stand in the slot's own folders (`/work`, `/tmp`, ...) is moved to `/opt`, and the modules
already imported are told so.
"""

from __future__ import annotations

import contextlib
import os
import site
import sys
import sysconfig
from typing import NamedTuple

from . import kernel

WORK = "/work"
OWN = ("/work", "/tmp", "/proc", "/dev", "/etc", "/sys", "/run")
"""Folders of the slot itself; nothing of the host is shown in them."""
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
ETC = ("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives")


class Shown(NamedTuple):
    """One piece of the host."""

    source: str
    path: str
    """Where it stands inside."""


class Link(NamedTuple):
    """A symbolic link to make again inside."""

    path: str
    target: str


class View(NamedTuple):
    """All that a slot sees of the host."""

    shown: list[Shown]
    links: list[Link]
    covered: list[str]
    """Folders to be shown empty although they lie in something shown."""


def look(cover: list[str], moves: dict[str, str]) -> View:
    """What slots are to see.

    Args:
        cover: Folders of the host to show empty.
        moves: See `moved`.
    """
    shown: list[Shown] = []
    links: list[Link] = []
    for path in SYSTEM:
        if os.path.islink(path):
            links.append(Link(path, os.readlink(path)))
        elif os.path.isdir(path):
            shown.append(Shown(path, path))
    shown += [Shown(path, path) for path in ETC if os.path.exists(path)]
    for prefix in prefixes():
        for name in ("bin", "lib", "lib64", "libexec", "share", "pyvenv.cfg"):
            path = os.path.join(prefix, name)
            target = os.path.join(moves.get(prefix, prefix), name)
            if os.path.islink(path):
                links.append(Link(target, os.readlink(path)))
            elif os.path.exists(path):
                shown.append(Shown(path, target))
    return View(shown, links, [_moved_path(os.path.abspath(path), moves) for path in cover])


def gather(pieces: list[Shown], beside: list[Shown] | None = None) -> list[Shown]:
    """The same pieces at places that every user can reach, in a new mount namespace of this process. Needs root.

    Args:
        pieces: What to gather.
        beside: Pieces gathered before, which must stay in sight.

    Raises:
        OSError: The kernel does not allow it.
    """
    base = _gathering_place([*pieces, *(beside or [])])
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", base, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=1m,mode=755")
    gathered: list[Shown] = []
    for number, piece in enumerate(pieces):
        place = f"{base}/{number}"
        empty(place, folder=os.path.isdir(piece.source))
        kernel.mount(piece.source, place, None, kernel.MS_BIND | kernel.MS_REC)
        gathered.append(Shown(place, piece.path))
    return gathered


def empty(path: str, *, folder: bool) -> None:
    """Make an empty folder or file to mount on, and the folders that lead to it."""
    os.makedirs(path if folder else os.path.dirname(path), exist_ok=True)
    if not folder:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))


def prefixes() -> list[str]:
    """The folders that this interpreter lives in and that are not the system's, outer ones first."""
    found = {sys.base_prefix, sys.base_exec_prefix, sys.prefix, sys.exec_prefix}
    link = sys.executable
    for _ in range(20):
        if not os.path.islink(link):
            break
        link = os.path.join(os.path.dirname(link), os.readlink(link))
        if os.path.basename(os.path.dirname(link)) == "bin":
            found.add(os.path.normpath(os.path.dirname(os.path.dirname(link))))
    return sorted(prefix for prefix in found if not _within(prefix, SYSTEM) and prefix != "/")


def moved() -> dict[str, str]:
    """Prefix on the host -> prefix inside, for those that cannot keep their place."""
    return {prefix: f"/opt/python-{n}" for n, prefix in enumerate(prefixes()) if _within(prefix, OWN)}


def keep_own_paths() -> None:
    """Take everything off the module path that is not this interpreter's: no checkout, no home."""
    paths = sysconfig.get_paths()
    own = [paths["stdlib"], paths["platstdlib"], paths["purelib"], paths["platlib"], *site.getsitepackages()]
    sys.path[:] = [entry for entry in sys.path if entry.endswith(".zip") or _within(entry, own)]


def tell_modules() -> None:
    """Make the modules imported so far look where they will be: lazy imports and data files go by these paths."""
    moves = moved()
    if not moves:
        return
    sys.path[:] = [_moved_path(entry, moves) for entry in sys.path]
    sys.path_importer_cache.clear()
    sys.prefix, sys.exec_prefix = _moved_path(sys.prefix, moves), _moved_path(sys.exec_prefix, moves)
    sys.base_prefix, sys.base_exec_prefix = (
        _moved_path(sys.base_prefix, moves),
        _moved_path(sys.base_exec_prefix, moves),
    )
    sys.executable = _moved_path(sys.executable, moves)
    for module in list(sys.modules.values()):
        spec = getattr(module, "__spec__", None)
        for thing, name in (
            (module, "__file__"),
            (module, "__cached__"),
            (spec, "origin"),
            (spec, "cached"),
            (getattr(spec, "loader", None), "path"),
        ):
            value = getattr(thing, name, None)
            if isinstance(value, str):
                # Some are read-only; those are the frozen ones, which lie nowhere.
                with contextlib.suppress(AttributeError, TypeError):
                    setattr(thing, name, _moved_path(value, moves))
        for places in (getattr(module, "__path__", None), getattr(spec, "submodule_search_locations", None)):
            if isinstance(places, list):
                places[:] = [_moved_path(place, moves) for place in places]


def _moved_path(path: str, moves: dict[str, str]) -> str:
    for prefix in sorted(moves, key=len, reverse=True):
        if _within(path, (prefix,)):
            return moves[prefix] + path[len(prefix) :]
    return path


def _within(path: str, folders: list[str] | tuple[str, ...]) -> bool:
    return any(path == folder or path.startswith(folder + "/") for folder in folders)


def _gathering_place(pieces: list[Shown]) -> str:
    for place in ("/mnt", "/media", "/srv", "/var/empty", "/var/tmp", "/tmp"):
        if os.path.isdir(place) and not any(_within(os.path.realpath(piece.source), (place,)) for piece in pieces):
            return place
    raise OSError("no folder to gather the interpreter's files in: make /mnt")
