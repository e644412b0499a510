"""Walking a slot's folders without being led astray by what agents plant in them.

Paths are walked folder by folder and never through a symbolic link, and only plain files are opened: links to /proc and
pipes without a writer can neither mislead nor stop the supervisor. What its owner has closed is opened for the look and
closed again. Trees may be as deep as the limit on files lets them; `DEEPEST` bounds what is looked at.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

DEEPEST = 256
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
PLAIN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Refused(Exception):
    """A request that cannot be met, and the kind of error that it is."""

    def __init__(self, text: str, kind: str = "refused") -> None:
        super().__init__(text)
        self.kind = kind


class Entry(NamedTuple):
    """Something in a tree."""

    root: int
    """Which of the folders it is in, by position."""
    path: str
    """Relative to that folder."""
    info: os.stat_result
    target: str
    """Of a symbolic link."""


class Folders:
    """The folders of a slot that can be written to.

    Args:
        paths: Where they are; the first is the work folder.
    """

    def __init__(self, paths: tuple[str, ...]) -> None:
        self.paths = paths

    def absolute(self, entry: Entry) -> str:
        """The whole path of an entry."""
        return f"{self.paths[entry.root]}/{entry.path}"

    @contextmanager
    def folder_of(self, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """The folder that a path's last part is in, opened, and that part."""
        root = self.paths[0]
        for folder in self.paths:
            if path.startswith(folder + "/"):
                root, path = folder, path[len(folder) + 1 :]
                break
        else:
            if path.startswith("/"):
                raise Refused(f"{path!r} is outside {', '.join(self.paths)}")
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if not parts or ".." in parts or "\0" in path or len(parts) > DEEPEST:
            raise Refused(f"{path!r} is not a path of a file inside {root}")
        way = [open_top(root)]
        try:
            with explained(path):
                for part in parts[:-1]:
                    if make:
                        with suppress(FileExistsError):
                            os.mkdir(part, 0o755, dir_fd=way[-1].fd)
                    way.append(open_folder(way[-1].fd, part))
            yield way[-1].fd, parts[-1]
        finally:
            for opened in reversed(way):
                opened.close()

    def walk(self, root: int) -> Iterator[tuple[Entry, int]]:
        """Everything below a folder, sorted, folders before what is in them, each with its open folder."""
        top = open_top(self.paths[root])
        stack: list[tuple[Opened, str, Iterator[str]]] = [(top, "", iter(sorted(os.listdir(top.fd))))]
        try:
            while stack:
                opened, prefix, names = stack[-1]
                folder = opened.fd
                name = next(names, None)
                if name is None:
                    stack.pop()[0].close()
                    continue
                try:
                    info = os.stat(name, dir_fd=folder, follow_symlinks=False)
                    target = os.readlink(name, dir_fd=folder) if stat.S_ISLNK(info.st_mode) else ""
                    enter = stat.S_ISDIR(info.st_mode) and len(stack) < DEEPEST
                    deeper = open_folder(folder, name) if enter else None
                except OSError:
                    continue  # gone meanwhile
                yield Entry(root, prefix + name, info, target), folder
                if deeper is not None:
                    stack.append((deeper, f"{prefix}{name}/", iter(sorted(os.listdir(deeper.fd)))))
        finally:
            for opened, _, _ in reversed(stack):
                opened.close()


class Opened(NamedTuple):
    """An open folder, and the mode to give it back if it had to be changed to enter it."""

    fd: int
    mode: int | None

    def close(self) -> None:
        if self.mode is not None:
            with suppress(OSError):
                os.fchmod(self.fd, self.mode)
        os.close(self.fd)


def open_folder(folder: int, name: str) -> Opened:
    """A folder, entered even where its owner has forbidden that."""
    mode = stat.S_IMODE(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    if mode & 0o500 == 0o500:
        return Opened(os.open(name, FOLDER, dir_fd=folder), None)
    os.chmod(name, mode | 0o700, dir_fd=folder)
    return Opened(os.open(name, FOLDER, dir_fd=folder), mode)


def open_top(path: str) -> Opened:
    try:
        return Opened(os.open(path, FOLDER), None)
    except PermissionError:
        os.chmod(path, 0o755)
        return Opened(os.open(path, FOLDER), None)


@contextmanager
def open_file(folder: int, name: str, info: os.stat_result) -> Iterator[int]:
    """A plain file, opened to read even where its owner has forbidden that."""
    try:
        fd = os.open(name, PLAIN, dir_fd=folder)
    except PermissionError:
        os.chmod(name, 0o600, dir_fd=folder)
        try:
            fd = os.open(name, PLAIN, dir_fd=folder)
        finally:
            os.chmod(name, stat.S_IMODE(info.st_mode), dir_fd=folder)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise Refused(f"{name!r} is not a file any more")
        yield fd
    finally:
        os.close(fd)


def data(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Offset and size of the stretches of a file that are not holes."""
    offset = 0
    while offset < size:
        try:
            begin = os.lseek(fd, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        offset = min(os.lseek(fd, begin, os.SEEK_HOLE), size)
        if begin >= offset:
            return
        yield begin, offset - begin


def pieces(fd: int, offset: int, size: int) -> Iterator[bytes]:
    while size > 0:
        piece = os.pread(fd, min(size, 1 << 20), offset)
        if not piece:
            return
        yield piece
        offset, size = offset + len(piece), size - len(piece)


def hollow(info: os.stat_result) -> bool:
    """Whether a file is nearly all hole: it costs its maker nothing and would cost its reader much."""
    return info.st_size > 16 * 512 * info.st_blocks + (1 << 16)


def set_time(folder: int, name: str, nanoseconds: int) -> None:
    os.utime(name, ns=(nanoseconds, nanoseconds), dir_fd=folder, follow_symlinks=False)


def kind(info: os.stat_result) -> str:
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link", stat.S_IFIFO: "pipe"}
    return kinds.get(stat.S_IFMT(info.st_mode), "other")


@contextmanager
def explained(path: str) -> Iterator[None]:
    """The kernel's refusals as ours."""
    try:
        yield
    except FileNotFoundError as error:
        raise Refused(f"there is no {path!r}", "missing") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Refused(f"no room for {path!r}", "disk_limit") from error
        if error.errno == errno.ELOOP:
            raise Refused(f"{path!r} leads through a symbolic link") from error
        raise Refused(f"{path!r}: {error.strerror}") from error
    except ValueError as error:
        raise Refused(f"{path!r}: {error}") from error
