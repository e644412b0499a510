"""When do a search, a passage looked for, and an answer say the same as the gold's? Three comparators, by name.

| name | a predicted value equals the gold value when |
|---|---|
| `search-words` | both are text, and it has all words of the gold value and at most four others, words without meaning aside |
| `search-count` | it is a whole number: how many results one asks for is nobody's mistake |
| `search-answer` | it states the gold value as a final answer would (`tir_gym/answers.py`): a number, or the same words |
"""  # noqa: E501  rows of a table

from __future__ import annotations

from typing import Any, Literal

from tir_gym.answers import states
from tir_gym.compare import register_comparator
from tir_gym.envs.search.ranking import words_of
from tir_gym.records import AnswerCheck

WORDS = "search-words"
COUNT = "search-count"
ANSWER = "search-answer"

_MOST_OTHER_WORDS = 4
_LONGEST_QUERY = 400
"""Characters; a longer text is no query."""


def answer_type(value: Any) -> Literal["number", "text"]:
    """How an answer is read: `number` for numbers, else `text`."""
    return "number" if isinstance(value, (int, float)) else "text"


def _same_words(predicted: Any, gold: Any) -> bool:
    if not isinstance(predicted, str) or not isinstance(gold, str) or len(predicted) > _LONGEST_QUERY:
        return False
    if predicted == gold:
        return True
    ours, wanted = set(words_of(predicted)), set(words_of(gold))
    return bool(wanted) and wanted <= ours and len(ours) <= len(wanted) + _MOST_OTHER_WORDS


def _is_count(predicted: Any, gold: Any) -> bool:
    return isinstance(predicted, int) and not isinstance(predicted, bool)


def _same_answer(predicted: Any, gold: Any) -> bool:
    if isinstance(predicted, bool) or not isinstance(predicted, (str, int, float)):
        return False
    if isinstance(gold, bool) or not isinstance(gold, (str, int, float)):
        return False
    try:
        return states(str(predicted), AnswerCheck(type=answer_type(gold), value=gold))
    except (ValueError, OverflowError):  # a number of more digits than Python writes or floats hold
        return False


register_comparator(WORDS, _same_words)
register_comparator(COUNT, _is_count)
register_comparator(ANSWER, _same_answer)
