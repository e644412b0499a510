"""TRL's own tool loop on our environments: a class for `environment_factory` whose methods are the environment's tools.

    from tir_gym.agents.adapters.trl_tools import environment_class, success, task_rows

    trainer = GRPOTrainer(
        "outputs/policy",
        environment_factory=environment_class("tir_gym/Lookup-v0"),
        reward_funcs=[success],
        train_dataset=task_rows("tir_gym/Lookup-v0", 1000),
        args=GRPOConfig(reward_weights=[0.0], ...),
    )

TRL calls the methods and compares one number per episode, so there is no credit for a turn here; `trl.py` beside this
file has it. Each call is a turn of its own, although a message may hold several. Nobody answers what is said without a
call: it ends the episode, also where a scripted user would reply.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from tir_gym.agents.adapters.methods import typed_method
from tir_gym.env import ToolEnv
from tir_gym.errors import MissingExtra, UsageError
from tir_gym.making import make_env

HERMES: Mapping[str, Any] = {
    "start_anchor": "<|im_start|>assistant\n",
    "defaults": {"role": "assistant"},
    "fields": {
        "content": {"content": "text", "close_pattern": r"<\|im_end\|>\s*"},
        "tool_calls": {
            "open": "<tool_call>",
            "close_pattern": r"</tool_call>\s*",
            "repeats": True,
            "content": "json",
            "transform": {"type": "function", "function": "{content}"},
        },
    },
}
"""How calls are read from what a policy of ours says: the `response_template` of its tokenizer. TRL knows those of
published models only."""


def task_rows(env: str, n: int, *, first: int = 0, **options: Any) -> Any:
    """A data set of tasks: `prompt`, the messages at reset, and `task`, the id.

    Args:
        env: Environment id.
        n: Number of tasks.
        first: Number of the first.
        options: Of the environment, such as `split`.

    Raises:
        MissingExtra: TRL's `datasets` is not installed.
    """
    try:
        from datasets import Dataset
    except ImportError as error:
        raise MissingExtra("this adapter needs TRL: pip install 'trl>=1.16,<2' 'transformers>=5.2'") from error
    made = make_env(env, **options)
    try:
        ids = made.task_ids(n, first)
        prompts = [[dict(message) for message in made.reset(options={"task": id})[0]] for id in ids]
        return Dataset.from_dict({"prompt": prompts, "task": ids})
    finally:
        made.close()


class ToolEnvironment:
    """An episode as TRL wants it. Its public methods are tools, so whatever is no tool has an underscore."""

    _make: ClassVar[Callable[[], ToolEnv]]
    _tools: ClassVar[Mapping[str, Any]]

    def __init__(self) -> None:
        self._env = type(self)._make()
        self._paid: list[float] = []
        self._info: dict[str, Any] = {}
        self._over = True

    def reset(self, task: str, **_: Any) -> None:
        """Begin the task of a row of `task_rows`; its messages are the prompt already.

        Raises:
            UsageError: The task has a tool that the class has no method for.
        """
        info = self._env.reset(options={"task": task})[1]
        missing = sorted({tool["function"]["name"] for tool in info["tools"]} - self._tools.keys())
        if missing:
            raise UsageError(f"task {task} has the tools {', '.join(missing)}, which the class was made without")
        self._paid, self._info, self._over = [], {}, False

    def get_reward(self) -> float | None:
        """The sum of what the turns were paid; none where the infrastructure broke the episode."""
        return None if "infra_error" in self._info else sum(self._paid)

    @property
    def _success(self) -> float | None:
        return None if "infra_error" in self._info else float(self._info.get("success", False))

    def _call(self, name: str, arguments: Mapping[str, Any]) -> str:
        if self._over:
            raise RuntimeError(f"the episode has ended ({self._info.get('ending', 'no task was begun')})")
        call = {"type": "function", "function": {"name": name, "arguments": dict(arguments)}}
        observation = self._step({"content": "", "tool_calls": [call]})
        return "\n".join(str(message["content"]) for message in observation)

    def _answer(self, text: str) -> None:
        if not self._over:
            self._step({"content": text})

    def _step(self, action: dict[str, Any]) -> Sequence[Mapping[str, Any]]:
        observation, reward, terminated, truncated, self._info = self._env.step(action)
        self._paid.append(reward)
        self._over = terminated or truncated
        return observation


def environment_class(env: str, **options: Any) -> type[ToolEnvironment]:
    """A class with one method for each tool, named and typed as its schema says.

    Args:
        env: Environment id. Its tools must be the same in all tasks; they are read from the first one.
        options: Of the environment.

    Returns:
        The class, to be given as `environment_factory`.

    Raises:
        UsageError: A tool cannot be a method: its name or an argument's is none in Python, or one of TRL's own.
    """
    made = make_env(env, **options)
    try:
        info = made.reset(options={"task": made.task_ids(1)[0]})[1]
    finally:
        made.close()
    tools = {tool["function"]["name"]: tool["function"] for tool in info["tools"]}
    taken = sorted({"reset", "get_reward"} & tools.keys())
    if taken:
        raise UsageError(f"the tool {taken[0]!r} of {env} has the name of a method that TRL calls itself")
    body: dict[str, Any] = {name: typed_method(tool, ToolEnvironment._call) for name, tool in tools.items()}
    body |= {"_make": staticmethod(lambda: make_env(env, **options)), "_tools": tools, "__module__": __name__}
    return type(f"{type(made).__name__}Tools", (ToolEnvironment,), body)


def success(environments: Sequence[ToolEnvironment], completions: Sequence[Any], **_: Any) -> list[float | None]:
    """A reward function, to be given with weight 0 before the environment's own: whether the task was done.

    It also tells each environment what was answered, which TRL does not, so leave it in.
    """
    for environment, messages in zip(environments, completions, strict=True):
        last = messages[-1] if messages else {}
        if last.get("role") == "assistant" and not last.get("tool_calls"):
            environment._answer(last.get("content") or "")
    return [environment._success for environment in environments]
