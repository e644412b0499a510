"""The plots of a report as PNG and SVG files for papers, drawn by matplotlib (extra `report`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tir_gym.cli.printing import printable
from tir_gym.errors import MissingExtra

if TYPE_CHECKING:
    from tir_gym.cli.reporting.contents import Report
    from tir_gym.cli.reporting.curves import Plot

_MARKERS = "os^DvPph"
_COLOURS = ("#0067a5", "#c24d00", "#00805a", "#a8438a", "#8a6a00", "#2f8fce", "#6d4aa0", "#5f6b6d")
_LONGEST = 40
"""Characters of a run's name in a legend."""
_NAMES = 16


def write_figures(report: Report, folder: Path) -> list[Path]:
    """Draw every plot that has points, as `NAME.png` (300 dpi) and `NAME.svg`. The same report gives the same bytes.

    Args:
        report: What to draw.
        folder: Where to; made if it is not there.

    Returns:
        The files.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("--figures needs matplotlib; run pip install 'tir-gym[report]'") from error
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    # A name is never read as TeX, and nothing in a file depends on the day or on chance.
    with matplotlib.rc_context({"text.usetex": False, "text.parse_math": False, "svg.hashsalt": "tir-gym"}):
        for plot in (*report.plots, *report.learning):
            if not any(curve.points for curve in plot.curves):
                continue
            figure = Figure(figsize=(4.2, 3.0), layout="constrained")
            _draw(figure.subplots(), plot)
            _name(figure, [_label(curve.label) for curve in plot.curves])
            for suffix, date in (("png", {}), ("svg", {"Date": None})):
                path = folder / f"{plot.name}.{suffix}"
                figure.savefig(path, dpi=300, metadata=date)
                written.append(path)
    return written


def _draw(axes: Any, plot: Plot) -> None:
    several = len(plot.curves)
    for i, curve in enumerate(plot.curves):
        shift = (i - (several - 1) / 2) * min(0.08, 0.5 / max(1, several))
        xs, ys = [point.x + shift for point in curve.points], [point.y for point in curve.points]
        look = {"color": _COLOURS[i % len(_COLOURS)], "marker": _MARKERS[i % len(_MARKERS)], "markersize": 4}
        axes.plot(xs, ys, linewidth=1, label=_label(curve.label), **look)
        for point in curve.points:
            if point.low is not None:
                axes.plot([point.x + shift] * 2, [point.low, point.high], color=look["color"], linewidth=0.8, alpha=0.6)
    every = -(-len(plot.places) // _NAMES) if plot.places else 1
    shown = range(0, len(plot.places), every)
    axes.set_xticks(list(shown), [plot.places[i] for i in shown])
    axes.set_xlabel(plot.x)
    axes.set_ylabel(plot.y)
    if plot.share:
        axes.set_ylim(-0.03, 1.03)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.grid(axis="y", linewidth=0.4)
    axes.spines[["top", "right"]].set_visible(False)


def _name(figure: Any, labels: Sequence[str]) -> None:
    """Say above a plot of several curves which is which, for inside it names would lie on points and intervals."""
    if len(labels) < 2:
        return
    columns = min(len(labels), max(1, int(figure.get_figwidth() / (0.45 + 0.055 * max(map(len, labels))))))
    figure.set_figheight(figure.get_figheight() + 0.14 * -(-len(labels) // columns))
    figure.legend(loc="outside upper center", ncols=columns, fontsize="x-small", frameon=False)


def _label(text: str) -> str:
    """A run's name: no control characters, and no underscore in front, which would hide it from the legend."""
    shown = printable(text).encode("utf-8", "backslashreplace").decode()
    shown = shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 3]}..."
    return f" {shown}" if shown.startswith("_") else shown
