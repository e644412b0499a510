"""Chat dialects: how an assistant message says which tools it calls.

A dict is always read as an OpenAI message, whatever the dialect. Text is read by the environment's dialect: `openai`
(text holds no calls), `hermes` (Qwen's and Hermes' `<tool_call>` blocks), `json` (the text is one call or a list).
Reading never raises: what cannot be read becomes a `Malformed` with words that an agent can act on.
"""

from tir_gym.dialects.dialect import Dialect, Malformed, ParsedMessage
from tir_gym.dialects.hermes import HermesDialect
from tir_gym.dialects.json_calls import JsonDialect
from tir_gym.dialects.openai import OpenAIDialect
from tir_gym.errors import UsageError

DIALECTS: dict[str, Dialect] = {"openai": OpenAIDialect(), "hermes": HermesDialect(), "json": JsonDialect()}


def get_dialect(name: str) -> Dialect:
    """The dialect of that name.

    Raises:
        UsageError: There is none.
    """
    if name not in DIALECTS:
        raise UsageError(f"no dialect {name!r}; choose one of {', '.join(DIALECTS)}")
    return DIALECTS[name]


__all__ = ["DIALECTS", "Dialect", "Malformed", "ParsedMessage", "get_dialect"]
