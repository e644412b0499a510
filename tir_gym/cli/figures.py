"""The figures of a run, as `eval` and `demo` print them: one JSON document, or a table with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tir_gym.cli.printing import heading, number, percent, print_table, say

if TYPE_CHECKING:
    from tir_gym.metrics import Estimate, Summary


class FamilyMetrics:
    """Sums up what the episodes' `metrics` say; infrastructure failures have none."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def add(self, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """Mean per episode that has the figure, by name."""
        return {name: total / self._counts[name] for name, total in sorted(self._sums.items())}

    def totals(self) -> dict[str, float]:
        return dict(sorted(self._sums.items()))


def document_of(summary: Summary, metrics: FamilyMetrics) -> dict[str, Any]:
    """The figures as JSON data: a plain number under each name, its 95% interval under `NAME_interval`."""
    data = summary.model_dump(mode="json", exclude={"success", "mean_return", "oracle_share"})
    for name, estimate in (
        ("success", summary.success),
        ("return", summary.mean_return),
        ("oracle_share", summary.oracle_share),
    ):
        data[name] = None if estimate is None else estimate.value
        data[f"{name}_interval"] = None if estimate is None else [estimate.low, estimate.high]
    return data | {"metrics": metrics.means(), "metrics_total": metrics.totals()}


def print_figures(title: str, summary: Summary, metrics: FamilyMetrics) -> None:
    """The figures for people. Infrastructure failures stand apart: no figure counts them."""
    heading(title)
    print_table(("figure", "value", "95% interval", "of"), figure_rows(summary))
    means = metrics.means()
    if means:
        say()
        print_table(("metric of the family", "mean per episode"), [(name, number(v)) for name, v in means.items()])
    if summary.errors:
        say()
        print_table(("failed calls by kind", "count"), summary.errors.items())
    say(f"\nEndings: {_counts(summary.endings)}")
    if summary.infra_failures:
        say(
            f"Infrastructure failures, counted in no figure: {summary.infra_failures} ({_counts(summary.infra_errors)})"
        )


def figure_rows(summary: Summary) -> list[tuple[str, str, str, str]]:
    """Name, value, interval and size of the sample, for each figure."""
    rows = [
        _estimated("success", summary.success, percent, "episodes"),
        _estimated("return", summary.mean_return, number, "episodes"),
        _estimated("return, share of the oracle's", summary.oracle_share, percent, "episodes"),
        _plain("precision of calls", percent(summary.precision)),
        _plain("recall of calls", percent(summary.recall)),
    ]
    for k in summary.pass_at_k:
        rows.append(_estimated(f"pass@{k}", summary.pass_at_k[k], percent, "tasks"))
        rows.append(_estimated(f"pass^{k}", summary.pass_hat_k.get(k), percent, "tasks"))
    return [
        *rows,
        _plain("turns per episode", number(summary.turns, 2)),
        _plain("calls per episode", number(summary.calls, 2)),
        _plain("tokens per episode", number(summary.tokens, 0)),
        _plain("seconds per episode", number(summary.seconds, 4)),
    ]


def _estimated(name: str, estimate: Estimate | None, show: Any, unit: str) -> tuple[str, str, str, str]:
    if estimate is None:
        return _plain(name, "-")
    interval = f"{show(estimate.low)} to {show(estimate.high)}"
    return name, show(estimate.value), interval, f"{estimate.n} {unit}"


def _plain(name: str, value: str) -> tuple[str, str, str, str]:
    return name, value, "", ""


def _counts(counts: Mapping[str, int]) -> str:
    pairs: Iterable[str] = (f"{name} {n}" for name, n in counts.items())
    return ", ".join(pairs) or "none"
