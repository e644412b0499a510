"""Reading the final answer, and telling whether it states the expected value. No model judges.

The answer is what stands in the last `<answer>...</answer>` of the final message, or the whole message where there is
none. It must state one value: an answer that lists many values in the hope that one is right states none of them.

| type | the answer is right when |
|---|---|
| `text` | its words equal the expected words, case, punctuation and articles aside |
| `number` | it holds exactly one number, equal to 1e-6 relative |
| `time` | it holds exactly one time of day (`14:30`, `2:30 pm`), equal to the minute |
| `date` | it holds exactly one date (`2025-03-01`), equal |
| `set` | split at `,`, `;` and `and`, it gives the expected elements as `text`, in any order |

A message is a refusal when its `refusal` field is set (OpenAI's form) or its text begins with `CANNOT:`.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Callable
from typing import Any

from tir_gym.records import AnswerCheck

REFUSAL_MARK = "CANNOT:"

_ANSWER_TAG = re.compile(r"<(/?)answer>", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?(?!\w)", re.ASCII)
_TIME = re.compile(r"\b(\d{1,2}):(\d{2})(?::\d{2})?\s*([ap])?\.?m?\b|\b(\d{1,2})\s*([ap])\.?m\b", re.I | re.ASCII)
_DATE = re.compile(r"\b\d{4}-\d{2}-\d{2}\b", re.ASCII)
_WORD_GLUE = str.maketrans(dict.fromkeys(string.punctuation, " "))
_LONGEST_ANSWER = 2000
"""Characters; a longer answer is no answer."""


def extract_answer(text: str) -> str:
    """The part of a final message that states the answer."""
    answer, start = text, None
    for tag in _ANSWER_TAG.finditer(text):  # one pass, however often an agent opens the tag
        if not tag[1]:
            start = tag.end()
        elif start is not None:
            answer, start = text[start : tag.start()], None
    return answer.strip()


def is_refusal(text: str) -> bool:
    return text.lstrip().startswith(REFUSAL_MARK)


def states(text: str, check: AnswerCheck) -> bool:
    """Whether the final message states the expected value."""
    answer = extract_answer(text)
    return len(answer) <= _LONGEST_ANSWER and _READERS[check.type](answer, check.value)


def token_f1(text: str, expected: Any) -> float:
    """F1 of the words of the answer and of the expected value, as bags (MatchTIR eq 9 names F1; the bag is ours)."""
    predicted, gold = Counter(_words(extract_answer(text))), Counter(_words(_as_text(expected)))
    shared = (predicted & gold).total()
    return 2.0 * shared / (predicted.total() + gold.total()) if shared else 0.0


def _as_text(value: Any) -> str:
    return " ".join(map(_as_text, value)) if isinstance(value, (list, tuple)) else str(value)


def _words(text: str) -> list[str]:
    """The words, without articles; but an article that stands alone (the grade A) is the word that is meant."""
    words = text.casefold().translate(_WORD_GLUE).split()
    return [word for word in words if word not in ("a", "an", "the")] or words


def _is_text(answer: str, expected: Any) -> bool:
    wanted = _words(str(expected))
    return _words(answer) == wanted if wanted else answer == str(expected).strip()


def _is_number(answer: str, expected: Any) -> bool:
    found = [float(number.replace(",", "")) for number in _NUMBER.findall(answer)]
    return len(found) == 1 and math.isclose(found[0], float(expected), rel_tol=1e-6, abs_tol=1e-9)


def _is_time(answer: str, expected: Any) -> bool:
    times = [_minutes(match) for match in _TIME.finditer(answer)]
    wanted = [_minutes(match) for match in _TIME.finditer(str(expected))]
    return len(times) == 1 and times == wanted


def _minutes(match: re.Match[str]) -> int:
    hour, minute = int(match[1] or match[4]), int(match[2] or 0)
    half = (match[3] or match[5] or "").lower()
    if half:
        hour = hour % 12 + (12 if half == "p" else 0)
    return hour * 60 + minute


def _is_date(answer: str, expected: Any) -> bool:
    return _DATE.findall(answer) == [str(expected)[:10]]


def _is_set(answer: str, expected: Any) -> bool:
    return _elements(answer) == sorted(element for item in expected for element in _elements(str(item)))


def _elements(text: str) -> list[list[str]]:
    return sorted(words for part in re.split(r"[,;\n]|\band\b", text) if (words := _words(part)))


_READERS: dict[str, Callable[[str, Any], bool]] = {
    "text": _is_text,
    "number": _is_number,
    "time": _is_time,
    "date": _is_date,
    "set": _is_set,
}
