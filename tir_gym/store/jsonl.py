"""Runs as JSONL: one episode per line, whole by itself, so that files can be cut, joined and read by anything.

    {"format": "tir-gym-episode", "version": 1, "trace": {...}, "beside": {...}}

`trace` is the `Trace` record (system prompt, tool schemas, messages, calls, rewards by turn and term); `beside` is
what differs from run to run: `repeat`, `seconds`, `turn_seconds`, `usage`, `oracle_return`, `tags`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from pydantic import Field, ValidationError

from tir_gym.episode import PlayedEpisode
from tir_gym.errors import UsageError
from tir_gym.records import Record
from tir_gym.store.rows import outcome_of, rows_of
from tir_gym.store.run import EpisodeRow, Run
from tir_gym.store.store import Store
from tir_gym.store.text import to_text, trace_from_data

FORMAT = "tir-gym-episode"
FORMAT_VERSION = 1
"""Version of the line; one of a newer version is refused."""


class Beside(Record):
    """What is known of an episode besides its trace."""

    repeat: int = Field(ge=0)
    seconds: float
    turn_seconds: tuple[float, ...] = ()
    usage: dict[str, int | float] = Field(default_factory=dict)
    oracle_return: float | None = None
    tags: tuple[str, ...] = ()


def export_jsonl(run: Run, file: str | Path | TextIO) -> int:
    """Write all episodes of a run, by task id and repeat.

    Args:
        run: The run.
        file: A path, or an open text file.

    Returns:
        How many.
    """
    count = 0
    with opened_to_write(file) as out:
        for row in run.episodes():
            # The trace goes out as it is stored, character for character.
            head = f'{{"format":"{FORMAT}","version":{FORMAT_VERSION},"beside":{to_text(_beside(row))}'
            out.write(f'{head},"trace":{row.trace_text()}}}\n')
            count += 1
    return count


def import_jsonl(store: Store, path: str | Path, name: str) -> Run:
    """Read a file that `export_jsonl` wrote into a new run, all of it or nothing.

    Raises:
        UsageError: The name is taken, the file cannot be read, or a line of it is broken, of a newer version, or an
            episode that an earlier line has; the text gives the line's number.
    """
    first: PlayedEpisode | None = None
    lines: dict[tuple[str, int], int] = {}
    for number, played, beside in read_jsonl(path):
        key = (played.trace.provenance.task_id, beside.repeat)
        if key in lines:
            raise UsageError(f"{path}, line {number}: task {key[0]}, repeat {key[1]} is on line {lines[key]} already")
        lines[key] = number
        first = first or played
    if first is None:
        raise UsageError(f"{path} holds no episode")
    provenance = first.trace.provenance
    config = {
        "env_id": provenance.env_id,
        "env_kwargs": provenance.env_kwargs,
        "agent": provenance.agent,
        "k": 1 + max(repeat for _, repeat in lines),
        "imported_from": Path(path).name,
    }
    return store.add_run(
        name,
        config,
        (
            rows_of(
                played,
                outcome_of(played, repeat=beside.repeat, oracle_return=beside.oracle_return, tags=beside.tags),
            )
            for _, played, beside in read_jsonl(path)
        ),
    )


@contextmanager
def opened_to_write(file: str | Path | TextIO) -> Iterator[TextIO]:
    """A text file to write to: the one given, or one made at that path, with its folders."""
    if not isinstance(file, (str, Path)):
        yield file
        return
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    with open(file, "w", encoding="utf-8", newline="\n") as opened:
        yield opened


def _beside(row: EpisodeRow) -> dict[str, Any]:
    return {
        "repeat": row.repeat,
        "seconds": row.seconds,
        "turn_seconds": list(row.turn_seconds()),
        "usage": dict(row.usage),
        "oracle_return": row.oracle_return,
        "tags": list(row.tags),
    }


def read_jsonl(path: str | Path) -> Iterator[tuple[int, PlayedEpisode, Beside]]:
    """The episodes of a file with their line numbers, from 1; blank lines are passed over.

    Raises:
        UsageError: As `import_jsonl`, but for episodes that come twice.
    """
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    try:
                        yield number, *_episode(line)
                    except UsageError as error:
                        raise UsageError(f"{path}, line {number}: {error}") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no UTF-8 text: {error.reason} at byte {error.start}") from None


def _episode(line: str) -> tuple[PlayedEpisode, Beside]:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"no JSON ({error}); was the file cut off?") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise UsageError(f'no episode: expected {{"format": "{FORMAT}", ...}}')
    version = data.get("version")
    if not isinstance(version, int) or version < 1:
        raise UsageError(f"version {version!r} is none; expected a number from 1 to {FORMAT_VERSION}")
    if version > FORMAT_VERSION:
        raise UsageError(f"version {version} is newer than {FORMAT_VERSION}; upgrade tir-gym to read it")
    trace = trace_from_data(data.get("trace"))
    try:
        beside = Beside.model_validate(data.get("beside"))
    except ValidationError as error:
        first = error.errors()[0]
        where = "/".join(["beside", *(str(part) for part in first["loc"])])
        raise UsageError(f"{where}: {first['msg']}") from None
    played = PlayedEpisode(trace, beside.seconds, beside.turn_seconds, dict(beside.usage))
    outcome_of(played, repeat=beside.repeat)  # refuses an episode that has not ended
    return played, beside
