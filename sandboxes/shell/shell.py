"""`Shell`: a work tree on which commands can run, in a slot that is filled with it first and read afterwards.

A command begins in the same place whatever came before it: the folder is filled anew with the tree's files, in order
and with one date, unless nothing has touched it since that was last done. So what a command prints depends on the tree
and on nothing else that an agent did, and a slot can be given back at any time: it holds nothing that is not in the
tree.
"""

from __future__ import annotations

import base64
import io
import tarfile
import threading
import weakref
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from tir_gym.errors import DiskLimit, SandboxDied
from tir_gym.sandbox import Limits
from tir_gym.sandboxes.outcome import printed
from tir_gym.sandboxes.shell.tree import Entry, File, Folder, Link, Tree, WorkTree
from tir_gym.sandboxes.slotted import Slot

DATE = 1_735_689_600
"""When all files were changed, as commands see it: 2025-01-01 00:00:00 UTC."""

_MOST_READ = 32
"""Files fetched one by one; of more, the whole tree is."""


class Shell(WorkTree):
    """A work tree and a slot for its commands, taken at the first command.

    Args:
        tree: Where it starts.
        limits: Of every command; `files` and `disk` also of the tree.
        lease: Gives a slot that nobody has used.
    """

    def __init__(self, tree: Tree, limits: Limits, lease: Callable[[], Slot]) -> None:
        super().__init__(tree, limits)
        self._lease = lease
        self._slot: Slot | None = None
        self._archive: tuple[Tree, str] | None = None
        """The last tree that a slot was filled with, as it was sent."""
        self._held: Tree | None = None
        """The tree that the slot holds as if just filled with it."""
        self._lock = threading.RLock()
        self.kept = tree
        """The tree as the last command left it: what a later refusal cannot undo."""

    def execute(self, command: str) -> str:
        """Run a command for bash in the working folder; what it printed, errors last.

        Raises:
            ToolError: It ended with another status than 0, or reached a limit; what it wrote until then is kept.
            SandboxUnavailable: No slot is to be had.
            SandboxDied: The slot broke; the tree is as before, and the next command takes another slot.
        """
        with self._lock:
            slot = self._slot if self._slot is not None and self._slot.alive else self._take()
            try:
                if self._held is None or self._held != self.tree:
                    self._fill(slot)
                self._held = None
                reply = _ask(slot, "run", argv=["/bin/bash", "-c", command])
                try:
                    self.tree = self.kept = self._read(slot)
                except DiskLimit as refusal:  # where the disk does not end at its limit; the command has run
                    refusal.content = reply["out"] + reply["err"] or None
                    raise
            except SandboxDied:
                self.release()
                raise
            return printed(reply, self._limits)

    def release(self) -> None:
        """Give the slot back; the next command takes another."""
        with self._lock:
            if self._slot is not None:
                self._finalizer()
                self._slot = None

    def _take(self) -> Slot:
        slot = self._slot = self._lease()
        self._held = None
        self._finalizer = weakref.finalize(self, slot.close)
        return slot

    def _fill(self, slot: Slot) -> None:
        if self._archive is None or self._archive[0] is not self.tree:
            self._archive = self.tree, base64.b64encode(packed(self.tree)).decode()
        _ask(slot, "unpack", tar=self._archive[1], wipe=True)

    def _read(self, slot: Slot) -> Tree:
        """The tree as the command left it; contents that it did not change are the same objects as before.

        Raises:
            DiskLimit: It is too large to be kept, as with files that are mostly holes.
        """
        reply = _ask(slot, "tree", marks=True)
        listed = reply["tree"]
        size = sum(entry.get("size", 0) for entry in listed.values())
        if size > self._limits.disk:
            raise self._too_large()
        changed = [
            path for path, entry in listed.items() if entry["kind"] == "file" and self._known(path, entry) is None
        ]
        # A path with a backslash may be a name that is no text, shown in another form.
        if len(changed) > _MOST_READ or any("\\" in path for path in listed):
            found = self._whole(slot, listed)
            if size != sum(len(entry.content) for entry in found.values() if isinstance(entry, File)):
                raise self._too_large()
        else:
            found = {path: entry for path in sorted(listed) if (entry := self._entry(slot, path, listed[path]))}
        if found != self.tree:
            return found
        if reply["untouched"]:
            self._held = self.tree
        return self.tree

    def _whole(self, slot: Slot, listed: Mapping[str, Any]) -> dict[str, Entry]:
        """The tree in one piece. Holes are missing there, so files with holes are fetched, if their names are text."""
        found = dict(unpacked(base64.b64decode(_ask(slot, "pack")["tar"])))
        for path, entry in list(found.items()):
            if isinstance(entry, File) and path in listed and listed[path].get("size") != len(entry.content):
                found[path] = self._entry(slot, path, listed[path]) or entry
        return found

    def _entry(self, slot: Slot, path: str, row: Mapping[str, Any]) -> Entry | None:
        """What stands at a path; `None` for pipes and the like, which end with their command."""
        if row["kind"] == "folder":
            return Folder()
        if row["kind"] == "link":
            return Link(row["target"])
        if row["kind"] != "file":
            return None
        content = self._known(path, row)
        if content is None:
            content = base64.b64decode(_ask(slot, "read", path=path, max=self._limits.disk)["base64"])
        return File(content, bool(row["mode"] & 0o100))

    def _known(self, path: str, row: Mapping[str, Any]) -> bytes | None:
        """The content of a file that is as it was."""
        old = self.tree.get(path)
        return old.content if isinstance(old, File) and old.sha256 == row["sha256"] else None

    def _too_large(self) -> DiskLimit:
        return DiskLimit(f"the files would take more than {self._limits.disk} bytes; what the command wrote is undone")


def _ask(slot: Slot, op: str, **fields: Any) -> dict[str, Any]:
    """The reply of a slot.

    Raises:
        DiskLimit: There is no room on its disk, where files take whole pages and folders some, too.
        SandboxDied: It refuses anything else, which no command can make it do.
    """
    reply = slot.request(op, **fields)
    if "error" not in reply:
        return reply
    if reply.get("kind") == "disk_limit":
        raise DiskLimit(f"the files do not fit on the disk of the shell: {reply['error']}")
    raise SandboxDied(f"the slot refused {op!r}: {reply['error']}")


def packed(tree: Tree) -> bytes:
    """The tree as a tar archive: the root, then entries by path; one date, no owner."""
    parts = [_header(".", tarfile.DIRTYPE, 0o755)]
    for path in sorted(tree):
        entry = tree[path]
        if isinstance(entry, Folder):
            parts.append(_header(path, tarfile.DIRTYPE, 0o755))
        elif isinstance(entry, Link):
            parts.append(_header(path, tarfile.SYMTYPE, 0o777, target=entry.target))
        else:
            size = len(entry.content)
            parts += (
                _header(path, tarfile.REGTYPE, 0o755 if entry.executable else 0o644, size=size),
                entry.content,
                bytes(-size % tarfile.BLOCKSIZE),
            )
    return b"".join([*parts, bytes(2 * tarfile.BLOCKSIZE)])


@lru_cache(maxsize=4096)  # making them is most of the work, and from command to command few change
def _header(path: str, kind: bytes, mode: int, *, size: int = 0, target: str = "") -> bytes:
    info = tarfile.TarInfo(path)
    info.type, info.mode, info.size, info.linkname, info.mtime = kind, mode, size, target, DATE
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def unpacked(archive: bytes) -> Tree:
    """The tree in a tar archive."""
    found: dict[str, Entry] = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        for member in opened:
            if member.name == ".":
                continue
            if member.isdir():
                found[member.name] = Folder()
            elif member.issym():
                found[member.name] = Link(member.linkname)
            elif member.isreg():
                content = opened.extractfile(member)
                found[member.name] = File(content.read() if content else b"", bool(member.mode & 0o100))
    return found
