"""How requests are worded."""

from __future__ import annotations

from pathlib import Path

from tir_gym.env import Split
from tir_gym.envs.writing.wordings import read_wordings

LEAST: dict[Split, int] = {"train": 3, "test": 2}
"""Wordings that every key has at least."""

WORDINGS = read_wordings(Path(__file__).parent)
