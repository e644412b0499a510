"""Spaces of messages: equal for every task, `contains` in constant time, seeded `sample`.

Gymnasium's own `Text` space refuses most JSON and checks every character; a chat needs neither.
"""

from __future__ import annotations

from typing import Any

from gymnasium import Space

from tir_gym.messages import Observation

_WORDS = ("what", "is", "the", "next", "step", "please", "tell", "me", "more", "done", "thanks", "42", "{}", "?")


class ActionSpace(Space[Any]):
    """Assistant messages: any text, or any dict (OpenAI's form). Samples are short words or calls of no known tool."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(None, None, seed)

    @property
    def is_np_flattenable(self) -> bool:
        return False

    def sample(self, mask: Any | None = None, probability: Any | None = None) -> Any:
        count = int(self.np_random.integers(1, 9))
        words = " ".join(str(word) for word in self.np_random.choice(_WORDS, size=count))
        if self.np_random.random() < 0.5:
            return words
        function = {"name": f"tool_{self.np_random.integers(10)}", "arguments": "{}"}
        return {
            "role": "assistant",
            "content": words,
            "tool_calls": [{"id": "call_0", "type": "function", "function": function}],
        }

    def contains(self, x: Any) -> bool:
        return isinstance(x, (str, dict))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActionSpace)

    def __hash__(self) -> int:
        return hash(ActionSpace)

    def __repr__(self) -> str:
        return "ActionSpace()"


class ObservationSpace(Space[Observation]):
    """Tuples of new messages, each a dict with a `role`. `contains` looks at the first message only."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(None, None, seed)

    @property
    def is_np_flattenable(self) -> bool:
        return False

    def sample(self, mask: Any | None = None, probability: Any | None = None) -> Observation:
        count = int(self.np_random.integers(1, 9))
        words = " ".join(str(word) for word in self.np_random.choice(_WORDS, size=count))
        return Observation(({"role": "user", "content": words},))

    def contains(self, x: Any) -> bool:
        return isinstance(x, tuple) and (not x or (isinstance(x[0], dict) and "role" in x[0]))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObservationSpace)

    def __hash__(self) -> int:
        return hash(ObservationSpace)

    def __repr__(self) -> str:
        return "ObservationSpace()"
