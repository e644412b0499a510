"""A small byte-level BPE tokenizer, trained on the spot on what the Lookup family says, and chat templates."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # other tests of this process may fork

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tir_gym.dialects import get_dialect
from tir_gym.envs.lookup import LookupEnv
from tir_gym.records import Message

START, END, PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
_SPECIAL = [PAD, START, END, "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"]


class TinyTokenizer:
    """With a template of Qwen's kind, which only appends."""

    def __init__(self) -> None:
        self.bpe = _trained()
        self.stop_ids = frozenset((self.id(END), self.id(PAD)))
        self.special_tokens = tuple(_SPECIAL)
        self.size = self.bpe.get_vocab_size()

    def id(self, token: str) -> int:
        found = self.bpe.token_to_id(token)
        assert found is not None, token
        return int(found)

    def encode(self, text: str) -> list[int]:
        return list(self.bpe.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.bpe.decode(list(ids), skip_special_tokens=False))

    def render(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], *, reply: bool) -> str:
        told = [{"role": "system", "content": _listing(tools)}, *messages] if tools else messages
        return _rendered(told, reply)


class ForgetfulTokenizer(TinyTokenizer):
    """With a template that drops the thoughts of all messages before the user's last one."""

    def render(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], *, reply: bool) -> str:
        last = max(i for i, message in enumerate(messages) if message["role"] == "user")
        kept = [
            {**message, "content": re.sub(r"<think>.*?</think>", "", message["content"], flags=re.DOTALL)}
            if i < last and message["role"] == "assistant"
            else message
            for i, message in enumerate(messages)
        ]
        return super().render(kept, tools, reply=reply)


class ToolsLastTokenizer(TinyTokenizer):
    """With a template that tells the tools before the user's last message, wherever that stands."""

    def render(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], *, reply: bool) -> str:
        last = max(i for i, message in enumerate(messages) if message["role"] == "user")
        return _rendered([*messages[:last], {"role": "system", "content": _listing(tools)}, *messages[last:]], reply)


def _rendered(messages: Sequence[Message], reply: bool) -> str:
    text = ""
    for message in messages:
        content = message["content"].strip() if message["role"] == "assistant" else message["content"]
        if message["role"] == "tool":
            content = f"<tool_response>{content}</tool_response>"
        text += f"{START}{message['role']}\n{content}{END}\n"
    return text + (f"{START}assistant\n" if reply else "")


def _listing(tools: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(f"{tool['function']['name']}: {json.dumps(tool['function']['parameters'])}" for tool in tools)


@cache
def _trained() -> Tokenizer:
    env = LookupEnv(dialect="hermes", hops=(1, 4))
    texts = []
    for number in range(200):
        task = env.make_task("train", number)
        texts.append(_rendered(task.messages, reply=True))
        texts += _said(env, task.id)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=_SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _said(env: LookupEnv, task_id: str) -> list[str]:
    _, info = env.reset(options={"task": task_id})
    return [str(get_dialect("hermes").render(text, calls)) for text, calls in info["oracle"].script()]
