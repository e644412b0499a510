"""The seam between NumPy and torch: what the estimators need of an array library where the two differ.

Every formula of this package is written once, in operators, indexing and the few functions that `numpy` and `torch`
call alike (`xp`). Lists and NumPy arrays are served by NumPy, tensors by torch on the device where they are. torch is
never imported here: whoever hands in a tensor has it loaded already.
"""

from __future__ import annotations

import sys
from typing import Any, Protocol, TypeAlias

import numpy as np

Array: TypeAlias = Any
"""A NumPy array or a torch tensor."""


class Arrays(Protocol):
    """One array library, on one device."""

    xp: Any
    """The library itself, for `where`, `sqrt`, `stack` and the like."""
    noise: float
    """Relative size up to which a difference is rounding and no spread, by the precision of the rewards given."""

    def real(self, values: Array) -> Array:
        """As the floats to compute with: float64 wherever the device has it."""

    def flags(self, values: Array) -> Array:
        """As booleans: what is not 0 is true."""

    def integers(self, values: Array) -> Array:
        """As int64."""

    def upto(self, size: int) -> Array:
        """`0 .. size - 1`."""

    def sum_by(self, values: Array, code: Array, size: int) -> Array:
        """`[size]`: the sum of the values under each code."""

    def one_by(self, values: Array, code: Array, size: int) -> Array:
        """`[size]`: one of the values under each code, 0 where there is none."""

    def starts(self, rows: Array) -> Array:
        """Flat positions in `[N, L]` at which a row begins or a value differs from the one before it."""

    def repeat(self, values: Array, starts: Array, total: int) -> Array:
        """`[total]`: each value from its start, an ascending position, up to the next one's."""

    def placed(self, values: Array) -> Array:
        """As an array of this library on this device, whatever its type."""

    def whole(self, values: Array) -> bool:
        """Whether the type is one of integers."""

    def result(self, values: Array) -> Array:
        """In the float type in which the rewards were given; where those were integers, in the library's default."""


class NumPy:
    """NumPy, computing in float64."""

    xp: Any = np

    def __init__(self, dtype: Any = np.float64) -> None:
        self._dtype = dtype if np.issubdtype(dtype, np.floating) else np.float64
        self.noise = _noise(np.finfo(self._dtype).eps)

    def real(self, values: Array) -> Array:
        return np.asarray(values, dtype=np.float64)

    def flags(self, values: Array) -> Array:
        return np.asarray(values) != 0

    def integers(self, values: Array) -> Array:
        return np.asarray(values, dtype=np.int64)

    def upto(self, size: int) -> Array:
        return np.arange(size)

    def sum_by(self, values: Array, code: Array, size: int) -> Array:
        return np.bincount(code.reshape(-1), weights=values.reshape(-1), minlength=size)

    def one_by(self, values: Array, code: Array, size: int) -> Array:
        found = np.zeros(size)
        found[code.reshape(-1)] = values.reshape(-1)
        return found

    def starts(self, rows: Array) -> Array:
        differs = np.ones(rows.shape, dtype=bool)
        np.not_equal(rows[:, 1:], rows[:, :-1], out=differs[:, 1:])
        return np.flatnonzero(differs)

    def repeat(self, values: Array, starts: Array, total: int) -> Array:
        return np.repeat(values, np.diff(starts, append=total))

    def placed(self, values: Array) -> Array:
        return np.asarray(values)

    def whole(self, values: Array) -> bool:
        return bool(np.issubdtype(values.dtype, np.integer))

    def result(self, values: Array) -> Array:
        return np.asarray(values, dtype=self._dtype)


class Torch:
    """torch on the device of a tensor, computing in float64; in float32 on Apple's MPS, which has no more."""

    def __init__(self, like: Array) -> None:
        self.xp: Any = sys.modules["torch"]
        self._device = like.device
        self._dtype = like.dtype if like.is_floating_point() else self.xp.get_default_dtype()
        self._real = self.xp.float32 if like.device.type == "mps" else self.xp.float64
        self.noise = _noise(self.xp.finfo(self._dtype).eps)

    def real(self, values: Array) -> Array:
        return self.xp.as_tensor(values).detach().to(self._device, self._real)

    def flags(self, values: Array) -> Array:
        return self.xp.as_tensor(values).to(self._device) != 0

    def integers(self, values: Array) -> Array:
        return self.xp.as_tensor(values).to(self._device, self.xp.int64)

    def upto(self, size: int) -> Array:
        return self.xp.arange(size, device=self._device)

    def sum_by(self, values: Array, code: Array, size: int) -> Array:
        sums = self.xp.zeros(size, dtype=self._real, device=self._device)
        return sums.index_add_(0, code.reshape(-1), values.reshape(-1))

    def one_by(self, values: Array, code: Array, size: int) -> Array:
        found = self.xp.zeros(size, dtype=self._real, device=self._device)
        found[code.reshape(-1)] = values.reshape(-1)
        return found

    def starts(self, rows: Array) -> Array:
        if rows.device.type == "cpu":  # where NumPy, on the same memory, is several times as fast
            return self.xp.from_numpy(NumPy().starts(rows.numpy()))
        differs = self.xp.ones(rows.shape, dtype=self.xp.bool, device=rows.device)
        differs[:, 1:] = rows[:, 1:] != rows[:, :-1]
        return differs.reshape(-1).nonzero().reshape(-1)

    def repeat(self, values: Array, starts: Array, total: int) -> Array:
        if values.device.type == "cpu" and values.dtype != self.xp.bfloat16:  # a type that NumPy lacks
            return self.xp.from_numpy(NumPy().repeat(values.numpy(), starts.numpy(), total))
        end = starts.new_tensor([total])
        return self.xp.repeat_interleave(values, self.xp.diff(starts, append=end), output_size=total)

    def placed(self, values: Array) -> Array:
        return self.xp.as_tensor(values).to(self._device)

    def whole(self, values: Array) -> bool:
        return not (values.is_floating_point() or values.is_complex() or values.dtype == self.xp.bool)

    def result(self, values: Array) -> Array:
        return self.xp.as_tensor(values).detach().to(self._device, self._dtype)


def arrays_for(values: Any) -> Arrays:
    """The library that an argument belongs to; NumPy for anything that is no tensor."""
    if is_tensor(values):
        return Torch(values)
    return NumPy(values.dtype) if isinstance(values, np.ndarray) else NumPy()


def is_tensor(values: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(values, torch.Tensor)


def _noise(eps: float) -> float:
    # Rewards given in half precision are coarse, but two of them that differ are not equal.
    return 16.0 * min(float(eps), float(np.finfo(np.float32).eps))
