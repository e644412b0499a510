"""Trees put away for a snapshot, and put back.

What is put away has no name, so that nothing but the supervisor can reach it. Putting back writes into the files that
are still there, so that those which a notebook holds open are those that it finds again.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import NamedTuple

from .walking import (
    FOLDER,
    NEW,
    Entry,
    Folders,
    Refused,
    data,
    kind,
    open_file,
    pieces,
    set_time,
)


class Part(NamedTuple):
    """Bytes of a saved file: where they go and where they lie."""

    offset: int
    size: int
    place: int


class Saved(NamedTuple):
    """A tree put away: what there was, and the contents in a file without a name."""

    entries: list[tuple[Entry, list[Part]]]
    fd: int


def save(folders: Folders, vault: int | None, *, only_work: bool = False) -> Saved:
    """Put the tree away. The caller closes the file.

    Args:
        folders: Whose contents.
        vault: An open folder where nameless files can be made; where absent they are made in memory.
        only_work: Leave out all but the first.
    """
    fd = _nameless(vault)
    entries: list[tuple[Entry, list[Part]]] = []
    place = 0
    for root in range(1 if only_work else len(folders.paths)):
        for entry, folder in folders.walk(root):
            parts: list[Part] = []
            if kind(entry.info) == "file" and entry.info.st_size:
                try:
                    with open_file(folder, os.path.basename(entry.path), entry.info) as source:
                        for offset, size in data(source, entry.info.st_size):
                            for piece in pieces(source, offset, size):
                                written = os.pwrite(fd, piece, place)
                                parts.append(Part(offset, written, place))
                                offset, place = offset + written, place + written
                except FileNotFoundError:
                    continue  # gone meanwhile
            entries.append((entry, parts))
    return Saved(entries, fd)


def put_back(folders: Folders, saved: Saved) -> None:
    """Make the tree what was put away.

    Raises:
        Refused: There is no room, because files that have no name any more are held open.
    """
    try:
        _adjust(folders, saved)
    except OSError:  # deeper than is looked at, or in the way
        wipe(folders)
        try:
            _adjust(folders, saved)
        except OSError as error:
            raise Refused(f"the files cannot be put back: {error}", "disk_limit") from error


def wipe(folders: Folders, *, only_work: bool = False) -> None:
    """Empty the folders, however deep and however protected what is in them."""
    for path in folders.paths[: 1 if only_work else None]:
        os.chmod(path, 0o755)
        folder = os.open(path, FOLDER)
        try:
            _empty(folder)
        finally:
            os.close(folder)


def _adjust(folders: Folders, saved: Saved) -> None:
    wanted = {(entry.root, entry.path): entry for entry, _ in saved.entries}
    there: dict[tuple[int, str], Entry] = {}
    for root in range(len(folders.paths)):
        there.update({(root, entry.path): entry for entry, _ in folders.walk(root)})
    for place, entry in reversed(list(there.items())):  # what is in a folder before the folder
        if place not in wanted or not _same_thing(entry, wanted[place]):
            with folders.folder_of(folders.absolute(entry)) as (folder, name):
                if not _remove(folder, name):
                    raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), entry.path)
            del there[place]
    # Files are written anew without a look at their dates: what is written through shared memory leaves no mark.
    for entry, parts in saved.entries:
        with folders.folder_of(folders.absolute(entry)) as (folder, name):
            _put(folder, name, entry, parts, saved.fd, new=(entry.root, entry.path) not in there)
    for entry, _ in reversed(
        saved.entries
    ):  # last, because making something in a folder dates it, and it may be closed
        with folders.folder_of(folders.absolute(entry)) as (folder, name):
            if kind(entry.info) != "link":
                os.chmod(name, stat.S_IMODE(entry.info.st_mode), dir_fd=folder)
            set_time(folder, name, entry.info.st_mtime_ns)


def _same_thing(entry: Entry, other: Entry) -> bool:
    """Whether two entries are the same file, folder, or link, whatever is in it now."""
    if kind(entry.info) == "link":
        return entry.target == other.target and kind(other.info) == "link"
    return (kind(entry.info), entry.info.st_ino) == (kind(other.info), other.info.st_ino)


def _put(folder: int, name: str, entry: Entry, parts: list[Part], source: int, *, new: bool) -> None:
    what = kind(entry.info)
    if what == "file":
        if not new:
            os.chmod(name, 0o600, dir_fd=folder)
        flags = NEW if new else os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600, dir_fd=folder)
        try:
            for part in parts:
                offset = part.offset
                for piece in pieces(source, part.place, part.size):
                    offset += os.pwrite(fd, piece, offset)
            os.ftruncate(fd, entry.info.st_size)
        finally:
            os.close(fd)
    elif new and what == "folder":
        os.mkdir(name, 0o700, dir_fd=folder)
    elif new and what == "link":
        os.symlink(entry.target, name, dir_fd=folder)
    elif new:
        os.mkfifo(name, 0o600, dir_fd=folder)


def _nameless(vault: int | None) -> int:
    if vault is None:
        return os.memfd_create("saved")
    try:
        return os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=vault)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR):
            raise
    name = f".saved-{os.getpid()}"  # a file system that makes no nameless files
    fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=vault)
    os.unlink(name, dir_fd=vault)
    return fd


def _empty(folder: int) -> None:
    """Remove all in a folder. What is nested is moved up and not entered, so depth costs nothing."""
    moved = 0
    while names := os.listdir(folder):
        for name in names:
            if _remove(folder, name):
                continue
            inner = _open_writable(folder, name)
            try:
                for nested in os.listdir(inner):
                    if not _remove(inner, nested):
                        os.close(_open_writable(inner, nested))
                        moved += 1
                        os.rename(nested, f".wiped-{os.getpid()}-{moved}", src_dir_fd=inner, dst_dir_fd=folder)
            finally:
                os.close(inner)


def _remove(folder: int, name: str) -> bool:
    for remove in (os.unlink, os.rmdir):
        try:
            remove(name, dir_fd=folder)
            return True
        except FileNotFoundError:
            return True
        except OSError:
            pass
    return False


def _open_writable(folder: int, name: str) -> int:
    """A folder, opened up for good."""
    os.chmod(name, 0o700, dir_fd=folder)
    return os.open(name, FOLDER, dir_fd=folder)
