"""A report as Markdown, for issues and notes. What a trace holds is escaped or fenced, and makes nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tir_gym.cli.printing import number, printable
from tir_gym.cli.reporting import tables
from tir_gym.cli.reporting.learning import SECTIONS, section_of
from tir_gym.cli.walking import lines_of

if TYPE_CHECKING:
    from tir_gym.cli.reporting.contents import Report
    from tir_gym.cli.reporting.examples import Example
    from tir_gym.cli.reporting.tables import Table

_LONGEST = 1500
"""Characters shown of one line."""
_LINES = 200
"""Lines shown of one episode."""
_TASKS = 100
# What means something inside a line, and what a renderer makes a link of by itself.
_INSIDE = re.compile(r"[\\`*_{}\[\]#|~$@!^]|:(?=//)|(?<=www)\.", re.IGNORECASE)
# What means something in front of a line, where no cell of a table stands.
_IN_FRONT = re.compile(r"^[-+=]|(?<=^\d)[.)]")


def markdown(report: Report) -> str:
    """The document."""
    several = len(report.runs) > 1
    parts = [f"# {_text(report.title)}", *(_text(line) for line in tables.about(report))]
    if report.differing:
        parts += [_text(tables.DIFFER), _table(tables.differing(report))]
    parts += ["## Figures", _table(tables.runs(report)), "## Curves"]
    for plot in report.plots:
        parts += [f"### {plot.title}", _table(tables.plot(plot))]
    if report.learning:
        parts.append("## Learning curves")
    for plot in report.learning:
        if section_of(plot.title) != SECTIONS[-1][0]:
            parts += [f"### {_text(plot.title)}", _table(tables.plot(plot))]
    if several:
        pairs = tables.pairs(report)
        parts += ["## Who wins where", *([_table(pairs), tables.PAIRS] if pairs.rows else [tables.NO_PAIRS])]
        parts.append("### Tasks that divide them most")
        parts.append(_table(tables.divided(report)) if tables.divided(report).rows else "None: all did the same.")
    hardest = tables.hardest(report)
    parts += ["## Hardest tasks", _table(hardest) if hardest.rows else "Every task was done in every attempt."]
    parts += ["## Episodes, walked", *(_example(report, example) for example in report.examples)]
    parts += ["## All tasks", _table(tables.tasks(report, report.lines[:_TASKS]))]
    if len(report.lines) > _TASKS:
        parts.append(f"And {len(report.lines) - _TASKS} more, in the JSON report.")
    return "\n\n".join([*parts, ""])


def _example(report: Report, example: Example) -> str:
    trace, row = example.trace, example.row
    verdict = {True: "done", False: "not done", None: "not scored"}[trace.success]
    title = f"{report.runs[example.run].label} on task {row.task_id}, attempt {row.repeat + 1}"
    lines = [f"{message.get('role')}: {message.get('content')}" for message in trace.messages]
    if example.unexplained:
        lines += ["", tables.unexplained(example)]
    if example.gold:
        lines += ["", f"{tables.gold_title(example)}:"]
        lines += [f"  {i}. {gold.call}  ({tables.paid(gold)})" for i, gold in enumerate(example.gold, start=1)]
    for turn in example.turns:
        lines += ["", *lines_of(turn)]
    lines += ["", tables.ending(example)]
    if trace.infra_error is not None:
        lines.append(f"Infrastructure failure: {trace.infra_error.get('message')}")
    return f"### {_text(title)}: {verdict}, return {number(row.return_)}\n\n{_fenced(lines)}"


def _fenced(lines: Iterable[str]) -> str:
    """Lines as a block of code whose fence none of them can close."""
    shown = [line for text in lines for line in printable(_cut(text)).split("\n")]
    if len(shown) > _LINES:
        shown = [*shown[:_LINES], f"... and {len(shown) - _LINES} lines more"]
    body = "\n".join(shown)
    longest = max((len(run) for run in re.findall("`+", body)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{body}\n{fence}"


def _table(table: Table) -> str:
    rules = ["---:" if i in table.right else "---" for i in range(len(table.heads))]
    rows = [
        table.heads,
        *(
            [f"**{_inline(cell)}**" if (r, c) in table.best else _inline(cell) for c, cell in enumerate(row)]
            for r, row in enumerate(table.rows)
        ),
    ]
    head, *body = [[_inline(cell) for cell in rows[0]], *rows[1:]]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rules, *body])


def _text(value: Any) -> str:
    """Anything as a line of text: nothing in it is Markdown or HTML any more."""
    return _IN_FRONT.sub(r"\\\g<0>", _inline(value))


def _inline(value: Any) -> str:
    """Anything as text inside a line."""
    text = printable(_cut("" if value is None else str(value)).replace("\n", " ").replace("\t", " "))
    text = _INSIDE.sub(r"\\\g<0>", text.strip())
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text)} characters)"
