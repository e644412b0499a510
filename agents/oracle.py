"""`oracle`: plays the gold trace. The upper bound of every table, and the proof that a task can be done."""

from __future__ import annotations

from typing import ClassVar

from tir_gym.agents.programmed import Move, ProgrammedAgent
from tir_gym.messages import Observation


class OracleAgent(ProgrammedAgent):
    """Sends the messages of `Oracle.script()` in order, and the last one again if it is asked for more."""

    needs_gold: ClassVar[bool] = True

    def prepare(self) -> None:
        self._script = self.oracle.script()

    def decide(self, observation: Observation) -> Move:
        return self._script[min(self.turn, len(self._script) - 1)]
