"""The files of a slot for the host: written, read, listed, packed and unpacked (`walking.py` says how, safely)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import os
import stat
import tarfile
from contextlib import suppress
from typing import Any

from .saving import Saved, put_back, save, wipe
from .walking import NEW, Folders, Refused, data, explained, hollow, kind, open_file, pieces, set_time


class Tree:
    """The writable folders of a slot.

    Args:
        folders: Their paths; the first is the work folder.
        vault: An open folder where nameless files can be made; where absent they are made in memory.
    """

    def __init__(self, folders: tuple[str, ...], vault: int | None) -> None:
        self._folders = Folders(folders)
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
            with self._folders.folder_of(path, make=True) as (folder, name):
                _put(folder, name, data, int(content.get("mode", 0o644)))

    def read(self, path: str, most: int) -> dict[str, Any]:
        """The beginning of a file: `base64`, and the whole `size`.

        Raises:
            Refused: There is no such plain file.
        """
        with self._folders.folder_of(path) as (folder, name), explained(path):
            info = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if not stat.S_ISREG(info.st_mode):
                raise Refused(f"{path!r} is a {kind(info)}, not a file")
            with open_file(folder, name, info) as fd:
                data = b"".join(pieces(fd, 0, min(most, info.st_size)))
        return {"base64": base64.b64encode(data).decode(), "size": info.st_size}

    def look(self) -> dict[str, dict[str, Any]]:
        """Path -> `kind` (file, folder, link, ...), `mode`, and `size` and `sha256` or `target`, of the work folder."""
        found: dict[str, dict[str, Any]] = {}
        for entry, folder in self._folders.walk(0):
            what, info = kind(entry.info), entry.info
            row: dict[str, Any] = {"kind": what, "mode": stat.S_IMODE(info.st_mode)}
            if what == "file":
                try:
                    row.update(size=info.st_size, sha256=_digest(folder, os.path.basename(entry.path), info))
                except (FileNotFoundError, Refused):
                    continue  # gone meanwhile
            elif what == "link":
                row.update(target=_shown(entry.target))
            found[_shown(entry.path)] = row
        return found

    def pack(self) -> str:
        """The work folder as a tar archive, in base64."""
        saved = save(self._folders, self._vault, only_work=True)
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
                what = kind(entry.info)
                if what == "folder":
                    member.type = tarfile.DIRTYPE
                elif what == "link":
                    member.type, member.linkname = tarfile.SYMTYPE, entry.target
                elif what == "pipe":
                    member.type = tarfile.FIFOTYPE
                elif what != "file":
                    continue
                content = bytearray() if what != "file" or hollow(entry.info) else bytearray(entry.info.st_size)
                for part in parts if content else ():
                    content[part.offset : part.offset + part.size] = b"".join(pieces(saved.fd, part.place, part.size))
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
                wipe(self._folders, only_work=only_work)
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
        for root, folder in enumerate(self._folders.paths):
            found.append(_mark("", os.stat(folder)))
            found += [_mark(entry.path, entry.info) for entry, _ in self._folders.walk(root)]
        return found

    def _extract(self, archive: tarfile.TarFile, members: list[tarfile.TarInfo]) -> None:
        folders: list[tarfile.TarInfo] = []
        top = None
        for member in members:
            if member.name in (".", "./"):
                top = member
                continue
            with self._folders.folder_of(member.name, make=True) as (folder, name), explained(member.name):
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
                    set_time(folder, name, int(member.mtime) * 10**9)
        for member in reversed(folders):
            with self._folders.folder_of(member.name) as (folder, name), suppress(OSError):
                os.chmod(name, stat.S_IMODE(member.mode), dir_fd=folder)
                set_time(folder, name, int(member.mtime) * 10**9)
        if top is not None:
            os.utime(self._folders.paths[0], (int(top.mtime), int(top.mtime)))

    def save(self) -> Saved:
        """Put all away. The caller closes the file."""
        return save(self._folders, self._vault)

    def put_back(self, saved: Saved) -> None:
        """Make all what was put away."""
        self._left = None
        put_back(self._folders, saved)

    def extent(self) -> tuple[int, int]:
        """Bytes on disk and number of files and folders, by looking through them all."""
        size = files = 0
        for root in range(len(self._folders.paths)):
            for entry, _ in self._folders.walk(root):
                size, files = size + 512 * entry.info.st_blocks, files + 1
        return size, files

    def full(self) -> str | None:
        """Which limit the disk has reached: `disk_limit`, `file_limit` or None."""
        info = os.statvfs(self._folders.paths[0])
        if info.f_files and info.f_ffree == 0:
            return "file_limit"
        return "disk_limit" if info.f_bavail == 0 else None

    def count(self) -> int:
        """Files and folders that exist, of a disk that counts them; the writable folders themselves aside."""
        disks = {os.stat(path).st_dev: os.statvfs(path) for path in self._folders.paths}
        return sum(disk.f_files - disk.f_ffree for disk in disks.values()) - len(self._folders.paths)


def _put(folder: int, name: str, data: bytes, mode: int) -> None:
    """Write one file in place of whatever has its name."""
    with explained(name):
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
        fd = os.open(name, NEW, 0o600, dir_fd=folder)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fchmod(fd, stat.S_IMODE(mode))
        finally:
            os.close(fd)


def _digest(folder: int, name: str, info: os.stat_result) -> str:
    """SHA-256 of the content; of a file that is nearly all hole, of its size and what is not."""
    digest = hashlib.sha256()
    with open_file(folder, name, info) as fd:
        stretches: Any = [(0, info.st_size)]
        if hollow(info):
            digest.update(f"holes in {info.st_size}".encode())
            stretches = data(fd, info.st_size)
        for offset, size in stretches:
            for piece in pieces(fd, offset, size):
                digest.update(piece)
    return digest.hexdigest()


def _mark(path: str, info: os.stat_result) -> tuple[Any, ...]:
    return path, info.st_ino, info.st_mode, info.st_size, info.st_mtime_ns, info.st_ctime_ns


def _shown(path: str) -> str:
    """A path as text that can be written anywhere: bytes that are not UTF-8 as `\\xNN`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(f"not base64: {error}") from error
