"""The matching as a picture: the agent's calls on the left, the gold calls on the right, a line for each pair.

A line is as thick as its score and says it. A call that is paid in full is green, in part amber; a redundant call is
grey, a failed one red; a gold call that nothing paid for is dashed. Drawn twice by the page, wide and narrow, because
letters that shrink with a phone's screen are no letters. SVG from the server: links and titles, no script.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from markupsafe import Markup

from tir_gym.cli.printing import number, printable
from tir_gym.metrics.outcome import RIGHT
from tir_gym.viewer.episode import ShownCall, ShownEpisode, ShownGold, Step

_MOST = 80
"""Calls, and gold calls, that are drawn."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a picture, in pixels where it is shown as wide as it is."""

    box: int
    """Width of a call's box."""
    gap: int
    """Between the two sides, where the lines are."""
    name: int
    """Characters of a name that fit into a box."""
    words: int
    """Characters of arguments that fit."""
    beside: bool
    """Whether there is room for a status beside the name; else it stands before the arguments."""

    @property
    def width(self) -> int:
        return 2 * self.box + self.gap + 2


WIDE = Shape(box=208, gap=130, name=24, words=31, beside=True)
NARROW = Shape(box=138, gap=68, name=14, words=20, beside=False)

_ROW = 46
_HEIGHT = 38
_TOP = 24


def picture(episode: ShownEpisode, step: Step, shape: Shape = WIDE) -> Markup:
    """Draw the matching as it stood after a turn.

    Args:
        episode: The episode.
        step: The matching, one of the episode's.
        shape: How wide.
    """
    golds = episode.golds.get(step.trace, ())
    right = max(len(golds), episode.trace.gold_calls, 1 + max((gold for _, gold, _ in step.pairs), default=-1))
    left = len(step.calls)
    rows = max(min(left, _MOST), min(right, _MOST), 1)
    height = _TOP + rows * _ROW + (18 if max(left, right) > _MOST else 0)
    paid = {gold: score for _, gold, score in step.pairs}
    scores = {call: (gold, score) for call, gold, score in step.pairs}
    title = f"Matching after turn {step.turn + 1}: {len(step.pairs)} of {right} gold calls are paid for"
    parts = [
        f'<svg class="matching" viewBox="0 0 {shape.width} {height}" width="{shape.width}" height="{height}" '
        f'role="img" aria-label="{title}">',
        f'<text class="side" x="1" y="12">agent\'s calls ({left})</text>',
        f'<text class="side" x="{shape.width - 1}" y="12" text-anchor="end">gold calls ({right})</text>',
    ]
    drawn_left, drawn_right = min(left, _MOST), min(right, _MOST)
    for index, gold, score in step.pairs:
        if index < drawn_left and gold < drawn_right:
            parts.append(_line(shape, step.calls[index][0], _middle(index), _middle(gold), score))
    calls = {(call.turn, call.call): call for turn in episode.turns for call in turn.calls}
    for index, (turn, position, status) in enumerate(step.calls[:_MOST]):
        call = calls.get((turn, position))
        if call is not None:
            pair = scores.get(index)
            parts.append(_call(shape, index, call, status, pair, turn == step.turn))
    parts += [_gold(shape, j, golds[j] if j < len(golds) else None, paid.get(j)) for j in range(drawn_right)]
    if max(left, right) > _MOST:
        parts.append(f'<text class="side" x="1" y="{height - 4}">and more that are not drawn</text>')
    return Markup("".join([*parts, "</svg>"]))


def _middle(row: int) -> int:
    return _TOP + row * _ROW + _HEIGHT // 2


def _line(shape: Shape, turn: int, start: int, end: int, score: float) -> str:
    x0, x1 = shape.box + 1, shape.box + shape.gap + 1
    bend = shape.gap * 0.45
    kind = "good" if score >= RIGHT else "part"
    # Labels sit at a third of the way, where lines that cross in the middle are still apart.
    t = 0.3
    x = (1 - t) ** 3 * x0 + 3 * (1 - t) ** 2 * t * (x0 + bend) + 3 * (1 - t) * t * t * (x1 - bend) + t**3 * x1
    y = ((1 - t) ** 3 + 3 * (1 - t) ** 2 * t) * start + (3 * (1 - t) * t * t + t**3) * end
    return (
        f'<g class="pair {kind}" data-turn="{turn}">'
        f'<path d="M{x0} {start}C{x0 + bend:.0f} {start} {x1 - bend:.0f} {end} {x1} {end}" '
        f'stroke-width="{1.2 + 2.3 * min(max(score, 0.0), 1.0):.1f}"/>'
        f'<text x="{x:.0f}" y="{y:.0f}" dy="4" text-anchor="middle">{number(score, 2)}</text></g>'
    )


def _call(shape: Shape, row: int, call: ShownCall, status: str, pair: tuple[int, float] | None, current: bool) -> str:
    kind = {"redundant": "redundant", "failed": "bad"}.get(status, "")
    if pair is not None:
        kind = "good" if pair[1] >= RIGHT else "part"
    words = ", ".join(f"{each.name}={each.value}" for each in call.arguments if each.state != "missing")
    told = f"turn {call.turn + 1}: {call.name}({words})" + (f" -- {call.why}" if call.why else "")
    tag = "" if status in ("matched", "") else status
    return (
        f'<a class="node {kind}{" now" if current else ""}" href="#{call.anchor}" data-turn="{call.turn}">'
        f"{_box(shape, 1, row, call.name, words, f't{call.turn + 1}', tag)}<title>{_text(told, 600)}</title></a>"
    )


def _gold(shape: Shape, row: int, gold: ShownGold | None, score: float | None) -> str:
    kind = "unpaid" if score is None else "good" if score >= RIGHT else "part"
    name = f"gold call {row + 1}" if gold is None else gold.name
    words = "" if gold is None else ", ".join(f"{key}={value}" for key, value in gold.arguments)
    told = f"gold call {row + 1}: {name}({words}) -- " + (
        "nothing paid for it" if score is None else f"paid with score {number(score)}"
    )
    box = _box(shape, shape.box + shape.gap + 1, row, name, words, f"{row + 1}", "" if score is not None else "unpaid")
    return f'<g class="node gold {kind}">{box}<title>{_text(told, 600)}</title></g>'


def _box(shape: Shape, x: int, row: int, name: str, words: str, tag: str, status: str) -> str:
    y = _TOP + row * _ROW
    if status and not shape.beside:
        words, status = f"{status}: {words}", ""
    room = shape.name - (len(status) + 1 if status else 0)
    parts = [
        f'<rect x="{x}" y="{y}" width="{shape.box}" height="{_HEIGHT}" rx="5"/>',
        f'<text class="tag" x="{x + 7}" y="{y + 16}">{_text(tag, 5)}</text>',
        f'<text class="name" x="{x + 15 + 7 * len(tag)}" y="{y + 16}">{_text(name, max(6, room - len(tag)))}</text>',
        f'<text class="words" x="{x + 7}" y="{y + 30}">{_text(words, shape.words)}</text>',
    ]
    if status:
        parts.append(f'<text class="status" x="{x + shape.box - 6}" y="{y + 16}" text-anchor="end">{status}</text>')
    return "".join(parts)


def _text(value: str, most: int) -> str:
    """Text of the picture, cut and escaped; nothing in it is markup."""
    shown = printable(value).replace("\n", " ")
    return escape(shown if len(shown) <= most else f"{shown[: most - 1]}…", quote=True)
