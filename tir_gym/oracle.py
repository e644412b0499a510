"""The opaque handle under `info["oracle"]`: the gold trace, for the oracle, for probes, and for nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tir_gym.answers import REFUSAL_MARK
from tir_gym.records import AskedCheck, RefusedCheck, Task, ToolCall

if TYPE_CHECKING:
    from tir_gym.gold import ReplayedGold


class Oracle:
    """How to do the task. Its repr shows nothing, so that logging an `info` leaks nothing."""

    def __init__(self, task: Task, gold: ReplayedGold) -> None:
        self._task = task
        self._gold = gold

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The gold calls, references resolved."""
        return self._gold.calls

    @property
    def task(self) -> Task:
        return self._task

    def script(self) -> list[tuple[str, tuple[ToolCall, ...]]]:
        """The messages of one who does it right, in order: `(text, calls)`.

        Calls that do not depend on each other go out together. Questions come before the stage that needs their
        answer; the last message is the final answer.
        """
        moves: list[tuple[str, tuple[ToolCall, ...]]] = []
        questions = self._questions()
        stage = 0
        for level in self._gold.levels():
            wanted = self._gold.trace.calls[level[0]].stage
            while stage < wanted:
                moves.append((questions[stage], ()))
                stage += 1
            moves.append(("", tuple(self._gold.calls[i] for i in level)))
        while stage < len(questions):
            moves.append((questions[stage], ()))
            stage += 1
        moves.append((self._closing(), ()))
        return moves

    def __repr__(self) -> str:
        return "<oracle>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Oracle) and self._task == other._task

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        # A replayed gold holds snapshots of its sandbox, which need not travel between processes.
        from dataclasses import replace

        return Oracle, (self._task, replace(self._gold, stage_starts={}, end=None))

    def _questions(self) -> list[str]:
        """What to say for each reply of the user, in the order in which the script gives them."""
        asked = {check.slot for check in self._task.gold.checks if isinstance(check, AskedCheck)}
        said = []
        for reply in self._task.user.replies:
            if reply.slot is None:
                said.append("Done.")
            elif reply.slot in asked:
                said.append(f"Could you tell me the {reply.phrases[0]}?")
        return said

    def _closing(self) -> str:
        reply = self._task.gold.reply or "Done."
        refused = any(isinstance(check, RefusedCheck) for check in self._task.gold.checks)
        return f"{REFUSAL_MARK} {reply}" if refused and not reply.startswith(REFUSAL_MARK) else reply
