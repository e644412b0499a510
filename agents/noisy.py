"""`noisy:P`: the oracle with faults. How a reward falls as an agent gets worse, without any model."""

from __future__ import annotations

from typing import ClassVar

from tir_gym.agents.programmed import Move, ProgrammedAgent
from tir_gym.agents.wrong import WrongValues
from tir_gym.errors import UsageError
from tir_gym.messages import Observation
from tir_gym.records import ToolCall

_FAULTS = ("drop", "wrong", "swap", "repeat")


class NoisyAgent(ProgrammedAgent):
    """Plays the gold trace; each call suffers a fault with probability P, one of four with probability P/4 each.

    | fault | what becomes of the call |
    |---|---|
    | drop | it is left out |
    | wrong | one argument, drawn evenly, gets another value of its type; a call without arguments is left out |
    | swap | it changes places with the next call, across messages; the last call with the one before it |
    | repeat | it is made twice, in the same message |

    Words suffer too, a question or the final answer: left out with probability P/4 (the final answer becomes
    "Done."), wrong with probability P/4 (a question asks for nothing, an answer states something else).

    Args:
        noise: P, 0 to 1. 0 is the oracle.
    """

    needs_gold: ClassVar[bool] = True

    def __init__(self, noise: float) -> None:
        if not 0.0 <= noise <= 1.0:
            raise UsageError(f"noisy:{noise}: the probability must be from 0 to 1, such as noisy:0.3")
        self.noise = noise

    def prepare(self) -> None:
        script = self.oracle.script()
        faults = {
            (turn, i): self.rng.choice(_FAULTS)
            for turn, (_, calls) in enumerate(script)
            for i in range(len(calls))
            if self.rng.random() < self.noise
        }
        script = _swapped(script, [place for place, fault in faults.items() if fault == "swap"])
        wrong = WrongValues(self.rng, self.oracle)
        self._plan: list[Move] = []
        for turn, (text, calls) in enumerate(script):
            if not calls:
                text = self._spoiled(text, is_last=turn == len(script) - 1)
            kept = tuple(c for i, call in enumerate(calls) for c in _spoiled_call(call, faults.get((turn, i)), wrong))
            if text or kept:
                self._plan.append((text, kept))

    def decide(self, observation: Observation) -> Move:
        return self._plan[min(self.turn, len(self._plan) - 1)]

    def _spoiled(self, text: str, *, is_last: bool) -> str:
        draw = self.rng.random()
        if draw < self.noise / 4:
            return "Done." if is_last else ""
        if draw < self.noise / 2:
            return "It is <answer>something else</answer>." if is_last else "Could you tell me more?"
        return text


def _swapped(script: list[Move], places: list[tuple[int, int]]) -> list[Move]:
    calls = [list(move[1]) for move in script]
    order = [(turn, i) for turn, row in enumerate(calls) for i in range(len(row))]
    for place in places:
        at = order.index(place)
        other = order[at + 1] if at + 1 < len(order) else order[at - 1]
        (a, i), (b, j) = place, other
        calls[a][i], calls[b][j] = calls[b][j], calls[a][i]
    return [(text, tuple(row)) for (text, _), row in zip(script, calls, strict=True)]


def _spoiled_call(call: ToolCall, fault: str | None, wrong: WrongValues) -> tuple[ToolCall, ...]:
    if fault == "drop":
        return ()
    if fault == "wrong":
        spoiled = wrong.one(call)
        return () if spoiled is None else (spoiled,)
    return (call, call) if fault == "repeat" else (call,)
