"""A library: documents as a world of the state sandbox, with an index over them that is made when first searched."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from tir_gym.envs.search.ranking import Ranking, words_of
from tir_gym.sandboxes.state import State, World

DOCUMENTS = "Document"
"""The table of documents: id -> `title`, `paragraphs`, `names`."""

SUBMISSION = "Submission"
"""The table of what was submitted: one record, `answer`."""

_TITLE_WEIGHT = 3
"""How often a title counts, against once for the text."""

_KEPT = 8
_KEPT_QUERIES = 1000


class Library(World):
    """Documents and the index over them. Episodes on the same documents share one; see `library_of`."""

    def __init__(self, documents: Mapping[str, Any]) -> None:
        super().__init__({DOCUMENTS: documents})
        self._searched: dict[tuple[str, int], list[str]] = {}

    @property
    def documents(self) -> Mapping[str, Any]:
        """Records by id."""
        records: Mapping[str, Any] = self.data[DOCUMENTS]
        return records

    def search(self, query: str, k: int) -> list[str]:
        """Ids of the at most `k` documents that fit best, the best first."""
        key = (query, k)
        if key not in self._searched:
            if len(self._searched) >= _KEPT_QUERIES:
                self._searched.clear()
            self._searched[key] = [self._ids[n] for n in self._ranking.best(query, k)]
        return self._searched[key]

    @cached_property
    def _ids(self) -> list[str]:
        return list(self.documents)

    @cached_property
    def _ranking(self) -> Ranking:
        return Ranking(
            [
                words_of(record["title"]) * _TITLE_WEIGHT + words_of("\n".join(record["paragraphs"]))
                for record in self.documents.values()
            ]
        )


class LibraryState(State):
    """A state that can be searched."""

    @property
    def library(self) -> Library:
        assert isinstance(self.world, Library)
        return self.world


def library_of(documents: Mapping[str, Any]) -> Library:
    """The library of these documents: the same one for the same frozen object, while it is among the last few used."""
    global _recent
    for library in _recent:
        if library.documents is documents:
            return library
    made = Library(documents)
    _recent = (made, *_recent[: _KEPT - 1])
    return made


_recent: tuple[Library, ...] = ()
