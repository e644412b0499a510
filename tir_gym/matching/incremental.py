"""Keeping an optimal assignment optimal while rows arrive: one shortest augmenting path per row.

The Hungarian method in the form of Jonker and Volgenant (Computing 38, 1987), for a maximum-weight assignment with a
fixed number of columns and rows without end. A row may stay unmatched, at weight 0; pairs of weight 0 are never made.
So a row only ever looks at its positive entries, which for calls of tools are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Self

_UNMATCHED = -1
_INFINITE = float("inf")


@dataclass(frozen=True, slots=True)
class AssignmentSnapshot:
    """A picture of an `IncrementalAssignment`; costs one pointer per row."""

    rows: tuple[tuple[tuple[int, float], ...], ...]
    row_of: tuple[int, ...]
    weight_of: tuple[float, ...]
    price: tuple[float, ...]


class IncrementalAssignment:
    """The best assignment of the rows so far.

    Args:
        columns: Their number, G.
    """

    def __init__(self, columns: int) -> None:
        self._rows: list[tuple[tuple[int, float], ...]] = []
        self._row_of = [_UNMATCHED] * columns
        self._weight_of = [0.0] * columns  # of each column's match, 0 for a free column
        # Dual variables of the columns, all >= 0, and 0 for a free column. A row's own dual, what it gains at best
        # after paying for its column, is max(0, max_j weight_j - price_j), and is worked out when needed.
        self._price = [0.0] * columns

    @property
    def pairs(self) -> tuple[tuple[int, int, float], ...]:
        """`(row, column, weight)` of each match, by row."""
        matches = zip(self._row_of, range(len(self._row_of)), self._weight_of, strict=True)
        return tuple(sorted([match for match in matches if match[0] != _UNMATCHED]))

    @property
    def value(self) -> float:
        """Total weight of the matches; summed afresh from them, so it carries no rounding from the duals."""
        return sum(self._weight_of)

    def add(self, row: Sequence[float]) -> bool:
        """Take in a row of weights `[G]`, non-negative and finite. O(G^2 log G); O(G) where it has no rival.

        Returns:
            Whether any match has changed.
        """
        entries = tuple([(column, weight) for column, weight in enumerate(row) if weight > 0.0])
        self._rows.append(entries)
        return bool(entries) and self._augment(len(self._rows) - 1)

    def snapshot(self) -> AssignmentSnapshot:
        return AssignmentSnapshot(tuple(self._rows), tuple(self._row_of), tuple(self._weight_of), tuple(self._price))

    def restore(self, snapshot: AssignmentSnapshot) -> None:
        self._rows = list(snapshot.rows)
        self._row_of = list(snapshot.row_of)
        self._weight_of = list(snapshot.weight_of)
        self._price = list(snapshot.price)

    def fork(self) -> Self:
        twin = type(self)(len(self._row_of))
        twin.restore(self.snapshot())
        return twin

    def _augment(self, new: int) -> bool:
        """Dijkstra from the new row to the cheapest end: a free column, or a row that gives up its own.

        Distances are reduced costs: what a row loses by taking an edge, against its best choice. The new row may be the
        end itself, and then nothing changes.
        """
        rows, row_of, price = self._rows, self._row_of, self._price
        reached: dict[int, float] = {}  # least distance of each column seen
        settled: dict[int, float] = {}
        came_from: dict[int, int] = {}  # the row from which a column is reached at that distance
        ends: list[tuple[float, bool, int]] = []  # heap of distance, whether taken, column; free columns go first
        row, so_far = new, 0.0
        end_row, end_column, shortest = new, _UNMATCHED, _INFINITE
        while True:
            entries = rows[row]
            best = max(0.0, max([weight - price[column] for column, weight in entries]))
            base = so_far + best
            if base < shortest:  # this row could stay unmatched and forgo its gain
                end_row, end_column, shortest = row, _UNMATCHED, base
            for column, weight in entries:
                reach = base - weight + price[column]
                if reach < shortest and reach < reached.get(column, _INFINITE) and column not in settled:
                    reached[column], came_from[column] = reach, row
                    heappush(ends, (reach, row_of[column] != _UNMATCHED, column))
            while ends and (ends[0][2] in settled or ends[0][0] > reached[ends[0][2]]):
                heappop(ends)
            if not ends or ends[0][0] >= shortest:
                break
            so_far, taken, column = heappop(ends)
            settled[column] = so_far
            if not taken:
                end_column, shortest = column, so_far
                break
            row = row_of[column]
        for column, reach in settled.items():
            if reach < shortest:
                price[column] += shortest - reach
        if end_row == new and end_column == _UNMATCHED:
            return False
        self._flip(new, end_row, end_column, came_from)
        return True

    def _flip(self, new: int, end_row: int, end_column: int, came_from: dict[int, int]) -> None:
        """Shift every match along the path that leads to its end."""
        row_of = self._row_of
        if end_column == _UNMATCHED:
            end_column = row_of.index(end_row)  # the row that gives up its column
        column = end_column
        while True:
            row = came_from[column]
            previous = row_of.index(row) if row != new else _UNMATCHED
            row_of[column] = row
            self._weight_of[column] = next(weight for at, weight in self._rows[row] if at == column)
            if row == new:
                return
            column = previous
