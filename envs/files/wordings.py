"""How requests are worded, read from `wordings.toml`: for every key some wordings per split, none in both."""

from __future__ import annotations

import tomllib
from pathlib import Path

from tir_gym.env import SPLITS, Split

LEAST: dict[Split, int] = {"train": 3, "test": 2}
"""Wordings that every key has at least."""

WORDINGS: dict[str, dict[Split, tuple[str, ...]]] = {
    key: {split: tuple(entry[split]) for split in SPLITS}
    for key, entry in tomllib.loads((Path(__file__).parent / "wordings.toml").read_text(encoding="utf-8")).items()
}


def wordings(key: str, split: Split) -> tuple[str, ...]:
    """The wordings of that key, with places for its parts in the form of `str.format`."""
    return WORDINGS[key][split]
