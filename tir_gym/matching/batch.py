"""Similarities and hard assignments of many problems at once: the same numbers as one by one, sooner.

Names, argument names and values are replaced by numbers, equal exactly where they are. One sorted search then finds all
pairs of arguments of the same problem, tool and name, and what is left of eqs 1-4 (`similarity.py`) is counting. Only
nested values, and those with a comparator of their own, are still compared one by one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import accumulate, count
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tir_gym.compare import Comparator, json_equal
from tir_gym.errors import UsageError
from tir_gym.matching.gold_index import NAME_ALONE, Rules, Strictness, ruled
from tir_gym.matching.hard import Assignment, as_matrix, solve, two_sided
from tir_gym.matching.parts import Call, call_parts

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]

_AT_ONCE = 128
"""Problems compared together; more are slower, because their pairs outgrow the processor's cache."""


def similarity_batch(
    predicted: Sequence[Sequence[Call]],
    gold: Sequence[Sequence[Call | Sequence[Call]]],
    *,
    comparators: Sequence[Sequence[Rules | None] | None] | None = None,
    strictness: Strictness = "partial",
    fold_names: bool = False,
) -> list[Floats]:
    """`similarity_matrix` of many problems, ready for `hard_batch` and `soft_batch`.

    Args:
        predicted: The predicted calls of each of N problems.
        gold: The gold calls of each; an entry may be a list of acceptable calls, of which the most similar counts.
        comparators: For each problem, `None` or one mapping per gold call, see `similarity`.
        strictness: See `similarity`.
        fold_names: See `similarity`.

    Returns:
        N arrays `[P_n, G_n]`.

    Raises:
        UsageError: Not the same number of problems everywhere.
    """
    rules = [None] * len(gold) if comparators is None else comparators
    if not len(predicted) == len(gold) == len(rules):
        raise UsageError(
            f"similarity_batch got {len(predicted)} predicted, {len(gold)} gold and {len(rules)} comparators; "
            "give one of each per problem"
        )
    found: list[Floats] = []
    for start in range(0, len(gold), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        numbers = _Numbers()
        ours = _Calls(predicted[part], numbers, fold_names)
        ways = [_Ways(*problem) for problem in zip(gold[part], rules[part], strict=True)]
        theirs = _Calls([way.calls for way in ways], numbers, fold_names)
        flat = _similarities(ours, theirs, _judges(theirs, ways), numbers, strictness)
        end = 0
        for way, p, g in zip(ways, ours.lengths.tolist(), theirs.lengths.tolist(), strict=True):
            matrix = flat[end : end + p * g].reshape(p, g)
            end += p * g
            found.append(matrix if way.first is None else np.maximum.reduceat(matrix, way.first, axis=1))
    return found


def hard_batch(similarities: Sequence[Any], *, unmatched_penalty: float = 0.0) -> list[Assignment]:
    """`hard` of many problems of any sizes.

    Args:
        similarities: Matrices `[P_n, G_n]`, NumPy, or torch tensors on any device: the rewards are then tensors there.
            An exact assignment is sequential work, so it is done on the CPU either way.
        unmatched_penalty: See `hard`.

    Raises:
        UsageError: As `hard`.
    """
    if len(similarities) == 0:
        return []
    tensors = [not isinstance(matrix, (np.ndarray, list, tuple)) for matrix in similarities]
    matrices = [
        two_sided(matrix.detach().cpu().numpy() if tensor else matrix)
        for matrix, tensor in zip(similarities, tensors, strict=True)
    ]
    flat = np.concatenate([matrix.ravel() for matrix in matrices])
    if not flat.min(initial=0.0) >= 0.0:
        for matrix in matrices:  # to find which it is, and say so
            as_matrix(matrix)
    solved = [solve(matrix) for matrix in matrices]
    # The pairs of all problems, end to end, and of them those that are alike at all.
    problem = np.repeat(np.arange(len(solved)), [len(rows) for rows, _ in solved])
    row = np.concatenate([rows for rows, _ in solved])
    column = np.concatenate([columns for _, columns in solved])
    p, g = np.array([matrix.shape for matrix in matrices]).T
    weight = flat[_starts(p * g)[problem] + row * g[problem] + column]
    matched = weight > 0.0
    problem, row, column, weight = problem[matched], row[matched], column[matched], weight[matched]

    first_row, first_pair = _starts(p), np.searchsorted(problem, np.arange(len(solved) + 1)).tolist()
    pairs = list(zip(row.tolist(), column.tolist(), strict=True))
    totals = np.bincount(problem, weight, len(solved)).tolist()
    rewards = np.full(p.sum(), -unmatched_penalty if unmatched_penalty else 0.0)
    rewards[first_row[problem] + row] = weight
    found = []
    for n, (total, start, length) in enumerate(zip(totals, first_row.tolist(), p.tolist(), strict=True)):
        earned = rewards[start : start + length]
        earned = similarities[n].new_tensor(earned) if tensors[n] else earned
        found.append(Assignment(tuple(pairs[first_pair[n] : first_pair[n + 1]]), total, earned))
    return found


class _Numbers(defaultdict[Any, int]):
    """Numbers of things, the same for equal ones."""

    def __init__(self) -> None:
        super().__init__(count().__next__)

    def of(self, things: Sequence[Any]) -> Ints:
        return np.fromiter(map(self.__getitem__, things), np.int64, len(things))


class _Calls:
    """The calls of one side, all problems end to end, and their arguments, all calls end to end, as numbers."""

    def __init__(self, problems: Sequence[Sequence[Any]], numbers: _Numbers, fold_names: bool) -> None:
        names: list[str | None] = []
        sizes: list[int] = []
        keys: list[str] = []
        values: list[Any] = []
        for calls in problems:
            for call in calls:
                name, arguments = call_parts(call, fold_names)
                names.append(name)
                if arguments is None:
                    sizes.append(0)
                else:
                    sizes.append(len(arguments))
                    keys += arguments
                    values += arguments.values()
        # By problem
        self.lengths = np.array([len(calls) for calls in problems], dtype=np.int64)
        # By call
        self.problem = np.repeat(np.arange(len(problems)), self.lengths)
        self.name = numbers.of(names)
        self.size = np.array(sizes, dtype=np.int64)
        # By argument
        self.call = np.repeat(np.arange(len(names)), self.size)
        self.key = numbers.of(keys)
        self.value = numbers.of([v if type(v) in _AS_THEY_ARE else _stand_in(v) for v in values])
        self.keys, self.values = keys, values


class _Ways:
    """The gold calls of a problem, where an entry is a list of acceptable calls all of them."""

    def __init__(self, gold: Sequence[Any], rules: Sequence[Rules | None] | None) -> None:
        self.calls, self.rules = gold, rules
        self.first: list[int] | None = None
        """The first call of each entry; `None` where every entry is one call."""
        if any(isinstance(entry, (list, tuple)) for entry in gold):
            # An entry without a call gets one that is like nothing.
            ways = [(entry or [None]) if isinstance(entry, (list, tuple)) else [entry] for entry in gold]
            self.calls = [call for entry in ways for call in entry]
            self.rules = [rule for entry, rule in zip(ways, rules, strict=False) for _ in entry] if rules else None
            self.first = [0, *accumulate(map(len, ways[:-1]))]


def _judges(gold: _Calls, ways: Sequence[_Ways]) -> dict[int, Comparator]:
    """The comparators other than JSON's equality, by the place of the gold argument."""
    if not any(way.rules for way in ways):
        return {}
    rules = [way.rules[n] if way.rules else None for way in ways for n in range(len(way.calls))]
    found = {}
    for place, (call, key) in enumerate(zip(gold.call.tolist(), gold.keys, strict=True)):
        judge = ruled(rules[call], key)
        if judge is not None:
            found[place] = judge
    return found


def _similarities(
    ours: _Calls, theirs: _Calls, judges: Mapping[int, Comparator], numbers: _Numbers, strictness: Strictness
) -> Floats:
    """Of each pair of a predicted call and a gold call of its problem; by problem, predicted call, gold call."""
    width = theirs.lengths[ours.problem]
    row = np.repeat(np.arange(len(width)), width)
    shift = _starts(width) - _starts(theirs.lengths)[ours.problem]
    """The pair of predicted call i and gold call j has the number shift[i] + j."""
    column = np.arange(len(row)) - shift[row]

    base = len(numbers)
    ours_at, theirs_at = (((side.problem * base + side.name)[side.call] * base + side.key) for side in (ours, theirs))
    a, b = _meetings(ours_at, theirs_at)
    same = ours.value[a] == theirs.value[b]
    asked = same & (theirs.value[b] == numbers[_NESTED])
    if judges:
        asked |= np.isin(b, list(judges))
    same[asked] = [
        judges.get(j, json_equal)(ours.values[i], theirs.values[j])
        for i, j in zip(a[asked].tolist(), b[asked].tolist(), strict=True)
    ]
    pair = shift[ours.call[a]] + theirs.call[b]
    shared = np.bincount(pair, minlength=len(row))
    equal = np.bincount(pair[same], minlength=len(row))  # eq 3

    alike = np.flatnonzero((ours.name[row] == theirs.name[column]) & (ours.name != numbers[None])[row])  # eq 1
    size, shared, equal = theirs.size[column[alike]], shared[alike], equal[alike]
    union = ours.size[row[alike]] + size - shared
    names = _share(shared, union)  # eq 2
    found = np.zeros(len(row))
    if strictness == "partial":
        found[alike] = (1.0 + names + equal) / (2.0 + size)  # eq 4
    elif strictness == "strict":
        found[alike] = (shared == union) & (equal == size)
    else:
        found[alike] = names * (NAME_ALONE + (1.0 - NAME_ALONE) * _share(equal, size))
    return found


def _meetings(ours: Ints, theirs: Ints) -> tuple[Ints, Ints]:
    """All pairs of places where the two hold the same number."""
    order = np.argsort(theirs, kind="stable")
    ordered = theirs[order]
    first = np.searchsorted(ordered, ours, "left")
    times = np.searchsorted(ordered, ours, "right") - first
    a = np.repeat(np.arange(len(ours)), times)
    nth = np.arange(len(a)) - np.repeat(_starts(times), times)
    return a, order[np.repeat(first, times) + nth]


def _share(part: Ints, whole: Ints) -> Floats:
    """`part / whole`; 1 where there is nothing to share."""
    return np.divide(part, whole, out=np.ones(len(whole)), where=whole > 0)


def _starts(lengths: Ints) -> Ints:
    """Where each of some lists begins when they stand end to end."""
    return np.cumsum(lengths) - lengths


def _stand_in(value: Any) -> Any:
    """What equals another's stand-in exactly where `json_equal` holds; `_NESTED` where that must be asked."""
    if value is True:  # which to Python equals 1
        return _TRUE
    if value is False:
        return _FALSE
    if isinstance(value, (int, float)):
        return value if value == value else object()
    return _NESTED


_AS_THEY_ARE = frozenset({str, int, type(None)})
_TRUE, _FALSE, _NESTED = object(), object(), object()
