"""What every form of training data has in common: which episodes it takes, what stands beside a conversation, and text
that any reader can read.

Infrastructure failures are never among the episodes. Rewards are kept by turn: a turn is one message of the agent, so
`rewards` (as the steps paid them) and `turn_rewards` (in hindsight) have an entry for each of its messages that is
shown, in order. `return` is the whole episode's, what is not shown included.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from tir_gym.records import Trace
from tir_gym.store.jsonl import opened_to_write
from tir_gym.store.run import EpisodeRow, Run
from tir_gym.store.text import readable


def lessons(run: Run, *, only_success: bool) -> Iterator[tuple[EpisodeRow, Trace]]:
    """The episodes of a run that can be learnt from, by task id and repeat.

    Args:
        run: The run.
        only_success: Leave out episodes that did not succeed.

    Raises:
        UsageError: The trace of one is not whole.
    """
    for row in run.episodes():
        if row.infra_error is None and (row.success or not only_success):
            yield row, row.whole_trace()


def write_lines(
    run: Run,
    file: str | Path | TextIO,
    line_of: Callable[[EpisodeRow, Trace], Mapping[str, Any] | None],
    *,
    only_success: bool,
) -> int:
    """Write a JSON document per episode and line.

    Args:
        run: The run.
        file: A path, or an open text file.
        line_of: The document; `None` for an episode that has none.
        only_success: As for `lessons`.

    Returns:
        How many.
    """
    count = 0
    with opened_to_write(file) as out:
        for row, trace in lessons(run, only_success=only_success):
            line = line_of(row, trace)
            if line is not None:
                out.write(json.dumps(plain(line), allow_nan=False) + "\n")
                count += 1
    return count


def beside(row: EpisodeRow, trace: Trace, turns: Sequence[int]) -> dict[str, Any]:
    """What is kept of an episode beside its conversation.

    Args:
        row: Its figures.
        trace: The episode.
        turns: The turns that are shown, in order.
    """
    return {
        "task_id": row.task_id,
        "repeat": row.repeat,
        "success": bool(row.success),
        "return": row.return_,
        "rewards": [trace.turns[turn].reward for turn in turns],
        "turn_rewards": [trace.turn_rewards[turn] for turn in turns],
    }


def plain(value: Any) -> Any:
    """JSON data that any reader can read: NUL and lone surrogates as escapes, NaN and infinities as their names."""
    if isinstance(value, str):
        return readable(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {readable(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
