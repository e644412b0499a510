"""The contract between an environment and whoever acts in it. Implementations live in `agents/`."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from tir_gym.env import Action
from tir_gym.messages import Observation


@runtime_checkable
class Agent(Protocol):
    """Plays episodes, one at a time. `begin` is called at each reset, then `act` once for every turn.

    An agent may also have `needs_gold` (class or instance attribute, `False` where absent: whether it may see the gold
    trace), `usage` (dict of counts since `begin`, such as `prompt_tokens` and `completion_tokens`), and `close()`.
    """

    def begin(self, env_info: dict[str, Any]) -> None:
        """Get ready for an episode.

        Args:
            env_info: `env_id`, `task_id`, `tools` (OpenAI form), `dialect` (its name), `seed` (of the agent's own
                randomness in this episode); for an agent with `needs_gold` also `oracle`.
        """
        ...

    def act(self, observation: Observation, info: dict[str, Any]) -> Action:
        """The next message.

        Args:
            observation: Messages that are new since the last action.
            info: What the environment said with it; without `oracle` and `match` unless the agent has `needs_gold`.
        """
        ...


class AgentFailure(Exception):
    """An agent could not act for reasons outside the episode: its endpoint is down, its budget spent.

    The episode ends as an infrastructure failure, which no statistic counts against the agent.
    """
