"""verifiers (its v1 interface) and prime-rl on our environments: a taskset, its tools over MCP, credit per turn.

    import verifiers.v1 as vf
    from tir_gym.agents.adapters.verifiers import ToolEnvTaskset, ToolEnvTasksetConfig

    taskset = ToolEnvTaskset(ToolEnvTasksetConfig(env="tir_gym/Lookup-v0", options={"hops": 1}))

verifiers finds a taskset by the name of a top-level package. For its command line and for prime-rl, make one that says
`from tir_gym.agents.adapters.verifiers import *`.

A model calls the tools in a server of its own, one for each rollout. What it did is scored afterwards from its
messages, by playing them again in an environment here: a message is a turn, with all of its calls, and the last one is
the answer. The same seed and actions give the same bytes, so nothing need travel between the two. A tool that is not
deterministic is scored by what it does the second time. Nobody answers what is said without a call: it ends the
episode, also where a scripted user would reply.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import Field

from tir_gym.advantages import get_estimator
from tir_gym.agents.adapters.methods import typed_function
from tir_gym.agents.adapters.tokens import check_estimator
from tir_gym.env import ToolEnv
from tir_gym.errors import MissingExtra
from tir_gym.making import make_env

try:
    import verifiers.v1 as vf
except ImportError as error:
    raise MissingExtra("this adapter needs verifiers: pip install 'verifiers>=0.4,<0.5'") from error

__all__ = [
    "ToolEnvData",
    "ToolEnvTask",
    "ToolEnvTaskConfig",
    "ToolEnvTaskset",
    "ToolEnvTasksetConfig",
    "ToolEnvTools",
    "assign_turn_advantages",
    "played_again",
]

_NO_END = 2**31 - 1
"""Turns of the server's environment, where each call is one: the budget is kept by who scores."""


class ToolEnvData(vf.TaskData):  # type: ignore[misc]  # a class of a package that types are not read from
    """Which task of which environment."""

    env: str
    """Environment id."""
    options: dict[str, Any]
    """For its constructor."""
    task_id: str


class ToolEnvTools(vf.Toolset[vf.ToolsetConfig, vf.State]):  # type: ignore[misc]
    """The tools of one task, for one rollout."""

    TOOL_PREFIX = None  # the gold trace knows the tools by their own names

    async def setup_task(self, task: ToolEnvData) -> None:
        """Begin the task; verifiers calls it before the tools are listed."""
        self._env = make_env(task.env, **{**task.options, "max_turns": _NO_END})
        self._tools = self._env.reset(options={"task": task.task_id})[1]["tools"]

    def register(self, mcp: Any) -> None:
        """List the tools."""
        for tool in self._tools:
            function = typed_function(tool["function"], self._call)
            description = tool["function"].get("description")
            mcp.add_tool(function, description=description, structured_output=False)

    def _call(self, name: str, arguments: Mapping[str, Any]) -> str:
        call = {"type": "function", "function": {"name": name, "arguments": dict(arguments)}}
        observation = self._env.step({"content": "", "tool_calls": [call]})[0]
        return "\n".join(str(message["content"]) for message in observation)


class ToolEnvTaskConfig(vf.TaskConfig):  # type: ignore[misc]
    """Where the tools run."""

    tools: vf.ToolsetConfig = vf.ToolsetConfig()


class ToolEnvTask(vf.Task[ToolEnvData, vf.State, ToolEnvTaskConfig]):  # type: ignore[misc]
    """A task, its tools and its reward."""

    @classmethod
    def toolsets(cls, config: ToolEnvTaskConfig) -> list[Any]:
        """One server, started for each rollout."""
        return [ToolEnvTools(config.tools)]

    @property
    def key(self) -> str:
        """Environment and task id."""
        return f"{self.data.env}/{self.data.task_id}"

    @vf.reward  # type: ignore[untyped-decorator]
    async def turn_return(self, trace: Any) -> float:
        """The sum of what the turns are paid; `trace.info["turn_rewards"]` has each."""
        return float(sum(self._scored(trace)["turn_rewards"]))

    @vf.metric  # type: ignore[untyped-decorator]
    async def success(self, trace: Any) -> float:
        """Whether the task was done, 0 or 1."""
        return float(self._scored(trace)["success"])

    def _scored(self, trace: Any) -> dict[str, Any]:
        info: dict[str, Any] = trace.info
        if "turn_rewards" not in info:
            env = make_env(self.data.env, **self.data.options)
            try:
                info |= played_again(env, self.data.task_id, trace.assistant_messages)
            finally:
                env.close()
        return info


class ToolEnvTasksetConfig(vf.TasksetConfig):  # type: ignore[misc]
    """Which tasks."""

    task: ToolEnvTaskConfig = ToolEnvTaskConfig()
    env: str = "tir_gym/Lookup-v0"
    """Environment id."""
    options: dict[str, Any] = Field(default_factory=dict)
    """For its constructor, such as `split`."""
    tasks: int = 100
    """How many."""
    first: int = 0
    """Number of the first."""


class ToolEnvTaskset(vf.Taskset[ToolEnvTask, ToolEnvTasksetConfig]):  # type: ignore[misc]
    """Tasks of one environment."""

    def load(self) -> Iterator[ToolEnvTask]:
        """The tasks, in the order of their numbers."""
        config = self.config
        env = make_env(config.env, **config.options)
        try:
            for task_id in env.task_ids(config.tasks, config.first):
                observation = env.reset(options={"task": task_id})[0]
                system = "\n\n".join(str(told["content"]) for told in observation if told["role"] == "system")
                said = [vf.UserMessage(content=told["content"]) for told in observation if told["role"] == "user"]
                data = ToolEnvData(
                    id=task_id,
                    name=task_id,
                    prompt=said[0].content if len(said) == 1 else said,
                    system_prompt=system or None,
                    env=config.env,
                    options=config.options,
                    task_id=task_id,
                )
                yield ToolEnvTask(data, config.task)
        finally:
            env.close()


def played_again(env: ToolEnv, task_id: str, messages: Sequence[Any]) -> dict[str, Any]:
    """What an environment pays for a conversation that was had elsewhere.

    Args:
        env: An environment of the task's id and options.
        task_id: The task.
        messages: What the model said, as verifiers keeps it; what comes after the end of the episode is not read.

    Returns:
        `turn_rewards` (a number per message that was read), `success`, and the `ending`, `None` where the conversation
        broke off before the episode ended.
    """
    env.reset(options={"task": task_id})
    rewards: list[float] = []
    for message in messages:
        calls = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls or []
        ]
        action = {"content": message.content or "", **({"tool_calls": calls} if calls else {})}
        _, reward, terminated, truncated, info = env.step(action)
        rewards.append(reward)
        if terminated or truncated:
            return {"turn_rewards": rewards, "success": bool(info.get("success")), "ending": info["ending"]}
    return {"turn_rewards": rewards, "success": False, "ending": None}


def assign_turn_advantages(traces: Sequence[Any], estimator: str = "dual", **options: Any) -> list[list[float]]:
    """Write the advantage of each turn to the tokens that were sampled in it, as prime-rl reads them.

    For `score_group` of a prime-rl algorithm, in the place of one number per rollout. Messages after the end of the
    episode get 0.

    Args:
        traces: The scored rollouts of one group; one that failed is left out of all statistics and gets 0.
        estimator: Name of an estimator that needs nothing but rewards and groups.
        options: For it, such as `gamma`.

    Returns:
        One advantage per turn of each trace.

    Raises:
        UsageError: No such estimator, or one that needs more.
    """
    check_estimator(estimator)
    failed = ["turn_rewards" not in trace.info for trace in traces]
    rewards = [trace.info.get("turn_rewards", [0.0]) for trace in traces]
    found: list[list[float]] = get_estimator(estimator)(rewards, [0] * len(traces), infra=failed, **options)
    for trace, advantages in zip(traces, found, strict=True):
        turns = [node for node in trace.nodes if node.sampled]
        for i, node in enumerate(turns):
            node.advantages = [advantages[i] if i < len(advantages) else 0.0] * sum(node.mask)
    return found


if __name__ == "__main__":  # verifiers starts a toolset by its module
    ToolEnvTools.run()
