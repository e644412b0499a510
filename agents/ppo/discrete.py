"""`DiscreteTools`: an environment of this package with numbered actions and vectors to see, as a Gymnasium wrapper.

For algorithms that know no text. Masks are in the form that sb3-contrib looks for: a method `action_masks`.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from tir_gym.agents.ppo.discretiser import Discretiser
from tir_gym.agents.programmed import numbered
from tir_gym.env import Action, ToolEnv
from tir_gym.errors import UsageError
from tir_gym.messages import Observation


class DiscreteTools(gymnasium.Wrapper[NDArray[np.float32], Any, Observation, Action], RecordConstructorArgs):
    """Actions `Discrete(n_actions)`, observations `Box(0, 1, (n_features,))`, see `Discretiser`.

    Reward, `terminated`, `truncated` and info are the environment's. A step that only puts a value into a call or an
    answer that is not complete yet sends nothing: its reward is 0 and its info holds only `invalid_action`.

    A forbidden action is played as far as it goes, and scored by the environment as any other message: a call lacks the
    argument that an empty slot does not hold. `info["invalid_action"]` tells of it.

    Args:
        env: An environment of this package, wrapped or not, that gives messages and takes them. Its action space is
            made of the tools of its first task; a task that offers others offers the rest of them to nobody.
        slots: As `Discretiser` has it.
        mentions: Likewise.
        answer_values: Likewise.

    Raises:
        UsageError: Not an environment of this package, it has no tools or no task, or a number below 1.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        *,
        slots: int = 16,
        mentions: int = 24,
        answer_values: int = 1,
    ) -> None:
        RecordConstructorArgs.__init__(self, slots=slots, mentions=mentions, answer_values=answer_values)
        gymnasium.Wrapper.__init__(self, env)
        base = env.unwrapped
        if not isinstance(base, ToolEnv):
            raise UsageError(f"DiscreteTools wraps environments of tir_gym, not a {type(base).__name__}")
        names = base.task_ids(1)
        if not names:
            raise UsageError(f"{base.env_id} has no task in the {base.split} split to take its tools from")
        self._base = base
        self.tools: tuple[dict[str, Any], ...] = tuple(base.prepare(names[0]).openai_tools)
        """The tools that the actions are made of, in OpenAI's form."""
        self.discretiser = Discretiser(self.tools, slots=slots, mentions=mentions, answer_values=answer_values)
        self.action_space = Discrete(self.discretiser.n_actions)
        self.observation_space = Box(0.0, 1.0, (self.discretiser.n_features,), np.float32)
        self._sent = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        observation: Any
        observation, info = self.env.reset(seed=seed, options=options)
        self.discretiser.begin(observation, [entry["function"]["name"] for entry in info["tools"]])
        self._sent = 0
        return self.discretiser.features(), info

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        invalid = not bool(self.discretiser.mask()[action])
        move = self.discretiser.choose(int(action))
        if move is None:
            return self.discretiser.features(), 0.0, False, False, {"invalid_action": invalid}
        text, calls = move
        message = self._base.dialect.render(text, numbered(calls, self._sent))
        self._sent += 1
        observation: Any
        observation, reward, terminated, truncated, info = self.env.step(message)
        self.discretiser.hear(observation)
        return self.discretiser.features(), float(reward), terminated, truncated, info | {"invalid_action": invalid}

    def action_masks(self) -> NDArray[np.bool_]:
        """`[n_actions]`: which actions can be played now, see `Discretiser.mask`."""
        return self.discretiser.mask()
