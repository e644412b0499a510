"""What a policy is shown before it acts itself: the oracle's episodes, with a flaw that is always the same.

Faults that come by chance teach nothing wrong: a policy that imitates them averages them away and ends where the oracle
is, with nothing left for reinforcement to improve. Real demonstrators have habits. Two are here: to stop a step early
and answer with what is known by then, and to make a call again whose result is there already.

Only tasks of the train split are shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from tir_gym.agents.programmed import Move, ProgrammedAgent
from tir_gym.env import ToolEnv
from tir_gym.episode import play_episode
from tir_gym.errors import InfrastructureError, UsageError
from tir_gym.messages import Observation
from tir_gym.records import Message
from tir_gym.rollout import ChatPrompt, ChatTokenizer, Recording, Trajectory


@dataclass(frozen=True)
class Flaws:
    """The habits of a demonstrator, each a probability in [0, 1]."""

    stop_early: float = 0.0
    """That it leaves out the last round of calls and answers with the results of the round before, in a task that needs
    two rounds or more. Above a half, whoever imitates it and takes the likeliest token does so always."""
    repeat: float = 0.0
    """That it makes a round of calls again, for each round but the last."""

    def __post_init__(self) -> None:
        for name in ("stop_early", "repeat"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UsageError(f"{name}={getattr(self, name)}: a probability lies in [0, 1]")

    @classmethod
    def usual(cls) -> Flaws:
        """Those of the recipe: most of what takes two rounds or more is left a round short."""
        return cls(stop_early=0.7, repeat=0.1)


@dataclass(frozen=True)
class Demonstration:
    """An episode as messages."""

    task_id: str
    tools: Sequence[Mapping[str, Any]]
    """In OpenAI's form."""
    turns: Sequence[tuple[Sequence[Message], str, float]]
    """What was new before each turn, the message that was said then in the environment's dialect, and its reward."""
    success: bool | None

    def messages(self) -> list[Message]:
        """The conversation."""
        found: list[Message] = []
        for heard, said, _ in self.turns:
            found += [*heard, {"role": "assistant", "content": said}]
        return found

    def trajectory(self, tokenizer: ChatTokenizer) -> Trajectory:
        """The episode as a rollout would have recorded it: the same tokens before and in each turn. The
        log-probabilities are 0, as nothing was sampled."""
        prompt, recording = ChatPrompt(tokenizer, self.tools), Recording(self.task_id, self.task_id)
        end = _end_of_turn(tokenizer)
        said_before: list[int] = []
        for number, (heard, said, reward) in enumerate(self.turns):
            recording.extend(prompt.grow(said_before, heard) if number else prompt.begin(heard))
            said_before = [*tokenizer.encode(said), end]
            recording.add(said_before, np.zeros(len(said_before)), reward=reward)
        return recording.finish(success=self.success)


def _end_of_turn(tokenizer: ChatTokenizer) -> int:
    """What the template puts after an assistant's words: of several tokens that may stop a turn, the one to learn."""
    said = "\ue000"
    talk = ({"role": "user", "content": "?"}, {"role": "assistant", "content": said})
    after = tokenizer.encode(tokenizer.render(talk, (), reply=False).rpartition(said)[2])
    return after[0] if len(after) and after[0] in tokenizer.stop_ids else min(tokenizer.stop_ids)


def demonstrations(env: ToolEnv, *, seed: int, flaws: Flaws = Flaws()) -> Iterator[Demonstration]:
    """Episodes without end, drawn from the train split; the same seed gives the same ones.

    Args:
        env: An environment without wrappers, of a dialect whose messages are text.
        seed: Of the tasks and of the flaws.
        flaws: The demonstrator's.

    Raises:
        UsageError: The environment plays another split, or another dialect.
        InfrastructureError: A tool broke.
    """
    if env.split != "train":
        raise UsageError(f"demonstrations are of the train split, the environment plays {env.split!r}")
    if not isinstance(env.dialect.render("", ()), str):
        raise UsageError(f"in dialect {env.dialect.name!r} calls are no text to learn; make it with dialect='hermes'")
    env.reset(seed=seed)  # seeds the generator that tasks are drawn with
    demonstrator = Demonstrator(flaws)
    while True:
        task = env.draw_task()
        trace = play_episode(env, demonstrator, task=task, agent_seed=seed).trace
        if trace.infra_error is not None:
            raise InfrastructureError(f"task {task} cannot be shown: {trace.infra_error['message']}")
        heard = [trace.messages, *(turn.observation for turn in trace.turns)]
        yield Demonstration(
            task_id=task,
            tools=[tool.to_openai() for tool in trace.tools],
            turns=[(before, str(turn.action), turn.reward) for before, turn in zip(heard, trace.turns, strict=False)],
            success=trace.success,
        )


class Demonstrator(ProgrammedAgent):
    """Plays the oracle's script with flaws."""

    needs_gold: ClassVar[bool] = True

    def __init__(self, flaws: Flaws) -> None:
        self._flaws = flaws

    def prepare(self) -> None:
        script = self.oracle.script()
        rounds = [i for i, (_, calls) in enumerate(script) if calls]
        early = len(rounds) > 1 and self.rng.random() < self._flaws.stop_early
        self._plan: list[Move | None] = []  # None: an answer from what the last round gave
        for i, move in enumerate(script):
            if early and i == rounds[-1]:
                self._plan.append(None)
                break
            self._plan.append(move)
            if i in rounds[:-1] and self.rng.random() < self._flaws.repeat:
                self._plan.append(move)

    def decide(self, observation: Observation) -> Move:
        move = self._plan[min(self.turn, len(self._plan) - 1)]
        if move is not None:
            return move
        return ", ".join(str(message["content"]) for message in observation if message["role"] == "tool"), ()
