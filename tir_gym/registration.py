"""Every folder under `envs/` with a `card.toml` is an environment: found, registered with Gymnasium, described.

A card says the id, the class, and what a reader should know; nothing of the family is imported until it is made.
Where the data of a data set is found under `$TIR_GYM_SHARED`, each of its tasks gets an id too, by file names alone.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable
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
    needs: Literal["", "data_dir", "url"] = ""
    """What must be given to make it, besides its id."""
    shared_data: str = ""
    """Folder of its data under `$TIR_GYM_SHARED`."""
    task_files: tuple[str, ...] = ()
    """Patterns in that folder: files that are one task each, named after it."""
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
        shared = os.environ.get("TIR_GYM_SHARED")
        if shared and card.task_files:
            folder = Path(shared, card.shared_data)
            register_tasks(card, sorted(file.stem for pattern in card.task_files for file in folder.glob(pattern)))


def register_tasks(card: Card, names: Iterable[str], **options: str) -> list[str]:
    """Register ids for tasks that have names: `tir_gym/ToolTalk.NAME-v0` plays the task NAME of `tir_gym/ToolTalk-v0`.

    Args:
        card: Their environment's.
        names: Of the tasks; one that makes no Gymnasium id is passed over.
        options: For the environment's constructor, besides the task.

    Returns:
        The ids.
    """
    family, _, version = card.id.rpartition("-")
    ids = {f"{family}.{name}-{version}": name for name in names if re.fullmatch(r"[\w.-]+", name)}
    for full, name in ids.items():
        for id in (full, full.removeprefix("tir_gym/")):
            gymnasium.registry.pop(id, None)  # from another folder
            gymnasium.register(id=id, entry_point=card.entry_point, kwargs={"task": name, **options})
    return list(ids)
