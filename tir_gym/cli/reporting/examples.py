"""The episodes that a report walks through: which ones, and why each of their turns was paid as it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tir_gym.cli.walking import WalkedTurn, call_text, walk
from tir_gym.errors import TirGymError

if TYPE_CHECKING:
    from tir_gym.env import ToolEnv
    from tir_gym.records import Trace
    from tir_gym.rescore import Explained
    from tir_gym.store import EpisodeRow

_WALKED = 3


@dataclass(frozen=True)
class GoldLine:
    """A gold call, and who was paid for it in the end."""

    call: str
    turn: int | None
    """Index of the turn whose call was matched with it."""
    score: float


@dataclass(frozen=True)
class Example:
    """An episode, walked."""

    run: int
    """Index of its run."""
    row: EpisodeRow
    trace: Trace
    gold: tuple[GoldLine, ...]
    """The gold trace that was matched best; empty where it cannot be had here."""
    alternative: int
    """Which gold trace that is: 0 the main one."""
    turns: tuple[WalkedTurn, ...]
    unexplained: str
    """Why the turns are not explained; empty where they are."""


def examples(
    runs: Sequence[Sequence[EpisodeRow]], make_env: Callable[[Trace], ToolEnv], worlds: Sequence[str] = ()
) -> list[Example]:
    """Walk through some episodes.

    Args:
        runs: The episodes of each run.
        make_env: Makes the environment that an episode was played in, to replay the gold of its task.
        worlds: The environment of each run, where they are several.
    """
    return [_walked(run, row, make_env) for run, row in chosen(runs, worlds)]


def chosen(runs: Sequence[Sequence[EpisodeRow]], worlds: Sequence[str] = ()) -> list[tuple[int, EpisodeRow]]:
    """Which episodes tell most: two failures, and how the task of the first is done. Each with the index of its run.

    A failure tells more where somebody does the task, where some of its calls were right and some were not, and where
    it is short.
    """

    def task_of(found: tuple[int, EpisodeRow]) -> tuple[str, str]:
        return worlds[found[0]] if worlds else "", found[1].task_id

    every = [(i, row) for i, rows in enumerate(runs) for row in rows]
    counted = [(i, row) for i, row in every if row.infra_error is None]
    right = [(i, row) for i, row in counted if row.success]
    done = {task_of(found) for found in right}

    def told_by(found: tuple[int, EpisodeRow]) -> tuple[object, ...]:
        share = _share(found[1])
        return task_of(found) not in done, not 0.0 < share < 1.0, share < 0.5, found[1].turns, *_place(found)

    wrong = sorted(((i, row) for i, row in counted if not row.success), key=told_by)
    first = wrong[:1]
    task, run = (task_of(first[0]), first[0][0]) if first else (("", ""), 0)
    others = [found for found in wrong if task_of(found) != task]
    second = ([found for found in others if found[0] != run and not told_by(found)[1]] or others)[:1]
    right.sort(key=lambda found: (task_of(found) != task, found[0] != run, -found[1].gold_calls, *_place(found)))
    picked = [*right[:1], *first, *second]
    for found in [*wrong, *right, *sorted(every, key=_place)]:
        if len(picked) < _WALKED and found not in picked:
            picked.append(found)
    return picked


def _share(row: EpisodeRow) -> float:
    return min(row.right_calls, row.gold_calls) / row.gold_calls if row.gold_calls else 0.0


def _place(found: tuple[int, EpisodeRow]) -> tuple[str, int, int]:
    return found[1].task_id, found[0], found[1].repeat


def _walked(run: int, row: EpisodeRow, make_env: Callable[[Trace], ToolEnv]) -> Example:
    trace = row.trace()
    explained, reason = _explained(trace, row, make_env)
    best = explained.matches[-1].trace if explained is not None and explained.matches else 0
    paid = {match.gold: (match.turn, match.score) for match in trace.matches if match.gold is not None}
    calls = () if explained is None else explained.golds[best]
    gold = [GoldLine(call_text(call), *paid.get(i, (None, 0.0))) for i, call in enumerate(calls)]
    return Example(run, row, trace, tuple(gold), best, tuple(walk(trace, explained)), reason)


def _explained(trace: Trace, row: EpisodeRow, make_env: Callable[[Trace], ToolEnv]) -> tuple[Explained | None, str]:
    from tir_gym.rescore import explain

    try:
        env = make_env(trace)
        try:
            found = explain(trace, env, turn_seconds=row.turn_seconds())
        finally:
            env.close()
    except (TirGymError, ValueError) as error:
        return None, str(error)
    except Exception as error:  # a trace is data from strangers, and must not cost the report of the others
        return None, f"{type(error).__name__}: {error}"
    return found, "" if found is not None else "its turns are paid otherwise by this version of the environment"
