"""How steps are asked for, read from `wordings.toml`: for every key some wordings per split, none in both."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from tir_gym.env import SPLITS, Split

_FILE: dict[str, Any] = tomllib.loads((Path(__file__).parent / "wordings.toml").read_text(encoding="utf-8"))

WORDINGS: dict[str, dict[Split, tuple[str, ...]]] = {
    key: {split: tuple(entry[split]) for split in SPLITS} for key, entry in _FILE["wordings"].items()
}

VOCABULARY: dict[Split, dict[str, Any]] = {split: _FILE["vocabulary"][split] for split in SPLITS}
"""What files are made of: `tables`, each with columns and values, and `words`."""


def wordings(key: str, split: Split) -> tuple[str, ...]:
    """The wordings of that key, with places for its parts in the form of `str.format`."""
    return WORDINGS[key][split]
