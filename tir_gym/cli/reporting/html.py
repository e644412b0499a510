"""A report as one HTML page that needs nothing else: no script, nothing loaded, dark and light by the reader's choice.

Every word that came from an agent, a tool or a task is escaped: a trace is data from strangers, and stays text here
whatever it holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from tir_gym.cli.figures import figure_rows
from tir_gym.cli.printing import count, number, printable
from tir_gym.cli.reporting import tables
from tir_gym.cli.reporting.learning import SECTIONS, section_of
from tir_gym.cli.reporting.svg import legend, svg
from tir_gym.cli.walking import WalkedCall, WalkedTurn, paid_text
from tir_gym.metrics.outcome import RIGHT

if TYPE_CHECKING:
    from tir_gym.cli.reporting.contents import Report, ReportedRun
    from tir_gym.cli.reporting.curves import Plot
    from tir_gym.cli.reporting.examples import Example
    from tir_gym.cli.reporting.tables import Table

_LONGEST = 4000
"""Characters shown of one text."""
_CALLS = 16
"""Calls shown of one turn."""
_TURNS = 60
"""Turns shown of one episode."""
_TASKS = 1000
"""Tasks listed; the JSON report has all."""
_BESIDE = 4
"""Columns that a phone shows side by side."""

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --paper: #fff; --soft: #f3f4f6; --line: #d5d8dc; --dim: #5a6068;
  --good: #12692f; --part: #8a5a00; --bad: #a8201a; --s0: #0067a5; --s1: #c24d00; --s2: #00805a; --s3: #a8438a;
  --s4: #8a6a00; --s5: #2f8fce; --s6: #6d4aa0; --s7: #5f6b6d; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e6e9; --paper: #15171a; --soft: #1f2226; --line: #383d44;
  --dim: #a0a7b0; --good: #6fcf8b; --part: #e5b567; --bad: #ff8a80; --s0: #5cb3ef; --s1: #ff9e57; --s2: #4ccfa0;
  --s3: #e796c9; --s4: #e2c14a; --s5: #a3d6fa; --s6: #b79be6; --s7: #aab4b6; } }
@media print { details:not([open]) { display: none; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 70rem;
  margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; line-height: 1.3; } h2 { font-size: 1.15rem; margin-top: 2.4rem; }
h3 { font-size: 1rem; margin: 1rem 0 .4rem; }
table { border-collapse: collapse; max-width: 100%; } th, td { text-align: left; padding: .25rem 1rem .25rem 0;
  max-width: 24rem; vertical-align: top; border-bottom: 1px solid var(--line); overflow-wrap: break-word; }
td:first-child:not(.n) { overflow-wrap: anywhere; min-width: 6.5rem; }
th:last-child, td:last-child { padding-right: .2rem; }
th { color: var(--dim); font-weight: 600; vertical-align: bottom; } td small { display: block; color: var(--dim); }
td, pre, h1, h3, li { unicode-bidi: isolate; }
th.n, td.n { text-align: right; font-variant-numeric: tabular-nums; }
td.n { white-space: nowrap; } td.best { font-weight: 700; }
.wide { overflow-x: auto; } p.dim { margin: .3rem 0; } .dim { color: var(--dim); } .good { color: var(--good); }
.part { color: var(--part); } .bad { color: var(--bad); }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .2rem 0; font: 13px/1.45 ui-monospace, monospace; }
article, details { border: 1px solid var(--line); border-radius: 6px; padding: .4rem .9rem .7rem; margin: .8rem 0; }
details { padding-bottom: .4rem; } details + details { margin-top: -.4rem; }
summary { cursor: pointer; color: var(--dim); }
section { background: var(--soft); border-radius: 6px; padding: .3rem .8rem .5rem; margin: .6rem 0; }
section > div { margin-top: .3rem; } .why { margin: 0 0 .6rem 1.2rem; font-size: .92em; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr)); gap: 1rem 1.5rem; }
figure { margin: 0; min-width: 0; } figcaption { font-weight: 600; }
.plot { display: block; width: 100%; height: auto; } .plot text { font-size: 11px; fill: var(--dim); }
.grid { stroke: var(--line); fill: none; } .line, .bar { fill: none; stroke-width: 1.5; } .bar { opacity: .55; }
@media (max-width: 40rem) { th, td { padding-right: .7rem; } table { font-size: 14px; }
  .stacked, .stacked tbody, .stacked tr { display: block; } .stacked thead { position: absolute; left: -999rem; }
  .stacked tr { padding: .4rem 0; border-bottom: 1px solid var(--line); }
  .stacked td { display: flex; flex-wrap: wrap; justify-content: flex-end; align-items: baseline; gap: 0 .6rem;
    max-width: none; border: 0; padding: .05rem 0; white-space: normal; }
  .stacked td::before { content: attr(data-is); color: var(--dim); margin-right: auto; }
  .stacked td:first-child { font-weight: 600; } .stacked td:first-child::before { font-weight: 400; } }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; padding: 0; margin: .4rem 0; }
.key { width: 13px; height: 13px; margin-right: .4rem; vertical-align: -1px; }
""" + "\n".join(
    f"path.s{i} {{ fill: var(--s{i}); }} path.line.s{i}, path.bar.s{i} {{ fill: none; stroke: var(--s{i}); }}"
    for i in range(8)
)


def html(report: Report) -> str:
    """The page."""
    several = len(report.runs) > 1
    parts = [
        f"<h1>{_text(report.title)}</h1>",
        *_about(report),
        "<h2>Figures</h2>",
        _table(tables.runs(report)),
        f'<p class="dim">{tables.INTERVALS}</p>',
        *(_figures(run, open=not several) for run in report.runs),
        "<h2>Curves</h2>",
        legend([run.label for run in report.runs]),
        f'<div class="plots">{"".join(_plot(plot) for plot in report.plots)}</div>',
        '<p class="dim">Bars are 95% intervals. A turn\'s mean is over the episodes that come so far.</p>',
    ]
    if report.learning:
        parts += ["<h2>Learning curves</h2>", legend(report.training), *_learning(report)]
    if several:
        parts += ["<h2>Who wins where</h2>", *_pairs(report), *_divided(report)]
    parts += ["<h2>Hardest tasks</h2>", *_hardest(report), "<h2>Episodes, walked</h2>"]
    parts += [_example(report, example) for example in report.examples]
    parts += ["<h2>All tasks</h2>", _all_tasks(report)]
    return _page(report.title, parts)


def _page(title: str, parts: Iterable[str]) -> str:
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            # Should an escape ever be missing, the browser still runs and loads nothing.
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            f"<title>{_text(title)}</title>",
            f"<style>{_STYLE}</style>",
            "</head>",
            "<body>",
            *parts,
            "</body>",
            "</html>",
            "",
        ]
    )


def _about(report: Report) -> list[str]:
    parts = [f'<p class="dim">{_text(line)}</p>' for line in tables.about(report)]
    if report.differing:
        parts.append(f'<p class="part">{_text(tables.DIFFER)}</p>{_table(tables.differing(report))}')
    return parts


def _figures(run: ReportedRun, *, open: bool) -> str:
    """All figures of a run, as `eval` prints them."""
    summary = run.summary
    rows = figure_rows(summary)
    parts = [_table(tables.Table(("figure", "value", "95% interval", "of"), rows, right=(1,)))]
    if summary.metrics:
        cells = [(name, number(mean)) for name, mean in summary.metrics.items()]
        parts += ["<h3>The family's own</h3>", _table(tables.Table(("metric", "mean per episode"), cells, right=(1,)))]
    for title, head, counts in (
        ("Failed calls", "kind", summary.errors),
        ("Endings", "ending", summary.endings),
        ("Infrastructure failures, counted in no figure", "kind", summary.infra_errors),
    ):
        if counts:
            parts += [f"<h3>{title}</h3>", _table(tables.Table((head, "count"), list(counts.items()), right=(1,)))]
    state = " open" if open else ""
    return f"<details{state}><summary>All figures of {_text(run.label)}</summary>{''.join(parts)}</details>"


def _plot(plot: Plot) -> str:
    numbers = f"<details><summary>As numbers</summary>{_table(tables.plot(plot))}</details>"
    return f"<figure><figcaption>{_text(plot.title)}</figcaption>{svg(plot)}{numbers}</figure>"


def _learning(report: Report) -> list[str]:
    """The curves by section, the last one folded."""
    parts = []
    for title, _ in SECTIONS:
        plots = [plot for plot in report.learning if section_of(plot.title) == title]
        state = "" if title == SECTIONS[-1][0] else " open"
        drawn = "".join(_plot(plot) for plot in plots)
        if plots:
            parts.append(f'<details{state}><summary>{title}</summary><div class="plots">{drawn}</div></details>')
    return parts


def _pairs(report: Report) -> list[str]:
    table = tables.pairs(report)
    return [_table(table), f'<p class="dim">{tables.PAIRS}</p>'] if table.rows else [f"<p>{tables.NO_PAIRS}</p>"]


def _divided(report: Report) -> list[str]:
    table = tables.divided(report)
    if not table.rows:
        return ["<p>On every task that several runs played, all did the same.</p>"]
    return ["<h3>Tasks that divide them most</h3>", _table(table)]


def _hardest(report: Report) -> list[str]:
    table = tables.hardest(report)
    return [_table(table) if table.rows else "<p>Every task was done in every attempt.</p>"]


def _all_tasks(report: Report) -> str:
    table = tables.tasks(report, report.lines[:_TASKS])
    left = len(report.lines) - _TASKS
    more = f'<p class="dim">And {count(left, "task")} more, in the JSON report.</p>' if left > 0 else ""
    summary = f"<summary>{count(len(report.lines), 'task')}: successes of attempts, mean return</summary>"
    return f"<details>{summary}{_table(table)}{more}</details>"


def _example(report: Report, example: Example) -> str:
    trace, row = example.trace, example.row
    verdict = {True: ("good", "done"), False: ("bad", "not done"), None: ("dim", "not scored")}[trace.success]
    parts = [
        f"<h3>{_text(report.runs[example.run].label)} on task {_text(row.task_id)}, attempt {row.repeat + 1}: "
        f'<span class="{verdict[0]}">{verdict[1]}</span>, return {number(row.return_)}</h3>',
        *[_message(message) for message in trace.messages],
    ]
    if example.unexplained:
        parts.append(f'<p class="part">{_text(tables.unexplained(example))}</p>')
    if example.gold:  # before the turns, which speak of its calls by number
        parts.append(f"<details open><summary>{tables.gold_title(example)}</summary>{_gold(example)}</details>")
    parts += [_turn(turn) for turn in example.turns[:_TURNS]]
    if len(example.turns) > _TURNS:
        parts.append(f"<p>And {count(len(example.turns) - _TURNS, 'turn')} more.</p>")
    parts.append(f"<p>{_text(tables.ending(example))}</p>")
    if trace.infra_error is not None:
        parts.append(f'<p class="bad">Infrastructure failure: {_text(trace.infra_error.get("message"))}</p>')
    return f"<article>{''.join(parts)}</article>"


def _message(message: Mapping[str, Any]) -> str:
    """A message of the task; what every task of a family says is folded."""
    if message.get("role") == "system":
        return f"<details><summary>system</summary><pre>{_text(message.get('content'))}</pre></details>"
    return f"<pre><b>{_text(message.get('role'))}</b>  {_text(message.get('content'))}</pre>"


def _gold(example: Example) -> str:
    return "".join(
        f'<pre>{i}. {_text(gold.call)}</pre><div class="why {_colour(gold.score if gold.turn is not None else None)}">'
        f"{_text(tables.paid(gold))}</div>"
        for i, gold in enumerate(example.gold, start=1)
    )


def _turn(turn: WalkedTurn) -> str:
    parts = [f"<b>Turn {turn.number + 1}</b>"]
    if turn.text:
        parts.append(f"<pre>{_text(turn.text)}</pre>")
    parts += [_call(call) for call in turn.calls[:_CALLS]]
    if len(turn.calls) > _CALLS:
        parts.append(f'<div class="dim">And {count(len(turn.calls) - _CALLS, "call")} more.</div>')
    parts += [f'<pre class="bad">could not be read: {_text(reason)}</pre>' for reason in turn.malformed[:_CALLS]]
    parts += [f"<pre><b>user</b>  {_text(reply)}</pre>" for reply in turn.replies]
    parts.append(f"<div>{_text(paid_text(turn))}</div>")
    return f"<section>{''.join(parts)}</section>"


def _call(call: WalkedCall) -> str:
    outcome = "" if call.ok else ' class="bad"'
    return (
        f"<pre>{_text(call.call)}</pre><pre{outcome}>→ {_text(call.result)}</pre>"
        f'<div class="why {_colour(call.score)}">{_text(call.why)}</div>'
    )


def _colour(score: float | None) -> str:
    return "bad" if score is None else "good" if score >= RIGHT else "part"


def _table(table: Table) -> str:
    """A table; where it has many columns, a phone shows each row as a block, every cell after its column's name."""
    stacked = len(table.heads) > _BESIDE
    head = "".join(
        f'<th scope="col"{" class=n" if i in table.right else ""}>{_text(name)}</th>'
        for i, name in enumerate(table.heads)
    )
    body = "".join(
        "<tr>" + "".join(_cell(table, r, c, value, stacked) for c, value in enumerate(row)) + "</tr>"
        for r, row in enumerate(table.rows)
    )
    kind = ' class="stacked"' if stacked else ""
    return f'<div class="wide"><table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(table: Table, row: int, column: int, value: Any, stacked: bool) -> str:
    names = [*(["n"] if column in table.right else []), *(["best"] if (row, column) in table.best else [])]
    marked = f' class="{" ".join(names)}"' if names else ""
    if stacked:
        marked += f' data-is="{_text(table.heads[column])}"'
    if isinstance(value, tables.Spread):
        return f"<td{marked}>{_text(value.value)}<small>{_text(value.interval)}</small></td>"
    return f"<td{marked}>{_text(value)}</td>"


def _text(value: Any) -> str:
    """Anything as text of the page, escaped; overlong text is cut."""
    text = "" if value is None else str(value)
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}... ({len(text)} characters)"
    return escape(printable(text), quote=True)
