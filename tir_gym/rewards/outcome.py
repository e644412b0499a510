"""The outcome term: was the task done? Read from the declared checks and the final answer, paid once, at the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tir_gym.answers import token_f1
from tir_gym.records import AnswerCheck, Check

_STATE = ("state", "unchanged")


def outcome(by: str, checks: Mapping[str, bool], declared: Iterable[Check], answer: str) -> float:
    """The outcome in [0, 1].

    Args:
        by: `success`, `state`, `answer_exact` or `answer_f1`, see `RewardSpec.outcome_by`.
        checks: Each declared check, by its name as `checks.check_name` gives it, and whether it held.
        declared: The checks as the task declares them, those of its alternatives too.
        answer: The final message.
    """
    kind = {"state": _STATE, "answer_exact": ("answer",), "answer_f1": ("answer",)}.get(by, ())
    asked = [held for name, held in checks.items() if name.partition("#")[0] in kind]
    if not asked:
        return float(all(checks.values()))
    if by == "answer_f1":
        expected = [check.value for check in declared if isinstance(check, AnswerCheck)]
        return max((token_f1(answer, value) for value in expected), default=0.0)
    return float(all(asked))
