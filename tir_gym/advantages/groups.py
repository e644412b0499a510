"""Statistics over groups, without a loop over them: what an entry's peers did, and how far it stands out.

A group is the entries under one code. Which entries share a code is what tells the estimators apart: the rollouts of a
task, their turns of the same index, the turns taken in the same state. Sums over groups are sums by code.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from tir_gym.advantages.arrays import Array, Arrays
from tir_gym.errors import UsageError

EPSILON = 1e-6
"""Added to every standard deviation that is divided by."""

Scale: TypeAlias = Literal["none", "std", "leave_one_out"]

Singleton: TypeAlias = Literal["raw", "zero"]
"""What becomes of an entry without a peer. `raw`: it keeps its value, as if compared with mean 0 and deviation 1.
`zero`: it gets no advantage."""


class Groups:
    """Entries and the groups they are in.

    Args:
        arrays: The library that the arrays belong to.
        code: Integers in `[0, size)`, of any shape; those of equal code form a group.
        size: Number of codes.
        among: Of the same shape: the entries that take part. The others have no peers and count for nobody.
    """

    def __init__(self, arrays: Arrays, code: Array, size: int, among: Array) -> None:
        self._arrays = arrays
        self._xp = arrays.xp
        self._among = among
        self._code = arrays.xp.where(among, code, size)  # one more code, for those who take no part
        self._size = size + 1
        self.count: Array = self.sum(arrays.xp.ones_like(code) + 0.0)
        """Members of each entry's group, at every entry."""

    def sum(self, values: Array) -> Array:
        """At every entry, the sum of the values of its group."""
        return self._arrays.sum_by(self._arrays.real(values), self._code, self._size)[self._code]

    def mean(self, values: Array, weights: Array | None = None) -> Array:
        """At every entry, the mean of the values of its group; exactly their value where they are all equal.

        Args:
            values: Finite, of the entries' shape.
            weights: Of the same shape, from 0 up; default: all alike.
        """
        one = self._one(values)
        # A sum of equal numbers divided by their count need not be that number; a sum of zeros is.
        if weights is None:
            return one + self.sum(values - one) / self.count
        total = self.sum(weights)
        return one + self.sum((values - one) * weights) / self._xp.where(total > 0, total, 1.0)

    def compare(self, values: Array, scale: Scale = "none", *, ddof: int = 1, singleton: Singleton = "raw") -> Array:
        """How far each value lies above the mean of its group; exactly 0 in a group of two or more without spread.

        Args:
            values: Finite, of the entries' shape.
            scale: `none`: x - mean. `std`: (x - mean) / (std + 1e-6). `leave_one_out`: x - mean of the others, which
                is n / (n - 1) times x - mean.
            ddof: 0 for the deviation of a population, 1 for that of a sample.
            singleton: Rule for a group of one.

        Raises:
            UsageError: An option has no such value.
        """
        if singleton not in ("raw", "zero"):
            raise UsageError(f"singleton must be 'raw' or 'zero', got {singleton!r}")
        if ddof not in (0, 1):
            raise UsageError(f"ddof must be 0 (population) or 1 (sample), got {ddof!r}")
        shifted = values - self._one(values)
        above = shifted - self.sum(shifted) / self.count
        square = self.sum(above * above)
        # 0.1 + 0.2 and 0.3 differ by rounding alone.
        above = self._xp.where(square <= self._arrays.noise**2 * self.sum(values * values), 0.0, above)
        if scale == "std":
            above = above / (self._xp.sqrt(square / self._at_least_1(self.count - ddof)) + EPSILON)
            alone = values / (1.0 + EPSILON)
        else:
            above = above * (self.count / self._at_least_1(self.count - 1) if scale == "leave_one_out" else 1.0)
            alone = values
        return self._xp.where(self.count > 1, above, alone if singleton == "raw" else 0.0)

    def _one(self, values: Array) -> Array:
        """At every entry, one of the values of its group, the same for all of them."""
        return self._arrays.one_by(values, self._code, self._size)[self._code]

    def _at_least_1(self, count: Array) -> Array:
        return self._xp.where(count > 1, count, 1.0)
