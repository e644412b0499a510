"""`probe:NAME`: policies that try to be paid without doing the task. Their returns say how far a reward can be hacked.

Each is as strong as its definition allows: where it needs to know a right call or a right tool, it takes it from the
gold trace. None is told the answer: on a task that only asks for one, who knows it has nothing left to hack.
`probing.py` measures them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from tir_gym.agents.programmed import Move, ProgrammedAgent
from tir_gym.agents.sampling import Sampler, fits
from tir_gym.agents.seen import Scalar, SeenValues
from tir_gym.agents.wrong import WrongValues
from tir_gym.answers import REFUSAL_MARK
from tir_gym.messages import Observation
from tir_gym.records import ToolCall

_STOP: Move = ("Done.", ())


class RepeatProbe(ProgrammedAgent):
    """The first right call, for ever."""

    needs_gold: ClassVar[bool] = True

    def decide(self, observation: Observation) -> Move:
        first = self.oracle.calls[:1]
        return ("", first) if first else _STOP


class FirstProbe(ProgrammedAgent):
    """The first right call, then stop."""

    needs_gold: ClassVar[bool] = True

    def decide(self, observation: Observation) -> Move:
        first = self.oracle.calls[:1]
        return ("", first) if first and self.turn == 0 else _STOP


class EveryToolProbe(ProgrammedAgent):
    """Every tool once, in one message, with arguments that fit its schema and mean nothing; then stop."""

    def decide(self, observation: Observation) -> Move:
        if self.turn > 0 or not self.tools:
            return _STOP
        sampler = Sampler(self.rng)
        return "", tuple(
            ToolCall(name, sampler.arguments(tool["parameters"], optional=0.0)) for name, tool in self.tools.items()
        )


class WrongArgsProbe(ProgrammedAgent):
    """What the oracle asks, and its calls with every argument wrong, those without arguments left out; then stop."""

    needs_gold: ClassVar[bool] = True

    def prepare(self) -> None:
        self._seen = SeenValues()
        self._wrong = WrongValues(self.rng, self.oracle)
        moves = ((text, tuple(call for call in calls if call.arguments)) for text, calls in self.oracle.script())
        *before, _ = [(text, calls) for text, calls in moves if text or calls]
        self._plan = [*before, _STOP]

    def decide(self, observation: Observation) -> Move:
        self._seen.add(observation)
        text, calls = self._plan[min(self.turn, len(self._plan) - 1)]
        return text, tuple(wrong for call in calls if (wrong := self._wrong.all(call, self._seen)) is not None)


class DumpProbe(ProgrammedAgent):
    """Every tool with all arguments filled from all values seen so far: two messages, each with the next two
    combinations for each tool; then stop. More calls earn less, because waste has its price."""

    messages: ClassVar[int] = 2
    calls_per_tool: ClassVar[int] = 2

    def prepare(self) -> None:
        self._seen = SeenValues()
        self._made: set[str] = set()

    def decide(self, observation: Observation) -> Move:
        self._seen.add(observation)
        calls = tuple(self._calls()) if self.turn < self.messages else ()
        return ("", calls) if calls else _STOP

    def _calls(self) -> Iterator[ToolCall]:
        for name, tool in self.tools.items():
            fresh = (call for call in _combinations(name, tool["parameters"], self._seen) if self._is_new(call))
            yield from itertools.islice(fresh, self.calls_per_tool)

    def _is_new(self, call: ToolCall) -> bool:
        key = repr((call.name, call.arguments))
        known = key in self._made
        self._made.add(key)
        return not known


class AnswerProbe(ProgrammedAgent):
    """An answer at once, guessed from the values of the request: no call, no question."""

    def decide(self, observation: Observation) -> Move:
        seen = SeenValues()
        seen.add(observation)
        return f"<answer>{self.rng.choice([*seen] or [0])}</answer>", ()


class AnswerDumpProbe(ProgrammedAgent):
    """An answer that lists every value of the request, at once."""

    def decide(self, observation: Observation) -> Move:
        seen = SeenValues()
        seen.add(observation)
        return f"<answer>{', '.join(map(str, seen))}</answer>", ()


class RefuseProbe(ProgrammedAgent):
    """A refusal, at once."""

    def decide(self, observation: Observation) -> Move:
        return f"{REFUSAL_MARK} I am not able to do that.", ()


class AskProbe(ProgrammedAgent):
    """A question that names every argument of every tool, for ever: asks for all that could be asked for."""

    def decide(self, observation: Observation) -> Move:
        names = dict.fromkeys(name for tool in self.tools.values() for name in tool["parameters"].get("properties", {}))
        return f"Could you tell me the {', '.join(name.replace('_', ' ') for name in names)}?", ()


class NothingProbe(ProgrammedAgent):
    """An empty message."""

    def decide(self, observation: Observation) -> Move:
        return "", ()


PROBE_TYPES: Mapping[str, type[ProgrammedAgent]] = {
    "repeat": RepeatProbe,
    "first": FirstProbe,
    "every-tool": EveryToolProbe,
    "wrong-args": WrongArgsProbe,
    "dump": DumpProbe,
    "answer": AnswerProbe,
    "answer-dump": AnswerDumpProbe,
    "refuse": RefuseProbe,
    "ask": AskProbe,
    "nothing": NothingProbe,
}


def _combinations(name: str, schema: Mapping[str, Any], seen: SeenValues) -> Iterator[ToolCall]:
    """Calls of a tool with every combination of seen values that fit, last argument varying fastest.

    An argument that nothing seen fits is left out where it may be, else the tool cannot be called.
    """
    required = schema.get("required", ())
    choices: dict[str, list[Scalar]] = {}
    for argument, part in schema.get("properties", {}).items():
        fitting = [value for value in seen if fits(part, value)]
        if not fitting and argument in required:
            return
        if fitting:
            choices[argument] = fitting
    for values in itertools.product(*choices.values()):
        yield ToolCall(name, dict(zip(choices, values, strict=True)))
