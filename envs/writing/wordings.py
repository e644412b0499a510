"""How requests are worded, read from a TOML file: for every key some wordings per split, none in both."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from tir_gym.env import SPLITS, Split

Wordings: TypeAlias = Mapping[str, Mapping[Split, tuple[str, ...]]]


def read_wordings(family: Path) -> Wordings:
    """Key -> split -> wordings, with places for their parts in the form of `str.format`.

    Args:
        family: The folder that holds `wordings.toml`.
    """
    entries = tomllib.loads((family / "wordings.toml").read_text(encoding="utf-8"))
    return {key: {split: tuple(entry[split]) for split in SPLITS} for key, entry in entries.items()}
