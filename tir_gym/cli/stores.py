"""The trace store as commands use it: read commands do not make one, and runs get names that are free."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from tir_gym.errors import UsageError

if TYPE_CHECKING:
    from tir_gym.store import Store


def existing_store(where: str) -> Store:
    """Open a store that is there.

    Raises:
        UsageError: There is none, or it cannot be opened.
    """
    from tir_gym.store import open_store

    if "://" not in where and not Path(where).exists():
        raise UsageError(f"there is no store at {where}; `tir-gym eval` makes one, --store names another")
    refuse_empty(where)
    return open_store(where)


def refuse_empty(where: str) -> None:
    """Make no store of an empty file that somebody only wants to read.

    Raises:
        UsageError: It is one.
    """
    if "://" not in where and Path(where).is_file() and not Path(where).stat().st_size:
        raise UsageError(f"{where} is an empty file, not a store")


def run_names(where: str) -> set[str]:
    """Names of the runs of a store; none where there is no store yet, which is then not made."""
    if "://" not in where and not Path(where).exists():
        return set()
    with existing_store(where) as store:
        return {info.name for info in store.runs()}


def free_name(env_id: str, agent: str, taken: Collection[str]) -> str:
    """A name for a new run, such as `calculator-v0.oracle.3`: the environment, the agent, the next number."""
    base = f"{_word(env_id.rpartition('/')[2])}.{_word(agent)}"
    number = 1
    while f"{base}.{number}" in taken:
        number += 1
    return f"{base}.{number}"


def _word(text: str) -> str:
    """Fit for a file name and for a shell without quotes."""
    return re.sub(r"[^a-z0-9.-]+", "-", text.casefold(), flags=re.ASCII).strip("-.") or "x"
