"""Every folder under `envs/` with a `card.toml` is an environment: found, registered with Gymnasium, described.

A card says the id, the class, and what a reader should know; nothing of the family is imported until it is made.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

import gymnasium
from pydantic import Field

from tir_gym.errors import UsageError
from tir_gym.records import Record

_ENVS = Path(__file__).parent / "envs"


class Card(Record):
    """What `card.toml` holds."""

    id: str
    """Registered id, `tir_gym/Name-v0`."""
    entry_point: str
    """`module:Class`."""
    title: str
    summary: str
    """One paragraph."""
    needs: Literal["", "data_dir"] = ""
    """What must be given to make it, besides its id."""
    probes: dict[str, float] = Field(default_factory=dict)
    """Best return of each reward-hacking probe as a share of the oracle's on the same task, tasks of three or more
    gold calls, under the default reward; written by `tir-gym validate ID --publish`."""
    probes_measured: str = ""
    """How the probes were measured."""


def cards() -> dict[str, Card]:
    """The cards of all families, by id."""
    found = {}
    for path in sorted(_ENVS.glob("*/card.toml")):
        card = Card.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        found[card.id] = card
    return found


def card_path(env_id: str) -> Path:
    """The file of an environment's card.

    Raises:
        UsageError: No such environment.
    """
    for path in sorted(_ENVS.glob("*/card.toml")):
        if tomllib.loads(path.read_text(encoding="utf-8"))["id"] == env_id:
            return path
    raise UsageError(f"no environment {env_id!r}; there are {', '.join(cards())}")


def register_envs() -> None:
    """Register every card's id, and its name alone so that `gym.make("tir_gym:Name-v0")` works too."""
    for card in cards().values():
        for id in (card.id, card.id.removeprefix("tir_gym/")):
            if id not in gymnasium.registry:
                gymnasium.register(id=id, entry_point=card.entry_point)
