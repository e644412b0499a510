"""Wrappers for those who want an observation of another shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import gymnasium
from gymnasium import Space

from tir_gym.dialects import Dialect
from tir_gym.env import Action, ToolEnv
from tir_gym.errors import UsageError
from tir_gym.messages import Observation
from tir_gym.records import Message

Template: TypeAlias = Callable[[Sequence[Message], Sequence[dict[str, Any]]], str]
"""`template(messages, tools)`: a conversation in OpenAI's form, with its tools, as a prompt."""


class WholeHistory(gymnasium.Wrapper[str, Action, Observation, Action], gymnasium.utils.RecordConstructorArgs):
    """Observations are the whole conversation so far, as one text that a language model can continue.

    Args:
        env: A `ToolEnv`, wrapped or not.
        template: Makes the text, such as a tokenizer's chat template:
            `lambda messages, tools: tokenizer.apply_chat_template(messages, tools=tools, tokenize=False)`.
            By default plain headings, `[role]` before each message, the tools described as the dialect has them.

    Raises:
        UsageError: The environment is no `ToolEnv`.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], template: Template | None = None) -> None:
        gymnasium.utils.RecordConstructorArgs.__init__(self, template=template)
        gymnasium.Wrapper.__init__(self, env)
        if not isinstance(env.unwrapped, ToolEnv):
            raise UsageError(f"WholeHistory wraps a ToolEnv, not a {type(env.unwrapped).__name__}")
        self._inner: ToolEnv = env.unwrapped
        self._template = template
        self._tools: list[dict[str, Any]] = []
        self.observation_space = TextSpace()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        _, info = self.env.reset(seed=seed, options=options)
        self._tools = info["tools"]
        return self._text(), info

    def step(self, action: Action) -> tuple[str, float, bool, bool, dict[str, Any]]:
        _, reward, terminated, truncated, info = self.env.step(action)
        return self._text(), float(reward), terminated, truncated, info

    def _text(self) -> str:
        messages = self._inner.conversation()
        if self._template is not None:
            return self._template(messages, self._tools)
        return _headings(messages, self._tools, self._inner.dialect)


class TextSpace(Space[str]):
    """Any text; `contains` costs nothing, however long it is."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(None, None, seed)

    @property
    def is_np_flattenable(self) -> bool:
        return False

    def sample(self, mask: Any | None = None, probability: Any | None = None) -> str:
        return " ".join(str(self.np_random.integers(1000)) for _ in range(8))

    def contains(self, x: Any) -> bool:
        return isinstance(x, str)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TextSpace)

    def __hash__(self) -> int:
        return hash(TextSpace)

    def __repr__(self) -> str:
        return "TextSpace()"


def _headings(messages: Sequence[Message], tools: Sequence[dict[str, Any]], dialect: Dialect) -> str:
    from tir_gym.dialects import Malformed

    parts = []
    described = dialect.tool_prompt(tools)
    for message in messages:
        text = str(message.get("content") or "")
        if message["role"] == "assistant":
            calls = [item for item in dialect.parse(message).items if not isinstance(item, Malformed)]
            said = dialect.render(text, calls)
            text = said if isinstance(said, str) else "\n".join([text, *_calls(said)]).strip()
        elif message["role"] == "system" and described:
            text, described = f"{text}\n\n{described}", ""
        parts.append(f"[{message['role']}]\n{text}")
    if described:
        parts.insert(0, f"[system]\n{described}")
    return "\n\n".join([*parts, "[assistant]\n"])


def _calls(message: Message) -> list[str]:
    return [f"{call['function']['name']}({call['function']['arguments']})" for call in message.get("tool_calls", ())]
