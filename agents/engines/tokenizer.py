"""A Hugging Face tokenizer as what a rollout asks of one (`ChatTokenizer`): its chat template, its tokens, its stops.

Calls in a conversation carry their arguments as JSON text, as OpenAI's messages do; templates print them with `tojson`
and would quote them twice. So a template is given what the text says. No message is changed otherwise.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tir_gym.agents.engines.loading import found_none
from tir_gym.errors import MissingExtra, UsageError
from tir_gym.records import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


_log = logging.getLogger(__name__)


class HuggingFaceTokenizer:
    """A tokenizer with a chat template.

    Args:
        tokenizer: Of transformers.
        stop_ids: The tokens that end a turn, beside the tokenizer's own end-of-sequence token.
        template_options: More variables of the template, such as `{"enable_thinking": False}` of Qwen3's.

    Raises:
        UsageError: The tokenizer has no chat template, or nothing ends a turn.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        stop_ids: Iterable[int] = (),
        template_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        """The tokenizer itself, to be saved beside a model."""
        self._options = dict(template_options or {})
        own = tokenizer.eos_token_id
        self._stop_ids = frozenset(int(id) for id in (*stop_ids, *([] if own is None else [own])))
        name = tokenizer.name_or_path or type(tokenizer).__name__
        if not tokenizer.chat_template:
            raise UsageError(f"the tokenizer {name} has no chat template; set `chat_template`, or load one that has it")
        if not self._stop_ids:
            raise UsageError(f"the tokenizer {name} names no token that ends a turn; set `eos_token`, or give stop_ids")

    @classmethod
    def load(cls, folder: str | Path, *, template_options: Mapping[str, Any] | None = None) -> HuggingFaceTokenizer:
        """From a folder, or from the hub by name, with the stops of the model's `generation_config.json`.

        Raises:
            MissingExtra: transformers is not installed.
            UsageError: There is no tokenizer, or one that cannot hold a conversation.
        """
        try:
            from jinja2 import TemplateSyntaxError
            from transformers import AutoTokenizer, GenerationConfig
        except ImportError as error:
            raise MissingExtra("tokenizers need transformers: pip install 'tir-gym[train]'") from error
        try:
            tokenizer = AutoTokenizer.from_pretrained(str(folder))
        except Exception as error:  # what a broken file makes of a loader is of many kinds
            raise found_none("tokenizer", folder, error) from error
        if not tokenizer.encode("some text", add_special_tokens=False):
            raise UsageError(f"{folder}: the tokenizer there has no tokens for text; is tokenizer.json missing?")
        try:
            stops = GenerationConfig.from_pretrained(str(folder)).eos_token_id
        except OSError:  # a tokenizer without a model
            stops = None
        more = [] if stops is None else [stops] if isinstance(stops, int) else stops
        loaded = cls(tokenizer, stop_ids=more, template_options=template_options)
        try:
            loaded.render([{"role": "user", "content": "Hello"}], (), reply=True)
        except TemplateSyntaxError as error:
            raise UsageError(f"{folder}: line {error.lineno} of the chat template there: {error.message}") from error
        except Exception as error:  # a template may refuse such a conversation, and take others
            _log.debug("the chat template of %s refuses a greeting: %s", folder, error)
        return loaded

    @property
    def stop_ids(self) -> Collection[int]:
        """The tokens that end a turn when they are sampled."""
        return self._stop_ids

    @property
    def special_tokens(self) -> Collection[str]:
        """The texts that become one token wherever they stand."""
        return frozenset(self.tokenizer.get_added_vocab()) | frozenset(self.tokenizer.all_special_tokens)

    @property
    def size(self) -> int:
        """How many tokens there are, added ones included: the rows that an embedding needs at least."""
        return len(self.tokenizer)

    def encode(self, text: str) -> Sequence[int]:
        """The tokens of a text, none added; what looks like a special token becomes one."""
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens, special ones and all white space included."""
        plain = [int(id) for id in ids]
        return str(self.tokenizer.decode(plain, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def render(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], *, reply: bool) -> str:
        """The chat template: the text of a conversation.

        Args:
            messages: In OpenAI's form.
            tools: In OpenAI's form; none are told where there are none.
            reply: Whether the beginning of an assistant message stands at the end.
        """
        text = self.tokenizer.apply_chat_template(
            [_for_template(message) for message in messages],
            tools=[dict(tool) for tool in tools] or None,
            add_generation_prompt=reply,
            tokenize=False,
            **self._options,
        )
        return str(text)


def _for_template(message: Message) -> Message:
    """The message with its calls' arguments as data."""
    calls = message.get("tool_calls")
    return {**message, "tool_calls": [_call(call) for call in calls]} if calls else message


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    try:
        arguments = json.loads(function["arguments"])
    except (TypeError, ValueError):  # data already, or what a model took for JSON
        return dict(call)
    return {**call, "function": {**function, "arguments": arguments}}
