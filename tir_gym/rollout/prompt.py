"""From messages to the tokens that are appended to a prompt, whatever a policy has sampled before.

A chat template renders whole conversations. What is needed is the piece between a policy's last token and its next one:
the end of its message, the new messages, and the beginning of its next message. That piece is found in the rendered
text of a conversation in which a mark stands for what the policy said, so what it did say is never rendered into a
prompt, let alone tokenized again.

Some templates do not only append: they drop the thoughts of earlier messages when the user speaks, begin a reply with
an empty thought that they leave out later, or move the list of tools to the last message. Where that happens the prompt
cannot be extended as it was, so a new one begins, with the conversation as the template now has it. `append_always` is
for those who rather keep one sequence.

What tools and users say is made harmless first, see `forgery`.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tir_gym.errors import UsageError
from tir_gym.records import Message
from tir_gym.rollout.forgery import ForgeryGuard

_MARK = "\ue000"
"""Stands for the policy's words. A character for private use, which templates neither contain nor treat specially."""


class ChatTokenizer(Protocol):
    """What a tokenizer must be able to do. Hugging Face's does it with a line each."""

    @property
    def stop_ids(self) -> Collection[int]:
        """The tokens that end a turn when they are sampled."""

    @property
    def special_tokens(self) -> Collection[str]:
        """The texts that `encode` makes one token of wherever they stand: ends of turns, roles, marks of calls."""

    def encode(self, text: str) -> Sequence[int]:
        """The tokens of a text, none added; what looks like a special token becomes one."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens, special ones included."""

    def render(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], *, reply: bool) -> str:
        """The chat template: the text of a conversation.

        Args:
            messages: In OpenAI's form.
            tools: In OpenAI's form.
            reply: Whether the beginning of an assistant message stands at the end.
        """


@dataclass(frozen=True)
class Context:
    """The tokens before a turn."""

    ids: NDArray[np.int32]
    """`[C]`."""
    begins: bool
    """Whether they are a whole prompt; if not, they go after what was sampled last."""


class ChatPrompt:
    """The prompt of one rollout, grown message by message.

    Args:
        tokenizer: See `ChatTokenizer`.
        tools: As `info["tools"]` gives them; none where the system prompt tells of them.
        append_always: Never begin a new prompt, though the template would now tell what stands in it otherwise. So a
            conversation stays one sequence, but not the one that a server makes of its messages.
    """

    def __init__(
        self, tokenizer: ChatTokenizer, tools: Sequence[Mapping[str, Any]] = (), *, append_always: bool = False
    ) -> None:
        self._tokenizer = tokenizer
        self._guard = ForgeryGuard(tokenizer.special_tokens, reserved=_MARK)
        self._tools = self._guard.value(tools)
        self._append_always = append_always
        self._messages: tuple[Message, ...] = ()
        self._text = ""
        """The conversation so far as the template has it, up to where the policy goes on."""

    def begin(self, messages: Sequence[Message]) -> Context:
        """The first prompt.

        Args:
            messages: What the environment said at reset.
        """
        self._messages = self._guard.messages(messages)
        self._text = self._rendered(self._messages)
        return self._whole()

    def text(self, output_ids: Sequence[int] | NDArray[np.int32]) -> str:
        """What a policy said, as the action for the environment: without the token that ended its turn."""
        ids = [int(id) for id in output_ids]  # of an array, too: tokenizers want plain numbers
        return self._tokenizer.decode(ids[:-1] if ids and ids[-1] in self._tokenizer.stop_ids else ids)

    def grow(self, output_ids: Sequence[int] | NDArray[np.int32], messages: Sequence[Message]) -> Context:
        """What stands between the policy's last token and its next one.

        Args:
            output_ids: What the policy sampled. Where it was cut off, the end of its message is part of the context.
            messages: What the environment answered.

        Returns:
            The tokens to append; or a new prompt, where the template changes more than the end.

        Raises:
            UsageError: There is no prompt yet, or nothing was answered.
        """
        if not self._messages or not messages:
            raise UsageError("grow() needs a prompt to go on from, see begin(), and at least one new message")
        said, messages = self.text(output_ids), self._guard.messages(messages)
        before, tail = self._text, self._tail(messages)
        self._messages = (*self._messages, {"role": "assistant", "content": said}, *messages)
        self._text = self._rendered(self._messages)
        if not tail or not (self._append_always or _only_appends(before, said, tail, self._text)):
            return self._whole()
        ids = list(self._tokenizer.encode(tail))
        if ids[0] == output_ids[-1] and ids[0] in self._tokenizer.stop_ids:
            del ids[0]  # the policy has ended its message itself
        return Context(np.array(ids, dtype=np.int32), begins=False) if ids else self._whole()

    def fork(self) -> ChatPrompt:
        """An independent prompt of the same conversation."""
        return copy.copy(self)  # messages and text are replaced, never changed

    def _tail(self, messages: Sequence[Message]) -> str:
        """What the template puts after the policy's words; empty where it does not put them after what stood there."""
        text = self._rendered((*self._messages, {"role": "assistant", "content": _MARK}, *messages))
        if self._append_always:
            return text.rpartition(_MARK)[2]
        start = self._text + _MARK
        return text[len(start) :] if text.startswith(start) else ""

    def _whole(self) -> Context:
        return Context(np.array(self._tokenizer.encode(self._text), dtype=np.int32), begins=True)

    def _rendered(self, messages: Sequence[Message]) -> str:
        return self._tokenizer.render(messages, self._tools, reply=True)


def _only_appends(before: str, said: str, tail: str, after: str) -> bool:
    """Whether a text is the one before, the policy's words (white space aside, which templates trim) and the tail."""
    middle = after[len(before) : len(after) - len(tail)]
    return (
        len(after) >= len(before) + len(tail)
        and after.startswith(before)
        and after.endswith(tail)
        and middle.split() == said.split()
    )
