"""One run of the store: its episodes, written one transaction each and read a page at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, func, select, tuple_, update
from sqlalchemy.exc import IntegrityError

from tir_gym.episode import PlayedEpisode
from tir_gym.errors import UsageError
from tir_gym.metrics import Outcome, Summary, summarise
from tir_gym.records import Trace
from tir_gym.store import schema
from tir_gym.store.database import writing
from tir_gym.store.rows import figures_from, outcome_of, put_episode, recorded_already, rows_of
from tir_gym.store.text import trace_from_text
from tir_gym.store.whole import demand_whole

_PAGE = 500


@dataclass(frozen=True)
class EpisodeRow(Outcome):
    """The figures of a recorded episode; its trace is read when asked for."""

    engine: Engine = field(kw_only=True, repr=False, compare=False)
    id: int = field(kw_only=True, repr=False, compare=False)
    """Of its row in `episodes`."""

    def trace(self) -> Trace:
        """The episode, as it may have come from elsewhere.

        Raises:
            UsageError: The episode was replaced meanwhile, or its trace is none or of a newer version.
        """
        text = self.trace_text()
        try:
            return trace_from_text(text)
        except UsageError as error:
            raise self._told(error) from None

    def whole_trace(self) -> Trace:
        """The episode, to be paid again or learned from.

        Raises:
            UsageError: As `trace`, or what it has does not fit together.
        """
        trace = self.trace()
        try:
            demand_whole(trace)
        except UsageError as error:
            raise self._told(error) from None
        return trace

    def trace_text(self) -> str:
        """Its trace as it is stored: canonical JSON, ASCII only.

        Raises:
            UsageError: The episode was replaced meanwhile.
        """
        query = select(schema.traces.c.trace).where(schema.traces.c.episode_id == self.id)
        with self.engine.connect() as connection:
            text = connection.scalar(query)
        if text is None:
            raise UsageError(f"the episode of task {self.task_id}, repeat {self.repeat} was replaced; read it again")
        return str(text)

    def turn_seconds(self) -> tuple[float, ...]:
        """Wall-clock seconds of each turn, as far as they were taken."""
        turns = schema.turns.c
        query = select(turns.seconds).where(turns.episode_id == self.id, turns.seconds.is_not(None))
        with self.engine.connect() as connection:
            return tuple(
                seconds for (seconds,) in connection.execute(query.order_by(turns.turn)) if seconds is not None
            )

    def _told(self, error: UsageError) -> UsageError:
        return UsageError(f"the episode of task {self.task_id}, repeat {self.repeat}: {error}")


@dataclass(frozen=True)
class TurnCredit:
    """What the turns with one index were paid, on average over the episodes that have them."""

    turn: int
    episodes: int
    reward: float
    """As the steps paid it."""
    hindsight: float | None
    """In hindsight; `None` where no episode was credited."""


class Run:
    """A run of a store; made by `Store.begin_run` and `Store.run`. Threads may share it.

    Attributes:
        name: Its name.
        config: What was given when it began.
    """

    def __init__(self, engine: Engine, id: int, name: str, config: Mapping[str, Any]) -> None:
        self.name = name
        self.config = config
        self._engine = engine
        self._id = id

    @property
    def status(self) -> str:
        """`running` or `finished`."""
        with self._engine.connect() as connection:
            return str(connection.scalar(select(schema.runs.c.status).where(schema.runs.c.id == self._id)))

    def done(self) -> set[tuple[str, int]]:
        """The (task id, repeat) that need not be played any more; an infrastructure failure is no such episode."""
        episodes = schema.episodes.c
        query = select(episodes.task_id, episodes.repeat).where(
            episodes.run_id == self._id, episodes.infra_kind.is_(None)
        )
        with self._engine.connect() as connection:
            return {(task, repeat) for task, repeat in connection.execute(query)}

    def record(
        self,
        played: PlayedEpisode,
        *,
        repeat: int,
        oracle_return: float | None = None,
        tags: Sequence[str] = (),
    ) -> None:
        """Record an episode that has ended, in one transaction; it takes the place of an infrastructure failure.

        Args:
            played: The episode.
            repeat: Which attempt at its task it was, from 0.
            oracle_return: Return of the oracle on the same task under the same reward.
            tags: Labels of the task.

        Raises:
            UsageError: The episode has not ended, or is recorded already.
        """
        outcome = outcome_of(played, repeat=repeat, oracle_return=oracle_return, tags=tags)
        rows = rows_of(played, outcome)  # made before the transaction, which shall be short
        try:
            with writing(self._engine).begin() as connection:
                put_episode(connection, self._id, rows)
        except IntegrityError:  # PostgreSQL lets two writers look first and stops the second here
            raise recorded_already(outcome.task_id, repeat) from None

    def finish(self) -> None:
        """Mark the run as finished."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with writing(self._engine).begin() as connection:
            connection.execute(
                update(schema.runs).where(schema.runs.c.id == self._id).values(status="finished", finished_at=now)
            )

    def episodes(self) -> Iterator[EpisodeRow]:
        """Its episodes by task id and repeat, read a page at a time, so that no transaction stays open between."""
        episodes = schema.episodes.c
        place = tuple_(episodes.task_id, episodes.repeat)
        query = select(schema.episodes).where(episodes.run_id == self._id)
        query = query.order_by(episodes.task_id, episodes.repeat).limit(_PAGE)
        page = query
        while True:
            with self._engine.connect() as connection:
                rows = connection.execute(page).mappings().all()
            for row in rows:
                yield EpisodeRow(**figures_from(dict(row)), engine=self._engine, id=row["id"])
            if len(rows) < _PAGE:
                return
            page = query.where(place > (rows[-1]["task_id"], rows[-1]["repeat"]))

    def credit_by_turn(self) -> list[TurnCredit]:
        """Mean credit by turn, first turn first; infrastructure failures are left out."""
        turns, episodes = schema.turns.c, schema.episodes.c
        query = (
            select(turns.turn, func.count(), func.avg(turns.reward), func.avg(turns.hindsight))
            .join(schema.episodes, episodes.id == turns.episode_id)
            .where(episodes.run_id == self._id, episodes.infra_kind.is_(None))
            .group_by(turns.turn)
            .order_by(turns.turn)
        )
        with self._engine.connect() as connection:
            return [TurnCredit(*row) for row in connection.execute(query)]

    def oracle_returns(self) -> dict[str, float]:
        """Return of the oracle by task id, as far as episodes were recorded with it."""
        episodes = schema.episodes.c
        query = select(episodes.task_id, episodes.oracle_return).where(
            episodes.run_id == self._id, episodes.oracle_return.is_not(None)
        )
        with self._engine.connect() as connection:
            return dict(connection.execute(query.order_by(episodes.task_id, episodes.repeat)).all())

    def summary(self) -> Summary:
        """The figures of all its episodes; pass@k up to the config's `k`, or as many repeats as there are."""
        rows = list(self.episodes())
        k = self.config.get("k")
        return summarise(rows, k if isinstance(k, int) and k > 0 else 1 + max((row.repeat for row in rows), default=0))
