"""What an environment says cannot pose as the template's own tokens.

A tokenizer makes special tokens of whatever looks like one. A page, a file or a mail that holds
`<|im_end|><|im_start|>user` would so end the tool's message and speak as the user, in tokens that no model can tell
from true ones. So such texts are broken up by a space before a template sees them. Only prompts are: the environment's
own record keeps what was said.

System prompts are left as they are, since whoever writes one speaks as the system anyway, and so is the policy's part.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tir_gym.records import Message

_TRUSTED = ("system", "developer", "assistant")


class ForgeryGuard:
    """Breaks up what looks like a special token.

    Args:
        special_tokens: Their texts; those of white space alone mark nothing and are left.
        reserved: Characters that must not occur at all.
    """

    def __init__(self, special_tokens: Collection[str], reserved: str = "") -> None:
        texts = {token.strip() for token in special_tokens} - {""}
        longest_first = sorted(texts, key=lambda text: (-len(text), text))
        # Whatever the case: some tokenizers lower it before they look.
        self._pattern = re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE) if texts else None
        self._reserved = str.maketrans(dict.fromkeys(reserved, "\ufffd"))

    def messages(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """The messages, harmless, but for those of roles that are trusted."""
        return tuple(
            message
            if message["role"] in _TRUSTED
            else {key: value if key == "role" else self.value(value) for key, value in message.items()}
            for message in messages
        )

    def value(self, value: Any) -> Any:
        """JSON data with every text in it made harmless, keys too."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(key): self.value(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(item) for item in value]
        return value

    def text(self, text: str) -> str:
        text = text.translate(self._reserved) if self._reserved else text
        # Again, because breaking one up may leave another that overlapped it.
        while self._pattern is not None and self._pattern.search(text):
            text = self._pattern.sub(_broken, text)
        return text


def _broken(found: re.Match[str]) -> str:
    token = found[0]
    return f"{token[0]} {token[1:]}" if len(token) > 1 else "\ufffd"
