"""Keys and values of many sequences: a row for each, preallocated, in tensors that models of transformers write to.

A row is a place. Which sequence holds it, and how much of it counts, is the batch's business (`batch.py`); a forward
pass is told by `aim` where its tokens go and how far attention looks. Tensors are made at the first pass, in the shapes
that the model itself gives, and grow as rows and columns are asked for.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import Cache


class KeyValues(Cache):
    """`[rows, heads, columns, dimension]` of keys and of values for each layer.

    The last column is scratch: it takes what is computed for padding, and nothing reads it.
    """

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.rows = 0
        self.columns = 0
        self._keys: dict[int, torch.Tensor] = {}
        self._values: dict[int, torch.Tensor] = {}
        self._rows: torch.Tensor | None = None
        self._index = torch.zeros(0, dtype=torch.long)
        self._positions = torch.zeros(0, dtype=torch.long)
        self._width = 0

    @property
    def bytes(self) -> int:
        """What is allocated."""
        return sum(t.numel() * t.element_size() for t in (*self._keys.values(), *self._values.values()))

    def grow(self, rows: int, columns: int) -> None:
        """Make room, at least this much; what the rows hold stays."""
        rows, columns = max(rows, self.rows), max(columns, self.columns)
        if (rows, columns) == (self.rows, self.columns):
            return
        for tensors in (self._keys, self._values):
            for layer, old in tensors.items():
                new = old.new_zeros(rows, old.shape[1], columns, old.shape[3])
                new[: old.shape[0], :, : old.shape[2]] = old
                tensors[layer] = new
        self.rows, self.columns = rows, columns

    def aim(self, positions: torch.Tensor, width: int, *, rows: torch.Tensor | None = None) -> None:
        """Say where the next forward pass writes, and what it sees.

        Args:
            positions: `[n]` for one token of each of the first n rows; `[n, T]` for T tokens of each of `rows`.
            width: Columns that attention sees, at most; a mask says which of them count.
            rows: `[n]`; absent, the first n rows.
        """
        self._positions, self._width, self._rows = positions, width, rows
        if rows is None and len(self._index) < self.rows:  # made once: a recorded graph keeps pointing to it
            self._index = torch.arange(self.rows, device=positions.device)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Called by the model's attention: write `[n, heads, T, dimension]`, give back what attention looks at."""
        if layer_idx not in self._keys:
            for tensors, states in ((self._keys, key_states), (self._values, value_states)):
                tensors[layer_idx] = states.new_zeros(self.rows, states.shape[1], self.columns, states.shape[3])
        keys, values, at = self._keys[layer_idx], self._values[layer_idx], self._positions
        if self._rows is None:
            n = len(at)
            keys[self._index[:n], :, at] = key_states[:, :, 0]
            values[self._index[:n], :, at] = value_states[:, :, 0]
            return keys[:n, :, : self._width], values[:n, :, : self._width]
        rows = self._rows
        keys[rows[:, None], :, at] = key_states.transpose(1, 2)
        values[rows[:, None], :, at] = value_states.transpose(1, 2)
        return keys[rows, :, : self._width], values[rows, :, : self._width]

    def copy(self, source: int, target: int, begin: int, end: int) -> None:
        """Columns `begin` to `end` of one row into another."""
        for tensor in (*self._keys.values(), *self._values.values()):
            tensor[target, :, begin:end] = tensor[source, :, begin:end]

    def swap(self, first: int, second: int, end: int) -> None:
        """Exchange two rows, up to a column."""
        for tensor in (*self._keys.values(), *self._values.values()):
            kept = tensor[first, :, :end].clone()
            tensor[first, :, :end] = tensor[second, :, :end]
            tensor[second, :, :end] = kept

    # Models ask these where they are told neither positions nor a mask. They are told both.

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        return self._width, 0
