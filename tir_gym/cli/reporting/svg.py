"""A plot as SVG inside a page: no script, colours from the page's style, and a shape of its own for each run.

Drawn as wide as a phone's screen, so that its letters stay letters there; a wider page sets plots side by side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import TYPE_CHECKING

from tir_gym.cli.printing import number, percent, printable

if TYPE_CHECKING:
    from tir_gym.cli.reporting.curves import Curve, Plot, Point

COLOURS = 8
"""Runs that have a colour and a shape of their own; more begin again."""

_WIDTH, _HEIGHT = 400, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 10, 42
_APART = 5.0
"""Pixels between runs at one place, so that equal points are seen to be several."""
_NAMES = 16
"""Names of places that fit under the x axis."""

_DENSE = 24
"""Places from which on the shapes are small, because the line tells what there is to tell."""

# Around 0, 0; each about as heavy as the others.
_SHAPES = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "M-3.6-3.6h7.2v7.2h-7.2z",
    "M0-4.8L4.6 3.4h-9.2z",
    "M0-5L5 0L0 5L-5 0z",
    "M0 4.8L4.6-3.4h-9.2z",
    "M-1.5-4.5h3v3h3v3h-3v3h-3v-3h-3v-3h3z",
    "M-4.6-1.2L0-5L4.6-1.2L2.9 4.2h-5.8z",
    "M-4.8-1.8h9.6v3.6h-9.6z",
)


def svg(plot: Plot) -> str:
    """The plot; its labels are escaped."""
    step = (_WIDTH - _LEFT - _RIGHT) / max(1, len(plot.places))
    apart = min(_APART, 0.7 * step / max(1, len(plot.curves)))
    low, high, ticks = (0.0, 1.0, [0.0, 0.25, 0.5, 0.75, 1.0]) if plot.share else _ticks(plot.curves)

    def across(place: float) -> float:
        return _LEFT + (place + 0.5) * step

    def up(value: float) -> float:
        return _TOP + (high - min(max(value, low), high)) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    show: Callable[[float], str] = (lambda value: percent(value)) if plot.share else (lambda value: number(value))
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{_text(plot.title)}" class="plot">',
        *_axes(plot, across, up, ticks, fine=high - low < 0.002),
    ]
    for i, curve in enumerate(plot.curves):
        shift = (i - (len(plot.curves) - 1) / 2) * apart
        parts.append(_curve(plot, i, curve, lambda x, by=shift: across(x) + by, up, show))  # type: ignore[misc]
    return "".join([*parts, "</svg>"])


def legend(labels: Sequence[str]) -> str:
    """Which shape and colour is which run."""
    items = "".join(
        f'<li><svg viewBox="-6 -6 12 12" class="key" aria-hidden="true"><path class="s{i % COLOURS}" '
        f'd="{_SHAPES[i % COLOURS]}"/></svg>{_text(label)}</li>'
        for i, label in enumerate(labels)
    )
    return f'<ul class="legend">{items}</ul>'


def _axes(
    plot: Plot, across: Callable[[int], float], up: Callable[[float], float], ticks: Sequence[float], *, fine: bool
) -> list[str]:
    parts = []
    for tick in ticks:
        y = _n(up(tick))
        name = f"{tick:.0%}" if plot.share else f"{tick:.3g}" if fine else number(tick, 4)
        parts.append(f'<path class="grid" d="M{_LEFT} {y}H{_WIDTH - _RIGHT}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y}" dy="4" text-anchor="end">{_text(name)}</text>')
    room = (_WIDTH - _LEFT - _RIGHT) // (6 * max(map(len, plot.places), default=1) + 4)
    every = -(-len(plot.places) // min(_NAMES, room)) if plot.places else 1
    for i, name in enumerate(plot.places):
        if i % every == 0:
            at = f'x="{_n(across(i))}" y="{_HEIGHT - _BOTTOM + 16}"'
            parts.append(f'<text {at} text-anchor="middle">{_text(name)}</text>')
    middle = _n((_LEFT + _WIDTH - _RIGHT) / 2)
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">{_text(plot.x)}</text>')
    return parts


def _curve(
    plot: Plot,
    index: int,
    curve: Curve,
    across: Callable[[int], float],
    up: Callable[[float], float],
    show: Callable[[float], str],
) -> str:
    points = [point for point in curve.points if math.isfinite(point.y)]
    name = f"s{index % COLOURS}"
    steps = "L".join(f"{_n(across(point.x))} {_n(up(point.y))}" for point in points)
    parts = [f'<path class="line {name}" d="M{steps}"/>'] if len(points) > 1 else []
    for point in points:
        x = _n(across(point.x))
        if point.low is not None and point.high is not None:
            parts.append(f'<path class="bar {name}" d="M{x} {_n(up(point.low))}V{_n(up(point.high))}"/>')
        told = f"{curve.label}, {plot.x} {plot.places[point.x]}: {_told(point, show)}, {point.n} {plot.of}"
        size = " scale(0.5)" if len(plot.places) > _DENSE else ""
        place = f'transform="translate({x} {_n(up(point.y))}){size}"'
        shape = _SHAPES[index % COLOURS]
        parts.append(f'<path class="{name}" {place} d="{shape}"><title>{_text(told)}</title></path>')
    return f"<g>{''.join(parts)}</g>"


def _told(point: Point, show: Callable[[float], str]) -> str:
    if point.low is None or point.high is None:
        return show(point.y)
    return f"{show(point.y)} ({show(point.low)} to {show(point.high)})"


def _ticks(curves: Sequence[Curve]) -> tuple[float, float, list[float]]:
    """Ends and ticks of a y axis that holds 0 and all points, at steps of 1, 2 or 5."""
    values = [point.y for curve in curves for point in curve.points if math.isfinite(point.y)]
    low, high = min([0.0, *values]), max([0.0, *values])
    if high - low < 1e-9:
        high = low + 1.0
    rough = (high - low) / 4
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough * 0.999)
    margin = 0.05 * (high - low)
    low, high = low - margin * (low < 0.0), high + margin
    return low, high, [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _n(value: float) -> str:
    return f"{value:.1f}"


def _text(value: str) -> str:
    return escape(printable(value), quote=True)
