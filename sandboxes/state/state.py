"""State as tables of records over a shared world, copy-on-write.

A `World` is frozen plain data, `{table: {key: record}}`, made once and shared by every environment that starts from
it. A `State` adds what one episode changed. So a new state, a snapshot, a fork, a diff and a digest cost what was
changed, never the size of the world. Records are values: read one, make a changed copy, `put` it back.
"""

from __future__ import annotations

import hashlib
import json
from collections import ChainMap
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cached_property
from typing import Any, TypeAlias

from tir_gym.compare import json_equal
from tir_gym.errors import Conflict
from tir_gym.frozen import FrozenDict, freeze
from tir_gym.sandboxes.state.ids import HashedIds, IdSource
from tir_gym.tool import Injected

Path: TypeAlias = tuple[str, ...]
Changes: TypeAlias = dict[Path, dict[str, Any]]
"""Changed records by table, `None` where a record was deleted."""

_EMPTY: Mapping[str, Any] = {}
_MODULUS = 1 << 512


class World:
    """Initial data, frozen: `{table: {key: record}}`, or `{table: {owner: {key: record}}}` for tables per owner.

    Args:
        data: Plain JSON data; it is copied, so later changes to it do not matter.
    """

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data: FrozenDict = freeze(data)
        self._found: dict[Path, Mapping[str, Any]] = {}  # tables that were looked up, for the next time

    def records(self, path: Path) -> Mapping[str, Any]:
        """The records of the table at `path`; empty where there is none."""
        found = self._found.get(path)
        if found is None:
            found = self.data
            for step in path:
                found = found.get(step, _EMPTY)
            if found is not _EMPTY:  # what is not there may be asked for under any name
                self._found[path] = found
        return found

    @cached_property
    def hash(self) -> int:
        """Sum of the hashes of everything in the world; the base of every state's digest."""
        return sum(_hash_tree((), self.data)) % _MODULUS


class State(Injected):
    """The world as one episode sees it. Tools get it as their hidden argument.

    A subclass may add methods for its tools, but no data of its own: that would be in no snapshot.

    Args:
        world: Where the episode starts.
        now: The simulated clock.
        ids: Where ids of new records come from.
    """

    def __init__(self, world: World, now: datetime, ids: IdSource | None = None) -> None:
        self.world = world
        self.now = now
        self._ids = ids or HashedIds(seed=0)
        self._changes: Changes = {}
        self._issued: dict[str, int] = {}
        self._undo: list[tuple[Path, str, Any]] | None = None
        self._now_before = now
        self._issued_now: dict[str, int] = {}  # by the running call; kept only if it is
        self._turn_writes: dict[tuple[Path, str], dict[str, Any]] = {}

    def table(self, *path: str) -> Table:
        """The table at that path, such as `table("accounts")` or `table("alarms", username)`."""
        return Table(self, path)

    def new_id(self, kind: str, content: Any = None) -> str:
        """A fresh id for a record of that kind."""
        if self._undo is None:
            return self._ids.new(self._issued, kind, content)
        if not self._issued:
            return self._ids.new(self._issued_now, kind, content)
        return self._ids.new(ChainMap(self._issued_now, self._issued), kind, content)

    # What sandboxes use.

    def snapshot(self) -> tuple[Changes, dict[str, int], datetime]:
        return {path: dict(rows) for path, rows in self._changes.items()}, dict(self._issued), self.now

    def restore(self, snapshot: tuple[Changes, dict[str, int], datetime]) -> None:
        changes, issued, self.now = snapshot
        self._changes = {path: dict(rows) for path, rows in changes.items()}
        self._issued = dict(issued)
        self._turn_writes = {}

    def fork(self) -> State:
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__, _undo=None, _issued_now={})
        twin.restore(self.snapshot())
        return twin

    def diff(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Table path joined by `/` -> key -> `{"before": record or None, "after": record or None}`."""
        return {
            "/".join(path): {key: {"before": before, "after": after} for key, before, after in rows}
            for path, rows in self._changed_rows()
        }

    def digest(self) -> str:
        """Digest of the content alone: the same for equal states however they were reached.

        A sum of row hashes (an incremental multiset hash, Bellare and Micciancio 1997), so that it costs the changed
        rows only.
        """
        total = self.world.hash
        for path, rows in self._changed_rows():
            for key, before, after in rows:
                total += sum(_hash_tree((*path, key), after)) if after is not None else 0
                total -= sum(_hash_tree((*path, key), before)) if before is not None else 0
        return hashlib.sha256(f"{total % _MODULUS:x}/{self.now}".encode()).hexdigest()

    def begin_turn(self) -> None:
        """Forget what the last turn wrote: only calls of one turn can conflict."""
        self._turn_writes.clear()

    def begin_call(self) -> None:
        self._undo = []
        self._now_before = self.now
        self._issued_now = {}

    def commit_call(self) -> None:
        """Keep what the call wrote, and remember which fields, so that a later call of the turn cannot lose them."""
        if self._undo:
            for path, key, before in self._undo:
                after = self._read(path, key)
                self._turn_writes.setdefault((path, key), {}).update(_changed_fields(before, after))
        if self._issued_now:
            self._issued.update(self._issued_now)
        self._undo = None

    def rollback_call(self) -> None:
        for path, key, before in reversed(self._undo or []):
            self._changes.setdefault(path, {})[key] = before
        self.now = self._now_before
        self._undo = None

    def _changed_rows(self) -> Iterator[tuple[Path, list[tuple[str, Any, Any]]]]:
        for path in sorted(self._changes):
            base = self.world.records(path)
            rows = [
                (key, base.get(key), after)
                for key, after in sorted(self._changes[path].items())
                if _differ(base.get(key), after)
            ]
            if rows:
                yield path, rows

    def _read(self, path: Path, key: str) -> Any:
        changed = self._changes.get(path)
        if changed is not None and key in changed:
            return changed[key]
        return self.world.records(path).get(key)

    def _write(self, path: Path, key: str, after: Any) -> None:
        before = self._read(path, key)
        earlier = self._turn_writes.get((path, key))
        if earlier:
            for field, value in _changed_fields(before, after).items():
                if _WHOLE in (field, *earlier) or (field in earlier and _differ(earlier[field], value)):
                    raise Conflict(
                        f"another call of this turn has just changed {'/'.join((*path, key))}; "
                        "send this call in a turn of its own"
                    )
        if self._undo is not None:
            self._undo.append((path, key, before))
        self._changes.setdefault(path, {})[key] = after


class Table:
    """Records by key. Reading costs no copy; what is read is frozen."""

    __slots__ = ("_path", "_state")

    def __init__(self, state: State, path: Path) -> None:
        self._state = state
        self._path = path

    def get(self, key: str) -> Any | None:
        """The record, or `None`."""
        return self._state._read(self._path, key)

    def __contains__(self, key: str) -> bool:
        return self.get(key) is not None

    def rows(self) -> Iterator[tuple[str, Any]]:
        """Keys and records: those of the world in its order, then new ones in the order of their writing."""
        base = self._state.world.records(self._path)
        changed = self._state._changes.get(self._path)
        if not changed:
            yield from base.items()
            return
        for key, record in base.items():
            record = changed.get(key, record)
            if record is not None:
                yield key, record
        for key, record in changed.items():
            if record is not None and key not in base:
                yield key, record

    def records(self) -> Iterator[Any]:
        return (record for _, record in self.rows())

    def put(self, key: str, record: Mapping[str, Any]) -> None:
        """Write a record, new or changed.

        Raises:
            Conflict: Another call of the same turn has written another value into the same field.
        """
        self._state._write(self._path, key, freeze(dict(record)))

    def delete(self, key: str) -> None:
        """Remove a record, if it is there."""
        if key in self:
            self._state._write(self._path, key, None)


_WHOLE = "*"
"""Stands for the record's existence among its changed fields."""


def _changed_fields(before: Any, after: Any) -> dict[str, Any]:
    """The fields that a write sets, with their new values; creating and deleting set the whole record."""
    if before is None or after is None:
        return {_WHOLE: after}
    return {
        field: after.get(field)
        for field in {**before, **after}
        if _differ(before.get(field), after.get(field)) or (field in before) != (field in after)
    }


def _differ(a: Any, b: Any) -> bool:
    """Whether two values differ as JSON; Python's `==` alone would call `True` equal to 1."""
    return bool(a != b) or not json_equal(a, b)


def _hash_tree(path: Path, node: Any) -> Iterator[int]:
    """Hashes of the leaves; a branch without leaves counts for nothing, so an emptied table equals a missing one."""
    if isinstance(node, dict):
        for key, child in node.items():
            yield from _hash_tree((*path, key), child)
    else:
        text = json.dumps([path, node], sort_keys=True, separators=(",", ":"))
        yield int.from_bytes(hashlib.blake2b(text.encode()).digest(), "big")
