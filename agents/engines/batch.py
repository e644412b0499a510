"""Many turns sampled together, token by token; turns join and leave between two steps.

Each sequence has a row of the cache. A row whose turn has ended keeps its keys and values, under the rollout's key and
for whoever begins with the same tokens: the next turn forwards only what is new, the rollouts of a group forward their
prompt once, a fork goes on from its parent's. Rows that are needed are taken from whoever was last heard of longest
ago; that rollout's prompt is then read again.

A step covers the rows from the first to the last that is at work. Rows at rest between them are computed in vain, so
they are moved out of the way once they are a quarter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tir_gym.agents.engines.choosing import choose
from tir_gym.agents.engines.decoding import Decoder
from tir_gym.agents.engines.rows import BLOCK, Rows, common_beginning
from tir_gym.rollout import SamplingParams, TokenOutput

_WORTH_WAITING = 8
"""Tokens that another row is reading anyway; to wait for fewer does not pay."""


@dataclass(eq=False)
class Turn:
    """One turn to be sampled."""

    prompt_ids: NDArray[np.int32]
    params: SamplingParams
    seed: int
    key: str | None
    finished: Callable[[TokenOutput | BaseException], None]
    """Called once, when the turn has ended or can never end."""
    cancelled: bool = False
    """Nobody waits for it any more."""
    row: int = -1
    leader: Turn | None = None
    """Reads tokens that this turn's prompt begins with too."""
    shared: int = 0
    """How many."""
    random: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        # A counter-based generator: made in microseconds, and a turn's numbers come from its seed alone.
        self.random = np.random.Generator(np.random.Philox(key=self.seed % 2**64))


@dataclass
class Usage:
    """What was computed since the engine began."""

    sampled: int = 0
    """Tokens."""
    forwarded: int = 0
    """Tokens that went through the model."""
    reused: int = 0
    """Tokens of prompts whose keys and values were there already."""
    steps: int = 0
    """Forward passes of one token for each row."""
    reads: int = 0
    """Forward passes over many tokens of some rows."""


class Batch:
    """The turns under way. For one thread.

    Args:
        decoder: The model.
        max_slots: Turns at a time.
        kept: Rows beyond these, for rollouts between two turns.
        context: Tokens that a sequence has at most.
        chunk: Tokens that are read at a time, of all rows together. 0 reads each prompt token by token, in the steps:
            then a token's result does not depend on how its prompt was cut, and so on no other turn.
    """

    def __init__(self, decoder: Decoder, *, max_slots: int, kept: int, context: int, chunk: int) -> None:
        self.usage = Usage()
        self.weight_version = 0
        self._epoch = 0
        """Counts changes of the weights, whatever their versions are called."""
        self._decoder = decoder
        self.max_slots = max_slots
        self._most_rows = max_slots + kept
        self._context = context
        self._chunk = chunk
        self._turns: list[Turn] = []
        self._row_of: dict[str, int] = {}
        self._time = 0
        self._waited = 0
        self._stop_sets: dict[tuple[int, ...], int] = {}
        self._stops = np.zeros((0, 0), dtype=bool)
        self._rows = Rows()

    @property
    def at_work(self) -> int:
        """Turns under way."""
        return len(self._turns)

    def add(self, turn: Turn) -> None:
        """Begin a turn; there is room."""
        self._make_room(min(len(turn.prompt_ids) + turn.params.max_tokens, self._context))
        common = self._common(turn.prompt_ids)
        row = self._row_for(turn, common)
        best = int(common.argmax())
        if common[best] > common[row]:
            self._decoder.cache.copy(best, row, int(common[row]), int(common[best]))
        self._rows.length[row] = common[best]
        self.usage.reused += int(common[best])
        self._begin_row(turn, row)
        self._follow(turn)

    def step(self) -> None:
        """Sample a token for each turn that is ready for one; let others read."""
        self._time += 1
        self._drop_cancelled()
        self._copy_from_leaders()
        if not self._turns:
            return
        rows = np.array([turn.row for turn in self._turns if turn.leader is None])
        if self._chunk:
            reading = rows[self._rows.length[rows] < self._rows.known[rows] - 1]
            ready = rows[self._rows.length[rows] == self._rows.known[rows] - 1]
            self._waited += bool(len(reading))
            # Read many together: a pass over few tokens costs as much as one over many.
            if len(reading) and (len(reading) * 4 >= len(ready) or self._waited >= 8):
                self._waited = 0
                self._read(reading)
                return
        else:
            ready = rows
        self._decode(ready)

    def forget(self, key: str) -> None:
        """What is kept under a key is nobody's any more; until its row is needed, others may begin from it."""
        row = self._row_of.pop(key, None)
        if row is not None and self._rows.turn_in[row] is None:
            self._rows.used[row] = -1

    def new_weights(self, version: int) -> None:
        """What was computed with others goes, once the turns under way have ended."""
        self.weight_version = version
        self._epoch += 1
        self._row_of.clear()
        for row, turn in enumerate(self._rows.turn_in):
            if turn is None:
                self._rows.length[row] = 0

    def abandon(self, error: BaseException) -> None:
        """End all turns with an error, and keep nothing."""
        turns, self._turns = self._turns, []
        self._row_of.clear()
        self._rows.forget()
        for turn in turns:
            turn.finished(error)

    def score(self, ids: NDArray[np.int32]) -> NDArray[np.float32]:
        """The log-probability of each token after those before it, `[N]`; 0 for the first. Takes a row at rest."""
        free = any(turn is None for turn in self._rows.turn_in)
        self._make_room(len(ids), rows=self._rows.count + (not free))
        row = min(
            (row for row in range(self._rows.count) if self._rows.turn_in[row] is None),
            key=lambda row: self._rows.used[row],
        )
        self._take(row)
        self._rows.length[row], self._rows.used[row] = 0, -1
        scores = np.zeros(len(ids), dtype=np.float32)
        size = self._chunk or 512
        for begin in range(0, len(ids) - 1, size):
            part = ids[begin : min(begin + size, len(ids) - 1)].astype(np.int64)
            logits = self._decoder.read(
                np.array([row]), part[None], np.array([begin]), np.array([len(part)]), all_logits=True
            )[0]
            targets = torch.from_numpy(ids[begin + 1 : begin + 1 + len(part)].astype(np.int64)).to(logits.device)
            chosen = torch.log_softmax(logits.float(), -1).gather(1, targets[:, None])[:, 0]
            scores[begin + 1 : begin + 1 + len(part)] = chosen.cpu().numpy()
            self.usage.reads += 1
            self.usage.forwarded += len(part)
        return scores

    # Joining

    def _common(self, prompt: NDArray[np.int32]) -> NDArray[np.int64]:
        """How many tokens at the beginning of the prompt each row has keys and values of, `[rows]`: all but the last
        at most, which must be forwarded for its logits."""
        usable = np.where(self._rows.epoch == self._epoch, self._rows.length, 0)
        most = min(len(prompt) - 1, int(usable.max(initial=0)))
        if most == 0:
            return np.zeros(self._rows.count, dtype=np.int64)
        return np.minimum(common_beginning(self._rows.held[:, :most], prompt[:most]), usable)

    def _row_for(self, turn: Turn, common: NDArray[np.int64]) -> int:
        """The rollout's own row, or one at rest that was last needed longest ago."""
        own = self._row_of.get(turn.key) if turn.key is not None else None
        if own is not None and self._rows.turn_in[own] is None:
            return own
        resting = [row for row, at in enumerate(self._rows.turn_in) if at is None]
        unclaimed = [row for row in resting if self._rows.used[row] < 0]
        # Where what it holds is of use to this very turn, nothing has to be copied.
        if unclaimed:
            row = max(unclaimed, key=lambda row: common[row])
        else:
            row = min(resting, key=lambda row: self._rows.used[row])
        self._take(row)
        return row

    def _take(self, row: int) -> None:
        """A row from whoever has it; turns that were to begin from it have copied what they needed."""
        key = self._rows.key_in[row]
        if key is not None and self._row_of.get(key) == row:
            del self._row_of[key]
        self._rows.key_in[row] = None

    def _begin_row(self, turn: Turn, row: int) -> None:
        length = len(turn.prompt_ids)
        self._rows.held[row, :length] = turn.prompt_ids
        self._rows.known[row] = self._rows.begin[row] = length
        self._rows.limit[row] = min(length + turn.params.max_tokens, self._context)
        self._rows.temperature[row] = turn.params.temperature
        self._rows.top_p[row] = turn.params.top_p
        self._rows.stop_set[row] = self._stop_set_of(turn.params.stop_ids)
        self._rows.epoch[row] = self._epoch
        self._rows.used[row] = self._time
        self._rows.turn_in[row] = turn
        self._rows.key_in[row] = turn.key
        if turn.key is not None:
            self._row_of[turn.key] = row
        turn.row = row
        self._turns.append(turn)

    def _follow(self, turn: Turn) -> None:
        """Let a turn wait where another is about to read what its prompt begins with."""
        prompt = turn.prompt_ids
        unread = self._rows.length < self._rows.known - 1
        ahead = [other for other in self._turns[:-1] if other.leader is None and unread[other.row]]
        if not ahead:
            return
        rows = np.array([t.row for t in ahead])
        most = len(prompt) - 1
        common = np.minimum(common_beginning(self._rows.held[rows, :most], prompt[:most]), self._rows.known[rows] - 1)
        common[self._rows.epoch[rows] != self._epoch] = 0
        best = int(common.argmax())
        if common[best] >= self._rows.length[turn.row] + _WORTH_WAITING:
            turn.leader, turn.shared = ahead[best], int(common[best])

    def _stop_set_of(self, stop_ids: Sequence[int]) -> int:
        ids = tuple(sorted(set(stop_ids)))
        number = self._stop_sets.setdefault(ids, len(self._stop_sets))
        size = max(self._stops.shape[1], max(ids, default=0) + 1)
        if number >= len(self._stops) or size > self._stops.shape[1]:
            grown = np.zeros((max(number + 1, len(self._stops)), size), dtype=bool)
            grown[: len(self._stops), : self._stops.shape[1]] = self._stops
            self._stops = grown
            self._stops[number, list(ids)] = True
        return number

    # Between steps

    def _drop_cancelled(self) -> None:
        for turn in [turn for turn in self._turns if turn.cancelled]:
            self._rest(turn)

    def _copy_from_leaders(self) -> None:
        for turn in self._turns:
            if turn.leader is not None and self._rows.length[turn.leader.row] >= turn.shared:
                self._copy_from(turn.leader, turn)

    def _copy_from(self, leader: Turn, turn: Turn) -> None:
        turn.leader = None
        have, there = int(self._rows.length[turn.row]), min(turn.shared, int(self._rows.length[leader.row]))
        if there > have and self._rows.epoch[leader.row] == self._rows.epoch[turn.row] == self._epoch:
            self._decoder.cache.copy(leader.row, turn.row, have, there)
            self._rows.length[turn.row] = there
            self.usage.reused += there - have

    def _read(self, rows: NDArray[np.int64]) -> None:
        """Forward what rows do not know the keys and values of, all but the last token, which a step forwards."""
        counts = self._rows.known[rows] - 1 - self._rows.length[rows]
        counts = np.minimum(counts, self._chunk)
        # The oldest first, as many as a pass may hold; then alike ones together, so that little is padded.
        chosen = np.cumsum(counts) <= self._chunk
        chosen[0] = True
        rows, counts = rows[chosen], counts[chosen]
        order = np.argsort(counts, kind="stable")
        for part in _alike(counts[order]):
            self._read_together(rows[order[part]], counts[order[part]])

    def _read_together(self, rows: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        starts = self._rows.length[rows]
        offsets = np.minimum(np.arange(int(counts.max())), counts[:, None] - 1)
        ids = self._rows.held[rows[:, None], starts[:, None] + offsets].astype(np.int64)
        self._decoder.read(rows, ids, starts, counts)
        self._rows.length[rows] += counts
        self.usage.reads += 1
        self.usage.forwarded += int(counts.sum())

    def _decode(self, ready: NDArray[np.int64]) -> None:
        ready = self._compacted(ready)
        n = int(ready.max()) + 1
        at = self._rows.length[:n]  # at rest, a row's next column is free to be written to
        ids = self._rows.held[np.arange(n), np.minimum(at, self._rows.columns - 1)].astype(np.int64)
        logits = self._decoder.step(ids, np.minimum(at, self._rows.columns), int(at[ready].max()) + 1)
        self._rows.length[ready] += 1
        self.usage.steps += 1
        self.usage.forwarded += len(ready)
        sampling = ready[self._rows.length[ready] == self._rows.known[ready]]
        if not len(sampling):
            return
        if len(sampling) < n:
            logits = logits[torch.from_numpy(sampling).to(logits.device)]
        position = self._rows.known[sampling]
        count = position - self._rows.begin[sampling]
        for row in sampling[count % BLOCK == 0]:
            self._rows.uniforms[row] = self._turn_of(row).random.random(BLOCK)
        chosen, logprobs = choose(
            logits,
            self._rows.temperature[sampling],
            self._rows.top_p[sampling],
            self._rows.uniforms[sampling, count % BLOCK],
        )
        self._rows.held[sampling, position] = chosen
        self._rows.logprobs[sampling, position] = logprobs
        self._rows.known[sampling] += 1
        self.usage.sampled += len(sampling)
        known_stop = chosen < self._stops.shape[1]
        stopped = known_stop & self._stops[self._rows.stop_set[sampling], np.where(known_stop, chosen, 0)]
        for row, stop in zip(sampling, stopped, strict=True):
            if stop or self._rows.known[row] >= self._rows.limit[row]:
                self._finish(self._turn_of(row), "stop" if stop else "length")

    def _finish(self, turn: Turn, why: Any) -> None:
        row = turn.row
        sampled = slice(int(self._rows.begin[row]), int(self._rows.known[row]))
        output = TokenOutput(
            ids=self._rows.held[row, sampled].copy(),
            logprobs=self._rows.logprobs[row, sampled].copy(),
            finish=why,
            weight_version=self.weight_version,
        )
        self._rest(turn)
        turn.finished(output)

    def _rest(self, turn: Turn) -> None:
        row = turn.row
        self._turns.remove(turn)
        for other in self._turns:
            if other.leader is turn:  # its row may be another's from now on
                self._copy_from(turn, other)
        self._rows.turn_in[row] = None
        self._rows.used[row] = self._time if turn.key is not None and self._row_of.get(turn.key) == row else -1
        if self._rows.epoch[row] != self._epoch:  # of weights that are no more
            self._take(row)
            self._rows.length[row], self._rows.used[row] = 0, -1

    def _compacted(self, ready: NDArray[np.int64]) -> NDArray[np.int64]:
        """Exchange rows until hardly any at rest stand among those that are ready."""
        ready = np.sort(ready)
        n = len(ready)
        if ready[-1] + 1 <= max(8, n + n // 3):
            return ready
        holes = np.setdiff1d(np.arange(n), ready)
        for hole, row in zip(holes, ready[n - len(holes) :], strict=True):
            self._swap(int(hole), int(row))
        return np.arange(n)

    def _swap(self, first: int, second: int) -> None:
        rows, pair = self._rows, (first, second)
        self._decoder.cache.swap(first, second, int(rows.length[list(pair)].max()))
        rows.swap(first, second)
        for row in pair:
            turn, key = rows.turn_in[row], rows.key_in[row]
            if turn is not None:
                turn.row = row
            if key is not None and self._row_of.get(key) in pair:
                self._row_of[key] = row

    def _turn_of(self, row: int) -> Turn:
        turn = self._rows.turn_in[row]
        assert turn is not None
        return turn

    # Room

    def _make_room(self, columns: int, *, rows: int = 0) -> None:
        """See to it that there are this many columns, and a row that is nobody's for as long as there may be more."""
        rows = max(rows, self._rows.count)
        if self._rows.count < self._most_rows and (self._rows.used >= 0).all():  # each one is somebody's
            rows = max(rows, min(self._most_rows, max(8, 2 * self._rows.count)))
        if columns > self._rows.columns:
            columns = min(self._context, max(columns, 2 * self._rows.columns))
        columns = max(columns, self._rows.columns)
        if (rows, columns) == (self._rows.count, self._rows.columns):
            return
        self._rows.grow(rows, columns)
        self._decoder.room(rows, columns)


def _alike(counts: NDArray[np.int64]) -> list[slice]:
    """Cut sorted counts into runs in which a quarter is padding at most."""
    parts, begin = [], 0
    for end in range(1, len(counts) + 1):
        if end == len(counts) or counts[begin : end + 1].sum() < 0.75 * counts[end] * (end + 1 - begin):
            parts.append(slice(begin, end))
            begin = end
    return parts
