"""The ids that the benchmark gives to new records: later gold calls of a dialogue name what earlier ones made."""

from __future__ import annotations

import random
import threading
from collections.abc import MutableMapping
from typing import Any

from tir_gym.envs.assistant.tools.ids import lay_out

_SEED = 489
"""The benchmark's."""


class PublishedIds:
    """For each tool the same sequence of ids, drawn from a generator of its own whatever the records hold."""

    def new(self, issued: MutableMapping[str, int], kind: str, content: Any) -> str:
        count = issued[kind] = issued.get(kind, 0) + 1
        sequence = _SEQUENCES.get(kind)
        if sequence is None:
            sequence = _SEQUENCES.setdefault(kind, _Sequence(kind))
        return sequence.get(count - 1)


class _Sequence:
    """The ids of one kind, drawn when first wanted and kept, because every episode begins at the first again."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._rng = random.Random(_SEED)
        self._drawn: list[str] = []
        self._lock = threading.Lock()

    def get(self, position: int) -> str:
        if position >= len(self._drawn):
            with self._lock:
                while position >= len(self._drawn):
                    self._drawn.append(lay_out(self._kind, self._rng.randrange))
        return self._drawn[position]


_SEQUENCES: dict[str, _Sequence] = {}
