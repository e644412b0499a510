"""Lists into arrays and back: ragged rows are padded to a rectangle, keys of any type become integers.

Whatever is refused here is the caller's misuse, told with the argument's name.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from itertools import chain
from operator import getitem
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tir_gym.advantages.arrays import Array, is_tensor
from tir_gym.errors import UsageError


def is_array(values: Any) -> bool:
    """Whether it is an array or a tensor. An array of objects is none: it is read as the list that it stands for."""
    return is_tensor(values) or (isinstance(values, np.ndarray) and values.dtype != object)


def pad(rows: Any, name: str, fill: float = 0.0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Rows of numbers as a rectangle `[N, T]`, T at least 1, filled up after each row's end; and the rows' lengths.

    Raises:
        UsageError: Not a list of lists of numbers.
    """
    lengths = _lengths(rows, name)
    try:
        flat = np.fromiter(chain.from_iterable(rows), dtype=np.float64, count=int(lengths.sum()))
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name} must hold numbers: {error}") from error
    return _rectangle(flat, lengths, fill), lengths


def pad_keys(rows: Any, name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """As `pad`, with an integer in place of each key: equal keys, whatever their type, get equal ones."""
    lengths = _lengths(rows, name)
    return _rectangle(number(chain.from_iterable(rows), name), lengths, 0), lengths


def unpad(values: NDArray[Any], lengths: NDArray[np.int64]) -> list[list[float]]:
    """The rows of a rectangle, each cut to its length."""
    return list(map(getitem, values.tolist(), map(slice, lengths.tolist())))


def number(keys: Iterable[Hashable] | Array, name: str) -> Array:
    """An integer from 0 up in place of each key, in an array of their shape; equal keys get equal ones.

    Raises:
        UsageError: A key has no hash.
    """
    if is_tensor(keys):
        return keys.unique(return_inverse=True)[1]  # type: ignore[union-attr]
    if isinstance(keys, np.ndarray) and keys.dtype != object:
        return np.unique(keys, return_inverse=True)[1].reshape(keys.shape)
    every = list(keys)
    try:
        codes = dict(zip(dict.fromkeys(every), range(len(every)), strict=False))
    except TypeError as error:
        raise UsageError(f"{name} must be hashable, such as integers or strings: {error}") from error
    return np.fromiter(map(codes.__getitem__, every), dtype=np.int64, count=len(every))


def _lengths(rows: Any, name: str) -> NDArray[np.int64]:
    try:
        if isinstance(rows, str) or str in set(map(type, rows)):
            raise TypeError("text is no list of turns")
        return np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    except TypeError as error:
        raise UsageError(
            f"{name} must be an array [rollouts, ...] or a list with one list per rollout: {error}"
        ) from error


def _rectangle(flat: NDArray[Any], lengths: NDArray[np.int64], fill: float) -> NDArray[Any]:
    padded = np.full((len(lengths), int(lengths.max(initial=1))), fill, dtype=flat.dtype)
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = flat
    return padded
