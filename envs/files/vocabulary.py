"""The words that projects are made of, read from `vocabulary.toml`: lists per split, which share no entry."""

from __future__ import annotations

import tomllib
from pathlib import Path

from tir_gym.env import Split
from tir_gym.records import Record


class Layout(Record):
    """Where a project keeps what."""

    source: str
    config: str
    logs: str
    data: str
    docs: str
    scripts: str
    tests: str


class Table(Record):
    """A kind of table: a text column to choose rows by, another text, and a number."""

    name: str
    column: str
    values: tuple[str, ...]
    label: str
    labels: tuple[str, ...]
    amount: str


class Vocabulary(Record):
    """The lists of one split."""

    projects: tuple[tuple[str, str], ...]
    layouts: tuple[Layout, ...]
    areas: tuple[str, ...]
    """Folders of the source."""
    modules: tuple[str, ...]
    verbs: tuple[str, ...]
    nouns: tuple[str, ...]
    people: tuple[str, ...]
    services: tuple[str, ...]
    """What writes logs and has settings."""
    prefixes: tuple[str, ...]
    """Of tickets, such as `FERN-218`."""
    pages: tuple[str, ...]
    stages: tuple[str, ...]
    sections: tuple[str, ...]
    keys: tuple[str, ...]
    new_keys: tuple[str, ...]
    new_names: tuple[str, ...]
    """What functions are renamed to."""
    archives: tuple[str, ...]
    """Folders that are not there yet."""
    leftovers: tuple[str, ...]
    """Endings of files that nobody needs."""
    tables: tuple[Table, ...]
    months: tuple[str, ...]
    year: int
    lines: tuple[str, ...]
    """Lines to be written into files."""
    file_names: tuple[str, ...]
    """Of new files, without their ending."""


class SharedWords(Record):
    """What files of both splits are padded with; no task asks for it."""

    subjects: tuple[str, ...]
    endings: tuple[str, ...]
    sentences: tuple[str, ...]
    chores: tuple[str, ...]


_FILE = tomllib.loads((Path(__file__).parent / "vocabulary.toml").read_text(encoding="utf-8"))

VOCABULARY: dict[Split, Vocabulary] = {
    "train": Vocabulary.model_validate(_FILE["train"]),
    "test": Vocabulary.model_validate(_FILE["test"]),
}
SHARED = SharedWords.model_validate(_FILE["shared"])
