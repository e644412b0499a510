"""`random`: valid calls without sense. The lower bound of every table: what is paid to one who knows nothing."""

from __future__ import annotations

from tir_gym.agents.programmed import Move, ProgrammedAgent
from tir_gym.agents.sampling import Sampler
from tir_gym.agents.seen import SeenValues
from tir_gym.messages import Observation
from tir_gym.records import ToolCall


class RandomAgent(ProgrammedAgent):
    """Calls tools drawn at random, with arguments that fit their schemas, for one to eight turns; then it speaks.

    A quarter of its messages holds two or three calls. Half of the values are ones that it has seen, where such a
    value fits. Its words are a guess at an answer, a question, or a plain ending.
    """

    def prepare(self) -> None:
        self._seen = SeenValues()
        self._sampler = Sampler(self.rng, reuse=0.5)
        self._last_call_turn = self.rng.randint(1, 8)

    def decide(self, observation: Observation) -> Move:
        self._seen.add(observation)
        if self.turn >= self._last_call_turn or not self.tools:
            return self._words(), ()
        count = self.rng.randint(2, 3) if self.rng.random() < 0.25 else 1
        return "", tuple(self._call() for _ in range(count))

    def _call(self) -> ToolCall:
        name = self.rng.choice(list(self.tools))
        return ToolCall(name, self._sampler.arguments(self.tools[name]["parameters"], self._seen))

    def _words(self) -> str:
        kind = self.rng.choice(("answer", "question", "ending"))
        if kind == "question":
            return "Could you tell me more?"
        if kind == "answer" and len(self._seen):
            return f"It is <answer>{self.rng.choice(list(self._seen))}</answer>."
        return "Done."
