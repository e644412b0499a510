"""What the pages ask of the store, answered by the database: figures, pages of episodes, groups, neighbours.

No list reads a trace, or the JSON of an episode other than its token counts. The figures of a finished run are kept
once they have been asked for.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Engine, Float, Select, and_, case, cast, create_engine, func, or_, select
from sqlalchemy.pool import StaticPool

from tir_gym.errors import UsageError
from tir_gym.records import Trace
from tir_gym.store import schema
from tir_gym.store.database import open_database, shown_url
from tir_gym.store.run import Run, TurnCredit
from tir_gym.store.text import readable, trace_from_text
from tir_gym.viewer.figures import Attempts, pass_rate, success_of
from tir_gym.viewer.lines import OUTCOMES, PAGE, EpisodeLine, GroupTurn, Listing, Rollout, RunLine, Wanted

_RUNS, _EPISODES, _TURNS, _CALLS = schema.runs.c, schema.episodes.c, schema.turns.c, schema.calls.c
_IN_ORDER = (func.length(_EPISODES.task_id), _EPISODES.task_id, _EPISODES.repeat)
"""Episodes by task and attempt, `test/9` before `test/10`."""


class Reader:
    """A store, read. Threads may share it.

    Args:
        where: Path of a SQLite file, or the URL of a PostgreSQL database. `None`: no store, no runs, no episodes.

    Raises:
        UsageError: It cannot be opened.
    """

    def __init__(self, where: str | Path | None) -> None:
        self._engine = _nothing() if where is None else open_database(where)
        self.where = "" if where is None else shown_url(self._engine.url)
        """For people to read, without a password; empty where there is no store."""
        self._configs: dict[int, Mapping[str, Any]] = {}
        self._kept: dict[tuple[Any, ...], RunLine] = {}

    def close(self) -> None:
        self._engine.dispose()

    # Runs.

    def runs(self) -> list[RunLine]:
        """All runs, the newest first."""
        return self._lines(select(_RUNS.id, _RUNS.name, _RUNS.status, _RUNS.created_at, _RUNS.finished_at))

    def run(self, id: int) -> RunLine:
        """Raises UsageError where there is none."""
        query = select(_RUNS.id, _RUNS.name, _RUNS.status, _RUNS.created_at, _RUNS.finished_at)
        found = self._lines(query.where(_RUNS.id == id))
        if not found:
            raise UsageError(f"there is no run number {id} in this store")
        return found[0]

    def pulse(self) -> str:
        """A text that is another one once anything was written."""
        with self._engine.connect() as connection:
            last, count = connection.execute(select(func.max(_EPISODES.id), func.count())).one()
            runs = connection.execute(select(_RUNS.id, _RUNS.status)).all()
        return f"{last}.{count}.{len(runs)}.{sum(run.status == 'finished' for run in runs)}"

    def _lines(self, query: Select[Any]) -> list[RunLine]:
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(_RUNS.id.desc())).all()
        configs = self._read_configs([row.id for row in rows])
        lines: dict[int, RunLine] = {}
        fresh = []
        for row in rows:
            key = (row.id, row.finished_at)
            if row.status == "finished" and key in self._kept:
                lines[row.id] = self._kept[key]
            else:
                fresh.append(row)
        figures = self._figures([row.id for row in fresh], configs)
        for row in fresh:
            lines[row.id] = RunLine(
                row.id, row.name, row.status, configs[row.id], row.created_at, row.finished_at, **figures[row.id]
            )
            if row.status == "finished":
                self._kept[row.id, row.finished_at] = lines[row.id]
        return [lines[row.id] for row in rows]

    def _read_configs(self, ids: Sequence[int]) -> Mapping[int, Mapping[str, Any]]:
        """A run's config never changes, so each is read once."""
        new = [id for id in ids if id not in self._configs]
        if new:
            with self._engine.connect() as connection:
                for id, text in connection.execute(select(_RUNS.id, _RUNS.config).where(_RUNS.id.in_(new))):
                    self._configs[id] = json.loads(text)
        return self._configs

    def _figures(self, ids: Sequence[int], configs: Mapping[int, Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
        if not ids:
            return {}
        failed = _EPISODES.infra_kind.is_not(None)
        means = (
            select(
                _EPISODES.run_id,
                func.sum(case((failed, 1), else_=0)).label("infra_failures"),
                *(
                    func.avg(case((failed, None), else_=column)).label(name)
                    for name, column in (
                        ("mean_return", _EPISODES.episode_return),
                        ("turns", _EPISODES.turns),
                        ("tokens", self._tokens()),
                        ("seconds", _EPISODES.seconds),
                    )
                ),
            )
            .where(_EPISODES.run_id.in_(ids))
            .group_by(_EPISODES.run_id)
        )
        by_task = (
            select(
                _EPISODES.run_id,
                func.count().label("n"),
                func.sum(case((_EPISODES.success, 1), else_=0)).label("c"),
            )
            .where(_EPISODES.run_id.in_(ids), _EPISODES.infra_kind.is_(None))
            .group_by(_EPISODES.run_id, _EPISODES.task_id)
            .subquery()
        )
        alike = select(by_task.c.run_id, by_task.c.n, by_task.c.c, func.count()).group_by(
            by_task.c.run_id, by_task.c.n, by_task.c.c
        )
        found: dict[int, dict[str, Any]] = {id: {} for id in ids}
        attempts: dict[int, list[Attempts]] = defaultdict(list)
        with self._engine.connect() as connection:
            for row in connection.execute(means).mappings():
                figures = {name: value if value is None else float(value) for name, value in row.items()}
                found[row["run_id"]] = figures | {"infra_failures": int(row["infra_failures"])}
                del found[row["run_id"]]["run_id"]
            for id, n, c, tasks in connection.execute(alike):
                attempts[id].append(Attempts(int(n), int(c), int(tasks)))
        for id in ids:
            k = configs[id].get("k")
            k = k if isinstance(k, int) and k > 0 else max((each.n for each in attempts[id]), default=1)
            found[id] |= {
                "episodes": sum(each.n * each.tasks for each in attempts[id]),
                "tasks": sum(each.tasks for each in attempts[id]),
                "successes": sum(each.c * each.tasks for each in attempts[id]),
                "success": success_of(attempts[id]),
                "k": k,
                "pass_hat_k": pass_rate(attempts[id], k),
            }
        return found

    # Episodes.

    def episodes(self, run_id: int, wanted: Wanted) -> Listing:
        """A page of a run's episodes."""
        chosen = _EPISODES.run_id == run_id
        if wanted.text:
            chosen &= _EPISODES.task_id.contains(readable(wanted.text), autoescape=True)
        if wanted.outcome == "infra":
            chosen &= _EPISODES.infra_kind.is_not(None)
        elif wanted.outcome in OUTCOMES:
            chosen &= and_(_EPISODES.infra_kind.is_(None), _EPISODES.success.is_(wanted.outcome == "done"))
        if wanted.ending:
            chosen &= _EPISODES.ending == readable(wanted.ending)
        column: Any = {
            "return": _EPISODES.episode_return,
            "turns": _EPISODES.turns,
            "calls": _EPISODES.calls,
            "malformed": _EPISODES.malformed,
            "seconds": _EPISODES.seconds,
            "tokens": func.coalesce(self._tokens(), 0.0),
        }.get(wanted.sort)
        by = [func.length(_EPISODES.task_id), _EPISODES.task_id] if column is None else [column]
        order = [*(each.desc() if wanted.down else each for each in by), *_IN_ORDER]
        with self._engine.connect() as connection:
            total = int(connection.scalar(select(func.count()).select_from(schema.episodes).where(chosen)) or 0)
            page = min(max(1, wanted.page), max(1, -(-total // PAGE)))
            query = select(*self._line_columns()).where(chosen).order_by(*order).limit(PAGE).offset((page - 1) * PAGE)
            return Listing([EpisodeLine(*row) for row in connection.execute(query)], total, page)

    def endings(self, run_id: int) -> dict[str, int]:
        """Episodes by ending, the commonest first."""
        query = select(_EPISODES.ending, func.count()).where(_EPISODES.run_id == run_id).group_by(_EPISODES.ending)
        with self._engine.connect() as connection:
            found = [(str(ending), int(n)) for ending, n in connection.execute(query)]
        return dict(sorted(found, key=lambda each: (-each[1], each[0])))

    def episode(self, id: int) -> EpisodeLine:
        """Raises UsageError where there is none."""
        with self._engine.connect() as connection:
            row = connection.execute(select(*self._line_columns()).where(_EPISODES.id == id)).first()
        if row is None:
            raise UsageError(f"there is no episode number {id} in this store; it may have been played again")
        return EpisodeLine(*row)

    def trace_text(self, id: int) -> str:
        """An episode's trace as stored, canonical JSON in ASCII. Raises UsageError where there is none."""
        with self._engine.connect() as connection:
            text = connection.scalar(select(schema.traces.c.trace).where(schema.traces.c.episode_id == id))
        if text is None:
            raise UsageError(f"there is no episode number {id} in this store; it may have been played again")
        return str(text)

    def trace(self, id: int) -> Trace:
        """An episode, whole. Raises UsageError where there is none, or its trace is of a newer version."""
        return trace_from_text(self.trace_text(id))

    def turn_seconds(self, id: int) -> tuple[float | None, ...]:
        """Wall-clock seconds of each turn."""
        query = select(_TURNS.seconds).where(_TURNS.episode_id == id).order_by(_TURNS.turn)
        with self._engine.connect() as connection:
            return tuple(seconds for (seconds,) in connection.execute(query))

    def neighbours(self, line: EpisodeLine) -> tuple[int | None, int | None]:
        """The episodes before and after one in its run, by task and attempt."""
        length, task, repeat = _IN_ORDER
        n = func.length(line.task_id)
        before = or_(
            length < n, and_(length == n, or_(task < line.task_id, and_(task == line.task_id, repeat < line.repeat)))
        )
        after = or_(
            length > n, and_(length == n, or_(task > line.task_id, and_(task == line.task_id, repeat > line.repeat)))
        )
        here = select(_EPISODES.id).where(_EPISODES.run_id == line.run_id)
        with self._engine.connect() as connection:
            return (
                connection.scalar(here.where(before).order_by(*(each.desc() for each in _IN_ORDER)).limit(1)),
                connection.scalar(here.where(after).order_by(*_IN_ORDER).limit(1)),
            )

    # Groups.

    def group(self, run_id: int, task_id: str) -> list[Rollout]:
        """The attempts of a run at a task, with their turns."""
        lines = select(*self._line_columns()).where(_EPISODES.run_id == run_id, _EPISODES.task_id == task_id)
        ids = select(_EPISODES.id).where(_EPISODES.run_id == run_id, _EPISODES.task_id == task_id)
        calls = select(_CALLS.episode_id, _CALLS.turn, _CALLS.name, _CALLS.error_kind).where(_CALLS.episode_id.in_(ids))
        names: dict[tuple[int, int], list[tuple[str, str | None]]] = defaultdict(list)
        turns: dict[int, list[GroupTurn]] = defaultdict(list)
        with self._engine.connect() as connection:
            for episode, turn, name, kind in connection.execute(calls.order_by(_CALLS.turn, _CALLS.call)):
                names[episode, turn].append((name, kind))
            played = select(
                _TURNS.episode_id, _TURNS.turn, _TURNS.reward, _TURNS.hindsight, _TURNS.malformed,
                func.substr(_TURNS.text, 1, 400),
            )  # fmt: skip
            played = played.where(_TURNS.episode_id.in_(ids)).order_by(_TURNS.turn)
            for episode, turn, reward, hindsight, malformed, text in connection.execute(played):
                calls_made = names[episode, turn]
                turns[episode].append(GroupTurn(turn, reward, hindsight, malformed, text, calls_made))
            rows = connection.execute(lines.order_by(_EPISODES.repeat)).all()
        return [Rollout(line, turns[line.id]) for line in (EpisodeLine(*row) for row in rows)]

    def runs_with(self, task_id: str, env_id: str) -> list[tuple[int, str]]:
        """Id and name of the runs of an environment that have a task, the newest first."""
        query = select(_RUNS.id, _RUNS.name).where(
            _RUNS.id.in_(select(_EPISODES.run_id).where(_EPISODES.task_id == task_id))
        )
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(_RUNS.id.desc())).all()
        configs = self._read_configs([row.id for row in rows])
        return [(row.id, row.name) for row in rows if configs[row.id].get("env_id") == env_id]

    # Curves and comparing.

    def task_cells(self, run_id: int) -> dict[str, tuple[int, int, float, int]]:
        """By task: attempts, successes, mean return, gold calls; infrastructure failures are left out."""
        query = (
            select(
                _EPISODES.task_id,
                func.count(),
                func.sum(case((_EPISODES.success, 1), else_=0)),
                func.avg(_EPISODES.episode_return),
                func.min(_EPISODES.gold_calls),
            )
            .where(_EPISODES.run_id == run_id, _EPISODES.infra_kind.is_(None))
            .group_by(_EPISODES.task_id)
            .order_by(_EPISODES.task_id)
        )
        with self._engine.connect() as connection:
            return {
                task: (int(n), int(c), float(mean), int(gold)) for task, n, c, mean, gold in connection.execute(query)
            }

    def credit_by_turn(self, run_id: int) -> list[TurnCredit]:
        """Mean credit by turn, first turn first; infrastructure failures are left out."""
        return Run(self._engine, run_id, "", {}).credit_by_turn()

    # How it is asked.

    def _line_columns(self) -> tuple[ColumnElement[Any], ...]:
        """The columns of an `EpisodeLine`, in its order."""
        names = ("id", "run_id", "task_id", "repeat", "success", "episode_return", "turns", "calls", "right_calls")
        more = ("gold_calls", "malformed", "ending", "infra_kind")
        return (*(_EPISODES[name] for name in (*names, *more)), self._tokens().label("tokens"), _EPISODES.seconds)

    def _tokens(self) -> ColumnElement[Any]:
        """Prompt and completion tokens of an episode; NULL where neither was counted."""
        counts = [self._used(name) for name in ("prompt_tokens", "completion_tokens")]
        nothing = and_(*(count.is_(None) for count in counts))
        return case((nothing, None), else_=func.coalesce(counts[0], 0.0) + func.coalesce(counts[1], 0.0))

    def _used(self, name: str) -> ColumnElement[Any]:
        usage = _EPISODES.usage
        if self._engine.dialect.name == "postgresql":  # whose JSON refuses the NaN that a store may hold
            return cast(func.substring(usage, f'"{name}":([0-9]+[.]?[0-9]*)'), Float)
        return case((func.json_valid(usage) == 1, cast(func.json_extract(usage, f"$.{name}"), Float)), else_=None)


def _nothing() -> Engine:
    """A store without runs, in memory and with one connection: nobody writes to it."""
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    schema.metadata.create_all(engine)
    return engine
