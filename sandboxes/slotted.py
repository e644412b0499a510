"""What sandboxes over a slot share: a slot taken when it is needed, files, pictures, forks, the tree as state.

A slot is an isolated place with a work folder and an interpreter, driven by requests (`jail/slot.py`; a container has
one too). `JailSandbox`, `ShellSandbox` and `ContainerSandbox` say which tools there are and where slots come from.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import threading
import weakref
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, ClassVar, Protocol, Self, TypeAlias

from tir_gym.errors import InfrastructureError, SandboxDied, ToolError, UsageError
from tir_gym.records import ToolCall, ToolResult
from tir_gym.sandbox import Limits, Sandbox, check_picture
from tir_gym.tool import Injected, Toolkit

log = logging.getLogger("tir_gym.sandbox")

SHOWN_BYTES = 64 * 1024
"""A larger file stands in a diff by its hash."""

Files: TypeAlias = Mapping[str, str | bytes]
Request: TypeAlias = tuple[str, dict[str, Any]]


class Slot(Protocol):
    """Where code runs. See `jail/slot.py` for the requests."""

    @property
    def alive(self) -> bool: ...

    def request(self, op: str, **fields: Any) -> dict[str, Any]: ...

    def close(self) -> None: ...


@dataclass(frozen=True, eq=False)
class Picture:
    """A state of a sandbox; opaque, for `SlotSandbox.restore`."""

    log: tuple[Request, ...]
    slot: Slot | None = field(repr=False, default=None)
    """Which slot holds it; `None` for a state before the first call."""
    id: int | None = None
    tree: bytes | None = field(repr=False, default=None)
    """The work folder as a tar archive, where it came from another slot."""


class SlotSandbox(Sandbox, Injected):
    """Runs a toolkit whose tools work on a slot. Tools get the sandbox itself, and use `request`.

    The slot is taken at the first call and given back by `close`, by going back to the initial state, or when the
    sandbox is collected. So a sandbox that was only made, or forked before its first call, costs no process.

    Restoring a picture taken in the same slot is exact. In another slot (of a fork, or after the slot was given back)
    the calls made so far are played again, and then the files are put as they were; so what code read off the clock
    may differ there.

    Args:
        limits: What each slot may use.
        files: Initial content of the work folder, by relative path.
    """

    toolkit: ClassVar[Toolkit]
    keeps_variables: bool = False
    """Whether an interpreter lives on between calls, so that its past is part of the state."""

    _slot: Slot | None
    _log: list[Request]
    """What was asked since the initial state; with `_tree`, how a new slot gets to where this one is."""
    _tree: bytes | None
    """The work folder to put into the next slot, as a tar archive."""
    _dropped: list[int]
    """Pictures that nobody holds any more."""

    def __init__(self, *, limits: Limits, files: Files | None = None) -> None:
        self.limits = limits
        self.specs = self.toolkit.specs
        self._files = {
            _checked_path(path): _bytes(path, content) for path, content in contents_by_path(files or {}).items()
        }
        self._injected: Mapping[type, Any] = dict.fromkeys(type(self).__mro__, self)
        self._forget()

    @abstractmethod
    def lease(self) -> Slot:
        """A slot of its own, without files. Subclasses say where from.

        Raises:
            SandboxUnavailable: There is none to be had.
        """

    def call(self, call: ToolCall) -> ToolResult:
        try:
            tool = self.toolkit.find(call.name)
            return ToolResult(tool.run(call.arguments, self._injected))
        except ToolError as refusal:
            return ToolResult(refusal.content, str(refusal), refusal.kind)
        except InfrastructureError as error:
            error.tool = error.tool or call.name
            raise

    def request(self, op: str, *, changes: bool = True, **fields: Any) -> dict[str, Any]:
        """Ask the slot, taking one first if there is none.

        Args:
            op: See `jail/slot.py`.
            changes: Whether the state may be another afterwards.
            fields: Of the request.
        """
        with self._lock:
            slot = self._slot or self._take()
            while self._dropped:
                slot.request("drop", id=self._dropped.pop())
            reply = slot.request(op, **fields)
            if changes:
                self._log.append((op, fields))
            return reply

    # The state.

    def snapshot(self) -> Picture:
        with self._lock:
            if self._slot is None:
                return Picture(tuple(self._log), tree=self._tree)
            id = self.request("snapshot", changes=False).get("id")
            if id is None:  # the slot keeps so many already, or has no room for another
                return Picture(tuple(self._log), tree=_packed(self._slot))
            picture = Picture(tuple(self._log), self._slot, id)
            # Not asked for at once: whoever collects garbage may be in the middle of another request.
            weakref.finalize(picture, self._dropped.append, id)
            return picture

    def restore(self, snapshot: Picture) -> None:
        check_picture(snapshot, Picture)
        with self._lock:
            if snapshot.slot is not None and snapshot.slot is self._slot and self._slot.alive:
                reply = self.request("restore", changes=False, id=snapshot.id)
                # Code may end the processes that hold its pictures; then its calls are played again like elsewhere.
                if "error" not in reply and not reply.get("lost"):
                    self._log = list(snapshot.log)
                    return
            tree = _tree_of(snapshot)
            self._give_back()
            self._log, self._tree = list(snapshot.log), tree

    def fork(self) -> Self:
        with self._lock:
            twin = self._copy()
            twin._injected = dict.fromkeys(type(twin).__mro__, twin)
            twin._forget()
            twin._log, twin._tree = list(self._log), self._tree
            if self._slot is not None and self._log:
                twin._tree = _packed(self._slot)
            return twin

    def digest(self) -> str:
        """Of the files; where variables live on, also of the code that ran, because variables cannot be compared."""
        past = [fields for _, fields in self._log] if self.keeps_variables else []
        state = json.dumps([sorted(self._look().items()), past], sort_keys=True)
        return hashlib.sha256(state.encode("utf-8", "surrogatepass")).hexdigest()

    def diff(self) -> dict[str, Any]:
        """Table `files`: path -> `before`, `after`; a record says the kind and, of a file, text or hash.

        An absent file is an empty record and not `None`: paths are chosen, not generated like ids, so a new file is
        compared by its path.
        """
        before, after = self._initial(), self._look()
        changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
        rows = {path: {"before": self._old(path, before), "after": self._new(path, after)} for path in changed}
        return {"files": rows} if rows else {}

    def close(self) -> None:
        with self._lock:
            self._give_back()

    # How it is done.

    def _copy(self) -> Self:
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    def _forget(self) -> None:
        self._lock = threading.RLock()
        self._slot = None
        self._log = []
        self._tree = None
        self._dropped = []

    def _take(self) -> Slot:
        """A slot in the state that the log and the tree describe."""
        slot = self.lease()
        try:
            if self._files:
                reply = slot.request("write", files={path: _as_field(data) for path, data in self._files.items()})
                if "error" in reply:
                    raise UsageError(f"files: {reply['error']}; give less, or a larger limit")
            if self.keeps_variables or self._tree is None:
                for op, fields in self._log:
                    slot.request(op, **fields)
            if self._tree is not None:
                reply = slot.request("unpack", tar=base64.b64encode(self._tree).decode())
                if "error" in reply:
                    raise SandboxDied(f"the files of the picture cannot be put back: {reply['error']}")
        except BaseException:
            slot.close()
            raise
        self._slot, self._tree = slot, None
        self._finalizer = weakref.finalize(self, slot.close)
        return slot

    def _give_back(self) -> None:
        if self._slot is not None:
            self._finalizer()
            self._slot, self._tree, self._log, self._dropped = None, None, [], []

    def _initial(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for path, data in self._files.items():
            found[path] = {"kind": "file", "sha256": hashlib.sha256(data).hexdigest(), "executable": False}
            for folder in list(PurePosixPath(path).parents)[:-1]:
                found[str(folder)] = {"kind": "folder"}
        return found

    def _look(self) -> dict[str, dict[str, Any]]:
        if self._slot is None and not self._log:
            return self._initial()
        tree = self.request("tree", changes=False)["tree"]
        return {path: _entry(entry) for path, entry in tree.items()}

    def _old(self, path: str, entries: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        return _record(entries.get(path), self._content_before(path))

    def _content_before(self, path: str) -> bytes:
        return self._files.get(path, b"")

    def _new(self, path: str, entries: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        entry = entries.get(path)
        data = b""
        if entry is not None and entry["kind"] == "file":
            reply = self.request("read", changes=False, path=path, max=SHOWN_BYTES + 1)
            data = base64.b64decode(reply.get("base64", ""))
        return _record(entry, data)


def contents_by_path(files: Any) -> Mapping[str, Any]:
    """The option `files`, which must be contents by path.

    Raises:
        UsageError: It is something else.
    """
    if not isinstance(files, Mapping) or not all(isinstance(path, str) for path in files):
        raise UsageError(f"files={files!r:.80}: give contents by path, such as {{'prices.csv': 'apple,3'}}")
    return files


def _record(entry: Mapping[str, Any] | None, data: bytes) -> dict[str, Any]:
    if entry is None:
        return {}
    if entry["kind"] != "file":
        return dict(entry)
    record = {"kind": "file", "executable": entry["executable"]}
    if len(data) <= SHOWN_BYTES:
        try:
            return record | {"text": data.decode()}
        except UnicodeDecodeError:
            pass
    return record | {"sha256": entry["sha256"]}


def _entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What counts of an entry of a slot's tree: no times, no owners, of the mode whether it can be run."""
    if entry["kind"] == "file":
        return {"kind": "file", "sha256": entry["sha256"], "executable": bool(entry["mode"] & 0o100)}
    if entry["kind"] == "link":
        return {"kind": "link", "target": entry["target"]}
    return {"kind": entry["kind"]}


def _tree_of(picture: Picture) -> bytes | None:
    """The files of a picture, fetched from the slot that holds it if that still lives."""
    if picture.slot is None or not picture.log:
        return picture.tree
    try:
        return _packed(picture.slot, id=picture.id)
    except SandboxDied:
        return None  # the calls are played again, and make the files once more


def _packed(slot: Slot, **which: Any) -> bytes:
    reply = slot.request("pack", **which)
    if "error" in reply:
        raise SandboxDied(f"the work folder cannot be packed: {reply['error']}")
    return base64.b64decode(reply["tar"])


def _checked_path(path: str) -> str:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\0" in path or str(pure) == ".":
        raise UsageError(f"files: {path!r} must be a relative path inside the work folder, without '..'")
    return str(pure)


def _bytes(path: str, content: str | bytes) -> bytes:
    if isinstance(content, str):
        try:
            return content.encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"files: the content of {path!r} is no valid Unicode ({error}); give bytes") from None
    if isinstance(content, bytes):
        return content
    raise UsageError(f"files: the content of {path!r} is a {type(content).__name__}; give text or bytes")


def _as_field(data: bytes) -> dict[str, Any]:
    return {"base64": base64.b64encode(data).decode()}
