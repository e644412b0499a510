"""The figures of an evaluation: what the table of `tir-gym eval` shows and its `--json` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

import numpy as np

from tir_gym.errors import UsageError
from tir_gym.metrics.intervals import Estimate, bootstrap_ratios, score_interval
from tir_gym.metrics.outcome import Outcome
from tir_gym.metrics.passes import pass_at_k, pass_hat_k
from tir_gym.records import Record


class Summary(Record):
    """Figures of a set of episodes. Infrastructure failures are counted by `infra_failures` and `infra_errors`, and
    left out of all else. A figure that nothing can be said about is `None`, or absent from its dict."""

    episodes: int
    """Episodes that the figures are about."""
    tasks: int
    """Tasks with at least one such episode."""
    k: int
    """Attempts per task that pass@k and pass^k are given up to."""
    successes: int
    success: Estimate | None
    """Successes / episodes. The draws behind its interval are the tasks, since repeats of a task are not independent:
    Wilson's where every task came out one way, as with one attempt each; else by resampling tasks. So for pass@k."""
    mean_return: Estimate | None
    """Mean over episodes of the sum of rewards; interval by resampling tasks, as for `oracle_share`."""
    oracle_share: Estimate | None
    """Mean over episodes of return / the oracle's return on the same task, where that is known and above 0."""
    precision: float | None
    """Right calls / calls made, over all episodes together. A call is right when it is matched with a gold call at
    the full score of 1, name and every argument. Attempts that could not be read are no calls; see `errors`."""
    recall: float | None
    """Right calls / gold calls, over all episodes together; no episode counts for more than its gold calls."""
    f1: float | None
    """2 precision recall / (precision + recall), 0 when both are 0."""
    turns: float | None
    """Mean per episode, as `calls`, `tokens` and `seconds`."""
    calls: float | None
    tokens: float | None
    """Prompt and completion tokens, over the episodes whose agent counted them."""
    seconds: float | None
    usage: dict[str, float]
    """Totals of what the agent counted."""
    pass_at_k: dict[int, Estimate]
    """By k: mean over tasks with at least k episodes of the chance that one of k succeeds, see `passes.py`."""
    pass_hat_k: dict[int, Estimate]
    """By k: likewise, that all of k succeed."""
    errors: dict[str, int]
    """Calls that failed, by kind, and `malformed` attempts."""
    endings: dict[str, int]
    """Episodes by ending."""
    metrics: dict[str, float]
    """The family's own figures, each the mean over the episodes that have it."""
    infra_failures: int
    infra_errors: dict[str, int]
    """Infrastructure failures by kind."""


def summarise(episodes: Iterable[Outcome], k: int = 1) -> Summary:
    """Summarise episodes, in whatever order they come.

    Args:
        episodes: Any number; each (task, repeat) once.
        k: Give pass@1 .. pass@k and pass^1 .. pass^k, as far as tasks have that many episodes.

    Raises:
        UsageError: `k` below 1, or an episode that has not ended.
    """
    if k < 1:
        raise UsageError(f"k={k}: give at least 1 attempt per task")
    every = sorted(episodes, key=lambda each: (each.task_id, each.repeat))  # so that sums do not depend on the order
    counted = [each for each in every if each.infra_error is None]
    unfinished = next((each for each in counted if each.success is None), None)
    if unfinished is not None:
        raise UsageError(f"task {unfinished.task_id}, repeat {unfinished.repeat} has not ended; play it to its end")
    failures = [each.infra_error for each in every if each.infra_error is not None]
    by_task = [list(group) for _, group in groupby(counted, key=lambda each: each.task_id)]
    estimates = _resampled(by_task, k)
    right, calls = sum(each.right_calls for each in counted), sum(each.calls for each in counted)
    gold = sum(each.gold_calls for each in counted)
    # An alternative gold trace may be longer than the main one, whose length `gold_calls` is.
    found = sum(min(each.right_calls, each.gold_calls) for each in counted)
    # Without gold, as where an environment elsewhere keeps it, no call could be right.
    precision, recall = _share(right, calls) if gold else None, _share(found, gold)
    tokens = [each.tokens for each in counted if each.tokens is not None]
    return Summary(
        episodes=len(counted),
        tasks=len(by_task),
        k=k,
        successes=sum(bool(each.success) for each in counted),
        success=estimates.get("success"),
        mean_return=estimates.get("return"),
        oracle_share=estimates.get("share"),
        precision=precision,
        recall=recall,
        f1=None if precision is None or recall is None else _harmonic(precision, recall),
        turns=_mean([each.turns for each in counted]),
        calls=_mean([each.calls for each in counted]),
        tokens=_mean(tokens),
        seconds=_mean([each.seconds for each in counted]),
        usage=_totals(counted),
        pass_at_k={i: estimates[f"at {i}"] for i in range(1, k + 1) if f"at {i}" in estimates},
        pass_hat_k={i: estimates[f"hat {i}"] for i in range(1, k + 1) if f"hat {i}" in estimates},
        errors=_counts(sum((Counter(each.errors) for each in counted), Counter())),
        endings=_counts(Counter(str(each.ending) for each in counted)),
        metrics=_means(counted),
        infra_failures=len(failures),
        infra_errors=_counts(Counter(str(failure.get("kind")) for failure in failures)),
    )


def _resampled(by_task: Sequence[Sequence[Outcome]], k: int) -> dict[str, Estimate]:
    """The figures that have an interval, each a ratio of sums over tasks."""
    columns: dict[str, tuple[list[float], list[float]]] = {
        "success": _column(by_task, lambda each: float(bool(each.success))),
        "return": _column(by_task, lambda each: each.return_),
        "share": _column(by_task, _oracle_share),
    }
    counts = [(len(task), sum(bool(each.success) for each in task)) for task in by_task]
    for i in range(1, k + 1):
        enough = [float(n >= i) for n, _ in counts]
        columns[f"at {i}"] = [pass_at_k(n, c, i) if n >= i else 0.0 for n, c in counts], enough
        columns[f"hat {i}"] = [pass_hat_k(n, c, i) if n >= i else 0.0 for n, c in counts], enough
    known = {name: column for name, column in columns.items() if sum(column[1]) > 0}
    if not known:
        return {}
    totals = np.array([column[0] for column in known.values()], dtype=np.float64).T
    weights = np.array([column[1] for column in known.values()], dtype=np.float64).T
    low, high = bootstrap_ratios(totals, weights)
    found = {}
    for i, (name, (total, weight)) in enumerate(known.items()):
        value, ends = sum(total) / sum(weight), (float(low[i]), float(high[i]))
        if name not in ("return", "share") and all(
            part in (0.0, whole) for part, whole in zip(total, weight, strict=True)
        ):
            # Tasks that all succeed would be resampled into certainty, however few they are.
            ends = score_interval(value, sum(whole > 0 for whole in weight))
        found[name] = Estimate(value=value, low=ends[0], high=ends[1], n=round(sum(weight)))
    return found


def _column(
    by_task: Sequence[Sequence[Outcome]], figure: Callable[[Outcome], float | None]
) -> tuple[list[float], list[float]]:
    """Per task, the sum of a figure over its episodes and how many have it."""
    values = [[value for each in task if (value := figure(each)) is not None] for task in by_task]
    return [sum(task) for task in values], [float(len(task)) for task in values]


def _oracle_share(outcome: Outcome) -> float | None:
    if outcome.oracle_return is None or outcome.oracle_return <= 0:
        return None
    return outcome.return_ / outcome.oracle_return


def _totals(outcomes: Sequence[Outcome]) -> dict[str, float]:
    names = sorted({name for each in outcomes for name in each.usage})
    return {name: sum(each.usage.get(name, 0) for each in outcomes) for name in names}


def _means(outcomes: Sequence[Outcome]) -> dict[str, float]:
    names = sorted({name for each in outcomes for name in each.metrics})
    values = {name: [each.metrics[name] for each in outcomes if name in each.metrics] for name in names}
    return {name: sum(found) / len(found) for name, found in values.items()}


def _counts(counter: Counter[str]) -> dict[str, int]:
    return dict(sorted(counter.items(), key=lambda item: (-item[1], item[0])))


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _harmonic(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b else 0.0
