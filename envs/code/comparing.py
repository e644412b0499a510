"""When did two pieces of code do the same? When they say the same, or when they printed the same.

| comparator | a predicted value equals the gold value when |
|---|---|
| `code` | both are Python with the same syntax tree: layout, comments and kinds of quotes aside, names and order not |
| `printed` | both are text with the same numbers and words, labels (`rows: 12`), commas and white space aside |

Nothing printed equals nothing: silence shows no work.
"""

from __future__ import annotations

import ast
import math
import re
import warnings
from functools import lru_cache
from typing import Any

from tir_gym.compare import register_comparator

CODE = "code"
PRINTED = "printed"

_LONGEST_CODE = 10_000
"""Characters; longer code is compared as text."""
_LONGEST_OUTPUT = 10_000
_LABEL = re.compile(r"^[A-Za-z][A-Za-z0-9 _'-]{0,40}[:=]\s*(?=\S)", re.MULTILINE)
_GLUE = re.compile(r"[\s,\[\](){}]+")


def _same_code(predicted: Any, gold: Any) -> bool:
    if not isinstance(predicted, str) or not isinstance(gold, str):
        return False
    if predicted == gold:
        return True
    tree = _tree(gold)
    return tree is not None and _tree(predicted) == tree


@lru_cache(maxsize=1024)
def _tree(code: str) -> str | None:
    """The syntax tree as text; `None` where there is none."""
    if len(code) > _LONGEST_CODE:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd escapes in what an agent wrote
            return ast.dump(ast.parse(code))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def same_output(predicted: Any, gold: Any) -> bool:
    """Comparator `printed`."""
    if not isinstance(predicted, str) or not isinstance(gold, str):
        return False
    if max(len(predicted), len(gold)) > _LONGEST_OUTPUT:
        return predicted == gold
    ours, wanted = _items(predicted), _items(gold)
    return bool(wanted) and len(ours) == len(wanted) and all(map(_same_item, ours, wanted))


def _items(text: str) -> list[str]:
    return [item for item in _GLUE.split(_LABEL.sub("", text)) if item.strip("'\"")]


def _same_item(one: str, other: str) -> bool:
    if one.strip("'\"") == other.strip("'\""):
        return True
    try:
        return math.isclose(float(one), float(other), rel_tol=1e-9)
    except ValueError:
        return False


register_comparator(CODE, _same_code)
register_comparator(PRINTED, same_output)
