"""Ranking by BM25 (Robertson and Zaragoza 2009), as the library bm25s computes it."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

_WORD = re.compile(r"\w+")
_EMPTY_WORDS = frozenset(
    {"a", "an", "and", "are", "as", "at", "be", "by", "did", "do", "does", "for", "from", "has", "have", "how", "in"}
    | {"is", "it", "its", "of", "on", "or", "that", "the", "their", "there", "this", "to", "was", "were", "what"}
    | {"when", "where", "which", "who", "whom", "whose", "will", "with"}
)
_DECIMALS = 4
"""Scores that differ by less are equal, so that no rounding of a machine's own decides an order."""


def words_of(text: str) -> list[str]:
    """The words of a text, case folded, those without meaning left out."""
    return [word for word in _WORD.findall(text.casefold()) if word not in _EMPTY_WORDS]


class Ranking:
    """An index over N texts.

    Args:
        texts: The words of each text.
    """

    def __init__(self, texts: Sequence[Sequence[str]]) -> None:
        import bm25s

        # Numbered in the order of appearance: bm25s itself would number them in the order of a set.
        self._vocabulary: dict[str, int] = {}
        ids = [[self._vocabulary.setdefault(word, len(self._vocabulary)) for word in words] for words in texts]
        self._index = bm25s.BM25() if self._vocabulary else None
        if self._index is not None:
            self._index.index((ids, self._vocabulary), create_empty_token=False, show_progress=False)

    def best(self, query: str, k: int) -> list[int]:
        """Numbers of the at most `k` texts that have a word of the query, the best first, then in their order."""
        known = [self._vocabulary[word] for word in dict.fromkeys(words_of(query)) if word in self._vocabulary]
        if self._index is None or not known:
            return []
        scores = np.round(self._index.get_scores_from_ids(known), _DECIMALS)
        found = np.flatnonzero(scores > 0)
        return [int(n) for n in found[np.argsort(-scores[found], kind="stable")][:k]]
