"""The figures of a run, as `eval` and `demo` print them: one JSON document, or a table with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tir_gym.cli.printing import heading, number, percent, print_table, say

if TYPE_CHECKING:
    from tir_gym.cli.plans import Finished
    from tir_gym.metrics import Estimate, Summary


def document_of(summary: Summary) -> dict[str, Any]:
    """The figures as JSON data: a plain number under each name, its 95% interval under `NAME_interval`."""
    data = summary.model_dump(mode="json", exclude={"success", "mean_return", "oracle_share"})
    for name, estimate in (
        ("success", summary.success),
        ("return", summary.mean_return),
        ("oracle_share", summary.oracle_share),
    ):
        data[name] = None if estimate is None else estimate.value
        data[f"{name}_interval"] = None if estimate is None else [estimate.low, estimate.high]
    return data


def print_figures(title: str, summary: Summary) -> None:
    """The figures for people. Infrastructure failures stand apart: no figure counts them."""
    heading(title)
    print_table(("figure", "value", "95% interval", "of"), figure_rows(summary))
    if summary.metrics:
        say()
        rows = [(name, number(mean)) for name, mean in summary.metrics.items()]
        print_table(("metric of the family", "mean per episode"), rows)
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


COMPARISON = ("agent", "success", "95% interval", "return", "of the oracle's", "precision", "recall", "turns", "run")


def comparison_row(finished: Finished) -> tuple[str, ...]:
    """A run as a line of a comparison; its cells stand under `COMPARISON`."""
    summary = finished.summary
    success, share = summary.success, summary.oracle_share
    options = finished.run.config.get("agent_args") or {}
    return (
        " ".join([str(finished.run.config.get("agent")), *(f"{name}={value}" for name, value in options.items())]),
        percent(None if success is None else success.value),
        "-" if success is None else f"{percent(success.low)} to {percent(success.high)}",
        number(None if summary.mean_return is None else summary.mean_return.value),
        percent(None if share is None else share.value),
        percent(summary.precision),
        percent(summary.recall),
        number(summary.turns, 1),
        finished.run.name,
    )


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
