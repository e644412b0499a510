"""What a generated world is made of, read from `vocabulary.toml`."""

from __future__ import annotations

import tomllib
from pathlib import Path

from tir_gym.env import Split
from tir_gym.records import Record


class Vocabulary(Record):
    """The words of one split."""

    first_names: tuple[str, ...]
    last_names: tuple[str, ...]
    mail_domains: tuple[str, ...]
    cities: tuple[str, ...]
    rooms: tuple[str, ...]
    streets: tuple[str, ...]
    topics: tuple[str, ...]
    """Two words each; the first one stands in no other topic, so that it can be searched for."""
    chores: tuple[str, ...]
    """Things to be reminded of, worded as commands."""
    passwords: tuple[str, ...]


class SharedWords(Record):
    """What worlds of both splits are padded with; tasks quote it at most through a record that holds it."""

    meeting_kinds: tuple[str, ...]
    trip_kinds: tuple[str, ...]
    """Meetings that take place in another city."""
    errands: tuple[str, ...]
    conditions: tuple[str, ...]
    mail_subjects: tuple[str, ...]
    """With a place for the topic."""
    mail_texts: tuple[str, ...]
    """With places for the topic and two numbers."""
    invitation_lines: tuple[str, ...]
    message_texts: tuple[str, ...]
    """With places for the topic and a number."""


_FILE = tomllib.loads((Path(__file__).parent / "vocabulary.toml").read_text(encoding="utf-8"))

VOCABULARY: dict[Split, Vocabulary] = {
    "train": Vocabulary.model_validate(_FILE["train"]),
    "test": Vocabulary.model_validate(_FILE["test"]),
}
SHARED = SharedWords.model_validate(_FILE["shared"])
