"""What names and descriptions in a generated library are made of, read from `vocabulary.toml`."""

from __future__ import annotations

import tomllib
from pathlib import Path

from tir_gym.env import Split
from tir_gym.records import Record


class Vocabulary(Record):
    """The words of one split."""

    first_names: tuple[str, ...]
    last_stems: tuple[str, ...]
    last_endings: tuple[str, ...]
    town_stems: tuple[str, ...]
    town_endings: tuple[str, ...]
    counties: tuple[str, ...]
    rivers: tuple[str, ...]
    stems: tuple[str, ...]
    """Of companies, schools, festivals and prizes."""
    endings: tuple[str, ...]
    company_kinds: tuple[str, ...]
    school_kinds: tuple[str, ...]
    festival_kinds: tuple[str, ...]
    prize_kinds: tuple[str, ...]
    title_words: tuple[str, ...]
    title_things: tuple[str, ...]
    professions: tuple[str, ...]
    qualities: tuple[str, ...]
    goods: tuple[str, ...]
    """What companies are known for; no two for the same."""
    wares: tuple[str, ...]
    """What companies make besides."""
    crowds: tuple[str, ...]
    """For whom schools and festivals are."""
    seasons: tuple[str, ...]
    subjects: tuple[str, ...]
    """What novels are about."""
    lessons: tuple[str, ...]
    themes: tuple[str, ...]
    """Of festivals."""
    fields: tuple[str, ...]
    """Of prizes."""
    deeds: tuple[str, ...]
    """For which prizes are given."""


_FILE = tomllib.loads((Path(__file__).parent / "vocabulary.toml").read_text(encoding="utf-8"))

VOCABULARY: dict[Split, Vocabulary] = {
    "train": Vocabulary.model_validate(_FILE["train"]),
    "test": Vocabulary.model_validate(_FILE["test"]),
}
