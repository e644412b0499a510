"""How things are told in documents and asked for in questions, read from `texts.toml`."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal, TypeAlias

from tir_gym.env import Split
from tir_gym.records import Record

Kind: TypeAlias = Literal["person", "town", "company", "book", "school", "festival", "prize"]
KINDS: tuple[Kind, ...] = ("person", "town", "company", "book", "school", "festival", "prize")


class Wordings(Record):
    """Ways to say something, by split."""

    train: tuple[str, ...]
    test: tuple[str, ...]

    def of(self, split: Split) -> tuple[str, ...]:
        return self.train if split == "train" else self.test


class FactText(Record):
    """How one kind of fact is told and asked for."""

    to: Kind | Literal["year", "count", "text"]
    """What the fact is: a thing of that kind, or a plain value."""
    keys: tuple[str, ...]
    """Words that stand wherever it is told, by which `find` gets there."""
    say: Wordings
    """Sentences of documents, with places for `it` and `value`."""
    ask: Wordings
    """Questions for it, with a place for `x`."""
    phrase: Wordings | None = None
    """How a question speaks of the thing that the fact leads to; `None` for plain values."""
    between: Wordings | None = None
    """Questions for the difference of two, with places for `x` and `y`."""

    @property
    def is_link(self) -> bool:
        """Whether it leads to another thing."""
        return self.to in KINDS


_FILE = tomllib.loads((Path(__file__).parent / "texts.toml").read_text(encoding="utf-8"))


def _wordings(table: str) -> dict[Kind, Wordings]:
    return {kind: Wordings.model_validate(entry) for kind in KINDS if (entry := _FILE[table].get(kind))}


LEAD = _wordings("lead")
DESCRIBED = _wordings("described")
FILLER = _wordings("filler")

FACTS: dict[Kind, dict[str, FactText]] = {
    kind: {name: FactText.model_validate(entry) for name, entry in _FILE[kind].items()} for kind in KINDS
}
"""Every kind of fact, by the kind of thing that has it."""
