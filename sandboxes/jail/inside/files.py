"""The files of a slot: written and read for the host, listed, packed, saved for a snapshot and put back.

Paths are walked folder by folder and never through a symbolic link, and only plain files are opened: what agents plant
(links to /proc, pipes without a writer) can neither mislead nor stop the supervisor. Trees may be as deep as the limit
on files lets them; `DEEPEST` bounds what is looked at.
"""

from __future__ import annotations

import base64
import binascii
import errno
import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

DEEPEST = 256
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PLAIN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


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


class Part(NamedTuple):
    """Bytes of a saved file: where they go and where they lie."""

    offset: int
    size: int
    place: int


class Saved(NamedTuple):
    """A tree put away: what there was, and the contents in a file without a name."""

    entries: list[tuple[Entry, list[Part]]]
    fd: int


class Tree:
    """The writable folders of a slot.

    Args:
        folders: Their paths; the first is the work folder.
        vault: An open folder where nameless files can be made; where absent they are made in memory.
    """

    def __init__(self, folders: tuple[str, ...], vault: int | None) -> None:
        self._folders = folders
        self._vault = vault
        self._left: list[tuple[Any, ...]] | None = None
        """The marks of all that the last `unpack` left."""

    def write(self, files: dict[str, dict[str, Any]]) -> None:
        """Write files, making the folders that lead to them.

        Args:
            files: Path -> `text` or `base64`, and `mode` (0o644).

        Raises:
            Refused: A path leads elsewhere, or there is no room.
        """
        for path, content in files.items():
            data = (
                content["text"].encode("utf-8", "surrogatepass") if "text" in content else _decoded(content["base64"])
            )
            with self._folder_of(path, make=True) as (folder, name):
                _put(folder, name, data, int(content.get("mode", 0o644)))

    def read(self, path: str, most: int) -> dict[str, Any]:
        """The beginning of a file: `base64`, and the whole `size`.

        Raises:
            Refused: There is no such plain file.
        """
        with self._folder_of(path) as (folder, name), _explained(path):
            info = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if not stat.S_ISREG(info.st_mode):
                raise Refused(f"{path!r} is a {_kind(info)}, not a file")
            with _open_file(folder, name, info) as fd:
                data = b"".join(_pieces(fd, 0, min(most, info.st_size)))
        return {"base64": base64.b64encode(data).decode(), "size": info.st_size}

    def look(self) -> dict[str, dict[str, Any]]:
        """Path -> `kind` (file, folder, link, ...), `mode`, and `size` and `sha256` or `target`, of the work folder."""
        found: dict[str, dict[str, Any]] = {}
        for entry, folder in self._walk(0):
            kind, info = _kind(entry.info), entry.info
            row: dict[str, Any] = {"kind": kind, "mode": stat.S_IMODE(info.st_mode)}
            if kind == "file":
                row.update(size=info.st_size, sha256=_digest(folder, os.path.basename(entry.path), info))
            elif kind == "link":
                row.update(target=_shown(entry.target))
            found[_shown(entry.path)] = row
        return found

    def pack(self) -> str:
        """The work folder as a tar archive, in base64."""
        saved = self.save(only_work=True)
        try:
            return self.pack_saved(saved)
        finally:
            os.close(saved.fd)

    def pack_saved(self, saved: Saved) -> str:
        """The work folder of a saved tree as a tar archive, in base64."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for entry, parts in saved.entries:
                if entry.root != 0:
                    continue
                member = tarfile.TarInfo(entry.path)
                member.mode = stat.S_IMODE(entry.info.st_mode)
                member.mtime = int(entry.info.st_mtime)
                kind = _kind(entry.info)
                if kind == "folder":
                    member.type = tarfile.DIRTYPE
                elif kind == "link":
                    member.type, member.linkname = tarfile.SYMTYPE, entry.target
                elif kind == "pipe":
                    member.type = tarfile.FIFOTYPE
                elif kind != "file":
                    continue
                content = bytearray() if kind != "file" or _hollow(entry.info) else bytearray(entry.info.st_size)
                for part in parts if content else ():
                    content[part.offset : part.offset + part.size] = b"".join(_pieces(saved.fd, part.place, part.size))
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return base64.b64encode(buffer.getvalue()).decode()

    def unpack(self, tar: str, *, only_work: bool = True) -> None:
        """Make the work folder what a tar archive holds, with its dates.

        Args:
            tar: The archive, in base64.
            only_work: Leave the other folders as they are; else they are emptied.

        Raises:
            Refused: It is no archive, a member leads elsewhere, or there is no room.
        """
        self._left = None
        try:
            with tarfile.open(fileobj=io.BytesIO(_decoded(tar))) as archive:
                members = archive.getmembers()
                self.wipe(only_work=only_work)
                self._extract(archive, members)
        except (tarfile.TarError, EOFError) as error:
            raise Refused(f"no tar archive: {error}") from error
        self._left = self._marks()

    def untouched(self) -> bool:
        """Whether all is as the last `unpack` left it: nothing written, moved, made or dated since.

        What is written through shared memory leaves no mark; the hashes of `look` tell that.
        """
        return self._left is not None and self._left == self._marks()

    def _marks(self) -> list[tuple[Any, ...]]:
        """What the kernel notes of every change."""
        found: list[tuple[Any, ...]] = []
        for root, folder in enumerate(self._folders):
            found.append(_mark("", os.stat(folder)))
            found += [_mark(entry.path, entry.info) for entry, _ in self._walk(root)]
        return found

    def _extract(self, archive: tarfile.TarFile, members: list[tarfile.TarInfo]) -> None:
        folders: list[tarfile.TarInfo] = []
        top = None
        for member in members:
            if member.name in (".", "./"):
                top = member
                continue
            with self._folder_of(member.name, make=True) as (folder, name), _explained(member.name):
                if member.isdir():
                    with suppress(FileExistsError):
                        os.mkdir(name, 0o700, dir_fd=folder)
                    folders.append(member)
                elif member.issym():
                    os.symlink(member.linkname, name, dir_fd=folder)
                elif member.isfifo():
                    os.mkfifo(name, member.mode, dir_fd=folder)
                elif member.isreg():
                    content = archive.extractfile(member)
                    _put(folder, name, content.read() if content else b"", member.mode)
                else:
                    raise Refused(f"the archive holds {member.name!r}, which is neither file, folder, link nor pipe")
                if not member.isdir():
                    _set_time(folder, name, int(member.mtime) * 10**9)
        for member in reversed(folders):
            with self._folder_of(member.name) as (folder, name), suppress(OSError):
                os.chmod(name, stat.S_IMODE(member.mode), dir_fd=folder)
                _set_time(folder, name, int(member.mtime) * 10**9)
        if top is not None:
            os.utime(self._folders[0], (int(top.mtime), int(top.mtime)))

    def save(self, *, only_work: bool = False) -> Saved:
        """Put the tree away. The caller closes the file."""
        fd = self._nameless()
        entries: list[tuple[Entry, list[Part]]] = []
        place = 0
        for root in range(1 if only_work else len(self._folders)):
            for entry, folder in self._walk(root):
                parts: list[Part] = []
                if stat.S_ISREG(entry.info.st_mode) and entry.info.st_size:
                    with _open_file(folder, os.path.basename(entry.path), entry.info) as source:
                        for offset, size in _data(source, entry.info.st_size):
                            for piece in _pieces(source, offset, size):
                                written = os.pwrite(fd, piece, place)
                                parts.append(Part(offset, written, place))
                                offset, place = offset + written, place + written
                entries.append((entry, parts))
        return Saved(entries, fd)

    def refill(self, saved: Saved) -> None:
        """Make the tree what was put away."""
        self.wipe()
        later: list[Entry] = []
        for entry, parts in saved.entries:
            with self._folder_of(self._absolute(entry)) as (folder, name):
                mode, kind = stat.S_IMODE(entry.info.st_mode), _kind(entry.info)
                if kind == "folder":
                    os.mkdir(name, 0o700, dir_fd=folder)
                    later.append(entry)
                    continue
                if kind == "link":
                    os.symlink(entry.target, name, dir_fd=folder)
                elif kind == "pipe":
                    os.mkfifo(name, mode, dir_fd=folder)
                elif kind == "file":
                    fd = os.open(name, _NEW, 0o600, dir_fd=folder)
                    try:
                        for part in parts:
                            os.pwrite(fd, b"".join(_pieces(saved.fd, part.place, part.size)), part.offset)
                        os.ftruncate(fd, entry.info.st_size)
                        os.fchmod(fd, mode)
                    finally:
                        os.close(fd)
                else:
                    continue
                _set_time(folder, name, entry.info.st_mtime_ns)
        for entry in reversed(later):
            with self._folder_of(self._absolute(entry)) as (folder, name):
                os.chmod(name, stat.S_IMODE(entry.info.st_mode), dir_fd=folder)
                _set_time(folder, name, entry.info.st_mtime_ns)

    def wipe(self, *, only_work: bool = False) -> None:
        """Empty the folders, however deep and however protected what is in them."""
        for path in self._folders[: 1 if only_work else None]:
            os.chmod(path, 0o755)
            folder = os.open(path, _FOLDER)
            try:
                _empty(folder)
            finally:
                os.close(folder)

    def extent(self) -> tuple[int, int]:
        """Bytes on disk and number of files and folders, by looking through them all."""
        size = files = 0
        for root in range(len(self._folders)):
            for entry, _ in self._walk(root):
                size, files = size + 512 * entry.info.st_blocks, files + 1
        return size, files

    def full(self) -> str | None:
        """Which limit the disk has reached: `disk_limit`, `file_limit` or None."""
        info = os.statvfs(self._folders[0])
        if info.f_files and info.f_ffree == 0:
            return "file_limit"
        return "disk_limit" if info.f_bavail == 0 else None

    def count(self) -> int:
        """Files and folders that exist, of a disk that counts them; the writable folders themselves aside."""
        disks = {os.stat(path).st_dev: os.statvfs(path) for path in self._folders}
        return sum(disk.f_files - disk.f_ffree for disk in disks.values()) - len(self._folders)

    def _nameless(self) -> int:
        if self._vault is None:
            return os.memfd_create("saved")
        try:
            return os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=self._vault)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR):
                raise
        name = f".saved-{os.getpid()}"  # a file system that makes no nameless files
        fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self._vault)
        os.unlink(name, dir_fd=self._vault)
        return fd

    def _absolute(self, entry: Entry) -> str:
        return f"{self._folders[entry.root]}/{entry.path}"

    @contextmanager
    def _folder_of(self, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """The folder that a path's last part is in, opened, and that part."""
        root = self._folders[0]
        for folder in self._folders:
            if path.startswith(folder + "/"):
                root, path = folder, path[len(folder) + 1 :]
                break
        else:
            if path.startswith("/"):
                raise Refused(f"{path!r} is outside {', '.join(self._folders)}")
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if not parts or ".." in parts or "\0" in path or len(parts) > DEEPEST:
            raise Refused(f"{path!r} is not a path of a file inside {root}")
        way = [_open_top(root)]
        try:
            with _explained(path):
                for part in parts[:-1]:
                    if make:
                        with suppress(FileExistsError):
                            os.mkdir(part, 0o755, dir_fd=way[-1].fd)
                    way.append(_open_folder(way[-1].fd, part))
            yield way[-1].fd, parts[-1]
        finally:
            for opened in reversed(way):
                opened.close()

    def _walk(self, root: int) -> Iterator[tuple[Entry, int]]:
        """Everything below a folder, sorted, folders before what is in them, each with its open folder."""
        top = _open_top(self._folders[root])
        stack: list[tuple[_Opened, str, Iterator[str]]] = [(top, "", iter(sorted(os.listdir(top.fd))))]
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
                    deeper = _open_folder(folder, name) if enter else None
                except OSError:
                    continue  # gone meanwhile
                yield Entry(root, prefix + name, info, target), folder
                if deeper is not None:
                    stack.append((deeper, f"{prefix}{name}/", iter(sorted(os.listdir(deeper.fd)))))
        finally:
            for opened, _, _ in reversed(stack):
                opened.close()


def _mark(path: str, info: os.stat_result) -> tuple[Any, ...]:
    return path, info.st_ino, info.st_mode, info.st_size, info.st_mtime_ns, info.st_ctime_ns


def _put(folder: int, name: str, data: bytes, mode: int) -> None:
    """Write one file in place of whatever has its name."""
    with _explained(name):
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
        fd = os.open(name, _NEW, 0o600, dir_fd=folder)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fchmod(fd, stat.S_IMODE(mode))
        finally:
            os.close(fd)


class _Opened(NamedTuple):
    """An open folder, and the mode to give it back if it had to be changed to enter it."""

    fd: int
    mode: int | None

    def close(self) -> None:
        if self.mode is not None:
            with suppress(OSError):
                os.fchmod(self.fd, self.mode)
        os.close(self.fd)


def _open_folder(folder: int, name: str) -> _Opened:
    """A folder, entered even where its owner has forbidden that."""
    mode = stat.S_IMODE(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    if mode & 0o500 == 0o500:
        return _Opened(os.open(name, _FOLDER, dir_fd=folder), None)
    os.chmod(name, mode | 0o700, dir_fd=folder)
    return _Opened(os.open(name, _FOLDER, dir_fd=folder), mode)


def _open_top(path: str) -> _Opened:
    try:
        return _Opened(os.open(path, _FOLDER), None)
    except PermissionError:
        os.chmod(path, 0o755)
        return _Opened(os.open(path, _FOLDER), None)


@contextmanager
def _open_file(folder: int, name: str, info: os.stat_result) -> Iterator[int]:
    """A plain file, opened to read even where its owner has forbidden that."""
    try:
        fd = os.open(name, _PLAIN, dir_fd=folder)
    except PermissionError:
        os.chmod(name, 0o600, dir_fd=folder)
        try:
            fd = os.open(name, _PLAIN, dir_fd=folder)
        finally:
            os.chmod(name, stat.S_IMODE(info.st_mode), dir_fd=folder)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise Refused(f"{name!r} is not a file any more")
        yield fd
    finally:
        os.close(fd)


def _data(fd: int, size: int) -> Iterator[tuple[int, int]]:
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


def _pieces(fd: int, offset: int, size: int) -> Iterator[bytes]:
    while size > 0:
        piece = os.pread(fd, min(size, 1 << 20), offset)
        if not piece:
            return
        yield piece
        offset, size = offset + len(piece), size - len(piece)


def _hollow(info: os.stat_result) -> bool:
    """Whether a file is nearly all hole: it costs its maker nothing and would cost its reader much."""
    return info.st_size > 16 * 512 * info.st_blocks + (1 << 16)


def _digest(folder: int, name: str, info: os.stat_result) -> str:
    """SHA-256 of the content; of a file that is nearly all hole, of its size and what is not."""
    digest = hashlib.sha256()
    with _open_file(folder, name, info) as fd:
        stretches: Any = [(0, info.st_size)]
        if _hollow(info):
            digest.update(f"holes in {info.st_size}".encode())
            stretches = _data(fd, info.st_size)
        for offset, size in stretches:
            for piece in _pieces(fd, offset, size):
                digest.update(piece)
    return digest.hexdigest()


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
    os.chmod(name, 0o700, dir_fd=folder)
    return os.open(name, _FOLDER, dir_fd=folder)


def _set_time(folder: int, name: str, nanoseconds: int) -> None:
    os.utime(name, ns=(nanoseconds, nanoseconds), dir_fd=folder, follow_symlinks=False)


def _kind(info: os.stat_result) -> str:
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link", stat.S_IFIFO: "pipe"}
    return kinds.get(stat.S_IFMT(info.st_mode), "other")


def _shown(path: str) -> str:
    """A path as text that can be written anywhere: bytes that are not UTF-8 as `\\xNN`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(f"not base64: {error}") from error


@contextmanager
def _explained(path: str) -> Iterator[None]:
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
