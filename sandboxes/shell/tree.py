"""A file tree as a value: what the working folder holds, apart from any disk.

`Tree` maps paths to entries and is never changed, only replaced, so a snapshot, a fork and a diff cost next to nothing
and a task's files are shared by all that play it. `WorkTree` is the tree that a sandbox works on: tools read and write
it by path, under the sandbox's limits. Nothing here touches a file system: links are followed within the tree only.
"""

from __future__ import annotations

import binascii
import difflib
import hashlib
import json
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from tir_gym.errors import Conflict, DiskLimit, FileLimit, OutputLimit, ToolError, UsageError
from tir_gym.sandbox import Limits
from tir_gym.sandboxes.bounded import bounded
from tir_gym.sandboxes.slotted import SHOWN_BYTES, contents_by_path
from tir_gym.tool import Injected

ROOT = "/work"
"""Where commands find the tree."""

LARGEST_TEXT = 2 << 20
"""Bytes of a file that tools in this process take in; taken apart into lines it needs many times its size."""

_MOST_LINKS = 16
_LONGEST_NAME = 255
_DEEPEST = 200


@dataclass(frozen=True)
class File:
    """A regular file. Of its mode, whether it can be executed is all that counts, as in version control."""

    content: bytes
    executable: bool = False

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def text(self) -> str | None:
        """Its content as text; `None` for what is none."""
        try:
            text = self.content.decode("utf-8")
        except UnicodeDecodeError:
            return None
        return None if "\0" in text else text

    def record(self) -> dict[str, Any]:
        shown = {"text": self.text} if len(self.content) <= SHOWN_BYTES and self.text is not None else None
        return {"kind": "file", "executable": self.executable, **(shown or {"sha256": self.sha256})}


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: str

    def record(self) -> dict[str, Any]:
        return {"kind": "link", "target": self.target}


@dataclass(frozen=True)
class Folder:
    """A folder; what is in it stands in the tree under its own path."""

    def record(self) -> dict[str, Any]:
        return {"kind": "folder"}


Entry: TypeAlias = File | Link | Folder
Tree: TypeAlias = Mapping[str, Entry]
"""Entries by path relative to the root, `src/app.py`; every folder has an entry, but for the root. Never changed."""


def tree_of(files: Mapping[str, Any]) -> Tree:
    """The tree with those files.

    Args:
        files: By path: text, bytes, or `{"text" or "base64": ..., "executable": True}`; or a link, `{"link": target}`.

    Raises:
        UsageError: A path that leads out of the tree or through a file, or content of another kind.
    """
    tree: dict[str, Entry] = {}
    for path, content in contents_by_path(files).items():
        name = _inside(path)
        if not name:
            raise UsageError(f"files: {path!r} is no path inside the folder; give one such as 'src/app.py'")
        for folder in parents(name):
            if not isinstance(tree.setdefault(folder, Folder()), Folder):
                raise UsageError(f"files: {folder!r} is a file, so {path!r} cannot be in it")
        if name in tree:
            raise UsageError(f"files: {path!r} is there twice, or is a folder of another file")
        tree[name] = _entry(path, content)
    return tree


def check_fits(tree: Tree, limits: Limits) -> None:
    """See that a sandbox may begin with a tree.

    Raises:
        UsageError: It has more files and folders, or more bytes, than the limits allow.
    """
    if len(tree) > limits.files:
        raise UsageError(
            f"files: {len(tree)} files and folders, and the limit `files` is {limits.files}; give fewer, or raise it"
        )
    size = _size(tree)
    if size > limits.disk:
        raise UsageError(f"files: {size} bytes, and the limit `disk` is {limits.disk}; give less, or raise it")


def digest(tree: Tree) -> str:
    """Hex digest of what the tree holds."""
    rows = [[path, _identity(tree[path])] for path in sorted(tree)]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def changes(before: Tree, after: Tree) -> dict[str, dict[str, dict[str, Any]]]:
    """`{"files": {path: {"before": record, "after": record}}}`, empty where nothing has changed.

    A record says the `kind`; of a file also `executable`, and `text` or, where it is long or none, `sha256`; of a link
    its `target`. What is not there is an empty record and not `None`: paths are chosen, not generated like ids, so a
    new file is compared by its path.
    """
    if before is after:
        return {}
    changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    rows = {path: {"before": _record(before.get(path)), "after": _record(after.get(path))} for path in changed}
    return {"files": rows} if rows else {}


def parents(path: str) -> Iterator[str]:
    """The folders above a path, the outermost first, without the root."""
    steps = path.split("/")[:-1]
    return ("/".join(steps[: i + 1]) for i in range(len(steps)))


def shown(path: str) -> str:
    """A path as an agent reads it: bytes that are no text, which a command may put into a name, as `\\xNN`."""
    return path if path.isascii() else path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class WorkTree(Injected):
    """The tree that a sandbox works on. Tools get it as their hidden argument and refuse by `ToolError`.

    Args:
        tree: Where it starts.
        limits: `files` and `disk` hold here; a write beyond them is refused as `FileLimit` or `DiskLimit`.
    """

    def __init__(self, tree: Tree, limits: Limits) -> None:
        self.tree = tree
        self._limits = limits
        self._just_written: set[str] = set()

    def begin_turn(self) -> None:
        """Forget what the last turn wrote: only calls of one turn can conflict."""
        self._just_written.clear()

    def claim(self, path: str) -> None:
        """Say that what the file holds is about to be lost.

        Raises:
            Conflict: Another call of the same turn has just written it.
        """
        if self.place(path) in self._just_written:
            raise Conflict(f"another call of this turn has just written {path}; send this call in a turn of its own")

    def place(self, path: str) -> str:
        """A path as the tree has it, links followed: `./src/../a.txt` and `/work/a.txt` are `a.txt`; the root is "".

        Raises:
            ToolError: It leads out of the working folder, or in a circle.
        """
        for _ in range(_MOST_LINKS):
            name = _inside(path)
            if name is None:
                raise ToolError(f"{path:.300} is no path inside the working folder; give one such as src/app.py")
            link = next((step for step in (*parents(name), name) if isinstance(self.tree.get(step), Link)), None)
            if link is None:
                return name
            target = self.tree[link]
            assert isinstance(target, Link)
            rest = name[len(link) :]
            path = f"{target.target}{rest}" if target.target.startswith("/") else f"{link}/../{target.target}{rest}"
        raise ToolError(f"{path} leads through too many links")

    def file(self, path: str) -> tuple[str, File]:
        """The file at a path, with its place.

        Raises:
            ToolError: There is none.
        """
        place = self.place(path)
        entry = self.tree.get(place)
        if isinstance(entry, File):
            return place, entry
        if entry is not None or not place:
            raise ToolError(f"{path} is a folder, not a file")
        raise ToolError(f"there is no file {path}{self._hint(place)}")

    def text(self, path: str) -> tuple[str, str]:
        """The text of the file at a path, with its place.

        Raises:
            ToolError: There is none, or it is no text, or too long to be taken into this process.
        """
        place, file = self.file(path)
        if len(file.content) > LARGEST_TEXT:
            raise ToolError(f"{path} has {len(file.content)} bytes, too many for this tool; use a command")
        if file.text is None:
            raise ToolError(f"{path} is no text file")
        return place, file.text

    def bounded(self, text: str) -> str:
        """The text, if one call may give that much back.

        Raises:
            OutputLimit: It is too long; with its beginning.
        """
        if len(text) <= self._limits.output // 4:  # no character takes more than four bytes
            return text
        data = text.encode("utf-8", "surrogatepass")
        if len(data) <= self._limits.output:
            return text
        begin = data[: self._limits.output].decode("utf-8", "ignore")
        raise OutputLimit(f"more than {self._limits.output} bytes; the rest is cut off", content=begin)

    def rows(self, found: dict[str, Any], name: str) -> dict[str, Any]:
        """A result with a list of that name, if one call may give that much back; errors as `bounded.py`."""
        return bounded(found, name, self._limits.output)

    def must_fit(self, size: int) -> None:
        """See that a text may be written before it is put together.

        Args:
            size: Its characters.

        Raises:
            DiskLimit: It may not.
        """
        if size > self._limits.disk:
            raise DiskLimit(f"the file would take more than {self._limits.disk} bytes")

    def below(self, path: str) -> list[tuple[str, File]]:
        """The files in a folder and in all folders below it, or the one file at that path, by path.

        Raises:
            ToolError: There is neither.
        """
        place = self.place(path)
        entry = self.tree.get(place)
        if isinstance(entry, File):
            return [(place, entry)]
        if entry is None and place:
            raise ToolError(f"there is no folder {path}{self._hint(place)}")
        start = f"{place}/" if place else ""
        found = (item for item in self.tree.items() if item[0].startswith(start))
        return sorted((name, item) for name, item in found if isinstance(item, File))

    def put(self, path: str, content: str | bytes, executable: bool | None = None) -> str:
        """Write a file, making the folders above it; its place.

        Args:
            path: Where.
            content: All of it.
            executable: Whether it can be run; as the file that it replaces by default.

        Raises:
            ToolError: A folder is there, or a file stands where a folder should.
        """
        place = self.place(path)
        there = self.tree.get(place)
        if not place or isinstance(there, Folder):
            raise ToolError(f"{path} is a folder; name the file in it")
        try:
            data = content.encode("utf-8") if isinstance(content, str) else content
        except UnicodeEncodeError:
            raise ToolError("the text has characters that are no valid Unicode") from None
        if executable is None:
            executable = isinstance(there, File) and there.executable
        self._replace({**self._folders_for(place), place: File(data, executable)})
        self._just_written.add(place)
        return place

    def remove(self, path: str) -> None:
        """Remove the file at a path, or the link itself; errors as `file`."""
        place = _inside(path)
        if place is None or not isinstance(self.tree.get(place), Link):
            place, _ = self.file(path)
        self.tree = {name: entry for name, entry in self.tree.items() if name != place}

    def _folders_for(self, place: str) -> dict[str, Entry]:
        made: dict[str, Entry] = {}
        for folder in parents(place):
            entry = self.tree.get(folder)
            if entry is None:
                made[folder] = Folder()
            elif not isinstance(entry, Folder):
                raise ToolError(f"{folder} is a file, so nothing can be in it")
        return made

    def _replace(self, entries: Mapping[str, Entry]) -> None:
        tree = {**self.tree, **entries}
        if len(tree) > self._limits.files:
            raise FileLimit(f"there would be more than {self._limits.files} files and folders")
        if _size(tree) > self._limits.disk:
            raise DiskLimit(f"the files would take more than {self._limits.disk} bytes")
        self.tree = tree

    def _hint(self, place: str) -> str:
        """Where to look instead: a file of that name elsewhere, or the nearest name."""
        name = place.rpartition("/")[2]
        there = sorted(path for path in self.tree if path.rpartition("/")[2] == name)[:3]
        near = there or difflib.get_close_matches(place[:200], self.tree, n=2)
        return f"; did you mean {' or '.join(near)}?" if near else ""


def _inside(path: str) -> str | None:
    """The path from the root, without `.`, `..` and doubled slashes; `None` where it leads out or cannot be a path."""
    if "\0" in path or len(path) > 4096:
        return None
    if path.startswith("/"):
        if path != ROOT and not path.startswith(f"{ROOT}/"):
            return None
        path = path[len(ROOT) :]
    steps: list[str] = []
    for step in path.split("/"):
        if step == "..":
            if not steps:
                return None
            steps.pop()
        elif step not in ("", "."):
            steps.append(step)
    try:
        long = any(len(step.encode("utf-8", "surrogateescape")) > _LONGEST_NAME for step in steps)
    except UnicodeEncodeError:
        return None
    return None if long or len(steps) > _DEEPEST else "/".join(steps)


def _entry(path: str, content: Any) -> Entry:
    try:
        if isinstance(content, str):
            return File(content.encode("utf-8"))
        if isinstance(content, bytes):
            return File(content)
        if isinstance(content, Mapping):
            known = set(content) - {"executable"}
            executable = content.get("executable", False) is True
            if known == {"text"}:
                return File(str(content["text"]).encode("utf-8"), executable)
            if known == {"base64"}:
                return File(b64decode(content["base64"], validate=True), executable)
            if set(content) == {"link"}:
                return Link(str(content["link"]))
    except (UnicodeEncodeError, binascii.Error, TypeError) as error:
        raise UsageError(f"files: the content of {path!r} is no valid Unicode or base64: {error}") from None
    raise UsageError(
        f"files: {path!r} is {content!r:.80}; give text, bytes, {{'text': ..., 'executable': True}} or {{'link': ...}}"
    )


def _size(tree: Tree) -> int:
    return sum(len(entry.content) for entry in tree.values() if isinstance(entry, File))


def _record(entry: Entry | None) -> dict[str, Any]:
    return entry.record() if entry is not None else {}


def _identity(entry: Entry) -> list[Any]:
    if isinstance(entry, File):
        return ["file", entry.executable, entry.sha256]
    return ["folder"] if isinstance(entry, Folder) else ["link", entry.target]
