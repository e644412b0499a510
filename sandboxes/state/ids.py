"""Ids that a simulator gives to new records: from the seed, never from the clock or the process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import MutableMapping
from typing import Any, Protocol

_encode = json.JSONEncoder(sort_keys=True).encode


class IdSource(Protocol):
    """Makes ids. `issued` is part of the state, so an id source itself holds none."""

    def new(self, issued: MutableMapping[str, int], kind: str, content: Any) -> str:
        """An id for a new record of that kind; counts what it has given out in `issued`."""
        ...


class HashedIds:
    """Ids from the seed and the record's own content, so that the order of creation does not show in them.

    Args:
        seed: The task's seed.
        length: Hex digits of an id.
    """

    def __init__(self, seed: int, length: int = 8) -> None:
        self._seed = seed
        self._length = length

    def new(self, issued: MutableMapping[str, int], kind: str, content: Any) -> str:
        text = f"{self._seed}/{kind}/{_encode(content)}"
        count = issued[text] = issued.get(text, 0) + 1
        digest = hashlib.blake2b(f"{text}/{count}".encode("utf-8", "surrogatepass")).hexdigest()
        return digest[: self._length]
