"""SkyRL on our environments: an environment class for its gym. Credit for each turn is in `skyrl_trainer.py`.

    from tir_gym.agents.adapters.skyrl import register_env

    register_env("lookup", "tir_gym/Lookup-v0", hops=(1, 3))  # env_class: lookup, and a column `task` of ids

in each process that rolls out. SkyRL's generator appends tokens and puts the reward of each step where its turn ends.
What a policy sampled reaches the environment as the engine has decoded it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tir_gym.env import ToolEnv
from tir_gym.errors import MissingExtra, UsageError
from tir_gym.making import make_env
from tir_gym.records import Message

try:
    import skyrl_gym
    from skyrl_gym.envs.base_text_env import BaseTextEnv, BaseTextEnvStepOutput
except ImportError as error:
    raise MissingExtra("this adapter needs SkyRL's gym: pip install 'skyrl-gym>=0.4,<0.5'") from error


class ToolTextEnv(BaseTextEnv):  # type: ignore[misc]  # a class of a package that types are not read from
    """An episode of ours as SkyRL plays one.

    A failure of the infrastructure ends the episode with reward 0 and `metadata["infra_error"]`; SkyRL cannot leave it
    out of its statistics.

    Args:
        env_config: SkyRL's own settings of the class; not used.
        extras: The row of the data set: `task`, the id to play, and SkyRL's `max_turns`.
        env: Environment id.
        tools_in_prompt: Tell the tools in the system prompt, in words. Without it the chat template must do so, from
            `generator.chat_template_kwargs.tools`.
        options: Of the environment. Its `dialect` is the one in which the policy writes calls, `hermes` by default.

    Raises:
        UsageError: The row names no task.
    """

    def __init__(
        self,
        env_config: Any = None,
        extras: Mapping[str, Any] | None = None,
        *,
        env: str = "tir_gym/Lookup-v0",
        tools_in_prompt: bool = True,
        **options: Any,
    ) -> None:
        super().__init__()
        row = dict(extras or {})
        if not isinstance(row.get("task"), str):
            raise UsageError(f"task={row.get('task')!r}: a row of the data set needs the id of its task")
        self._task: str = row["task"]
        self._tools_in_prompt = tools_in_prompt
        self._env: ToolEnv = make_env(env, **{"dialect": "hermes", **options})
        self._success = 0.0
        self.max_turns = row.get("max_turns")

    def init(self, prompt: Any) -> tuple[list[Message], dict[str, Any]]:
        """Begin the episode.

        Args:
            prompt: Of the data set; the task's own messages take its place.

        Returns:
            The messages at reset, and `task_id` and `tools` (OpenAI form).
        """
        observation, info = self._env.reset(options={"task": self._task})
        messages = [dict(message) for message in observation]
        if self._tools_in_prompt:
            if not messages or messages[0]["role"] != "system":
                messages.insert(0, {"role": "system", "content": ""})
            told = self._env.dialect.tool_prompt(info["tools"])
            messages[0]["content"] = f"{messages[0]['content']}\n\n{told}".strip()
        return messages, {"task_id": info["task_id"], "tools": info["tools"]}

    def step(self, action: str) -> BaseTextEnvStepOutput:
        """Play one message of the policy; the reward is its turn's."""
        observation, reward, terminated, truncated, info = self._env.step(action)
        self.turns += 1
        done = terminated or truncated or (self.max_turns is not None and self.turns >= self.max_turns)
        self._success = float(bool(info.get("success")))
        metadata = {key: info[key] for key in ("success", "ending", "infra_error") if key in info}
        return BaseTextEnvStepOutput(
            observations=[] if done else [dict(message) for message in observation],
            reward=reward,
            done=done,
            metadata=metadata,
        )

    def get_metrics(self) -> dict[str, float]:
        """Success (0 or 1) and turns of the episode."""
        return {"success": self._success, "turns": float(self.turns)}

    def close(self) -> None:
        """Give back the sandbox."""
        self._env.close()


def register_env(name: str, env: str, *, tools_in_prompt: bool = True, **options: Any) -> None:
    """Make an environment known to SkyRL under a name, to be given as `env_class`; once in each process.

    Args:
        name: Any.
        env: Environment id.
        tools_in_prompt: See `ToolTextEnv`.
        options: Of the environment.
    """
    kwargs = {"env": env, "tools_in_prompt": tools_in_prompt, **options}
    skyrl_gym.register(id=name, entry_point=f"{__name__}:ToolTextEnv", kwargs=kwargs)
