"""Plain JSON data that cannot be changed: shared by many environments, read without a copy.

`FrozenDict` and `FrozenList` are a dict and a list in every other way, so `json`, pydantic and `==` take them as such.
"""

from __future__ import annotations

from typing import Any, NoReturn

DEEPEST = 80
"""Lists and objects inside each other. A fixed number, because Python's own limit depends on who calls, and what is
within it can be written as part of a trace and read again."""


class FrozenDict(dict[str, Any]):
    """A dict that refuses to change; `{**record, "status": "done"}` makes a changed copy."""

    __slots__ = ()

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("records are values: make a changed copy, {**record, 'field': value}, and put() it")

    __setitem__ = __delitem__ = clear = pop = popitem = setdefault = update = __ior__ = _refuse

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenDict:
        return self

    def __copy__(self) -> FrozenDict:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenDict, (dict(self),)


class FrozenList(list[Any]):
    """A list that refuses to change; `[*items, new]` makes a changed copy."""

    __slots__ = ()

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("records are values: make a changed copy, [*items, new], and put() it")

    __setitem__ = __delitem__ = __iadd__ = __imul__ = append = clear = extend = insert = pop = remove = _refuse
    reverse = sort = _refuse

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenList:
        return self

    def __copy__(self) -> FrozenList:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenList, (list(self),)


def freeze(value: Any, _depth: int = 0) -> Any:
    """`value` with every dict and list in it frozen; scalars and what is frozen already are kept as they are.

    Raises:
        TypeError: Not plain JSON data.
    """
    kind = type(value)
    if kind in _PASSED:
        return value
    if kind is int:
        if value.bit_length() > _LONGEST_INTEGER:
            raise TypeError(f"an integer of {value.bit_length()} bits has more digits than JSON readers take")
        return value
    if _depth == DEEPEST:
        raise TypeError(f"plain JSON data, nested more than {DEEPEST} deep, which JSON readers refuse")
    if kind is dict or isinstance(value, dict):
        frozen = {}
        for key, item in value.items():
            if type(key) is not str:
                raise TypeError(f"the keys of plain JSON data are text, got {key!r:.80}")
            frozen[key] = item if type(item) in _PASSED else freeze(item, _depth + 1)
        return FrozenDict(frozen)
    if kind is list or isinstance(value, (list, tuple)):
        return FrozenList([item if type(item) in _PASSED else freeze(item, _depth + 1) for item in value])
    raise TypeError(f"expected plain JSON data, got a {kind.__name__}: {value!r:.80}")


def is_deep(value: Any) -> bool:
    """Whether JSON data is nested more than `DEEPEST` deep."""
    level = [value] if isinstance(value, _CONTAINERS) else []
    for _ in range(DEEPEST):
        if not level:
            return False
        children = [child for node in level for child in (node.values() if isinstance(node, dict) else node)]
        level = [child for child in children if isinstance(child, _CONTAINERS)]
    return bool(level)


_CONTAINERS = (dict, list, tuple)
_PASSED = frozenset({str, float, bool, type(None), FrozenDict, FrozenList})
_LONGEST_INTEGER = 14_000
"""Bits; Python reads and writes integers of at most 4,300 digits."""
