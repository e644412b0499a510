"""A run as one static HTML page: figures, episodes, and three of them walked turn by turn.

No script, nothing loaded from anywhere, and every word that came from an agent, a tool or a task is escaped: a trace
is data from strangers, and stays text here whatever it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tir_gym.cli.figures import COMPARISON, comparison_row, figure_rows
from tir_gym.cli.printing import number, percent, printable
from tir_gym.cli.walking import WalkedCall, WalkedTurn, call_text, signed, walk
from tir_gym.errors import TirGymError
from tir_gym.metrics.outcome import RIGHT

if TYPE_CHECKING:
    from tir_gym.cli.plans import Finished
    from tir_gym.env import ToolEnv
    from tir_gym.records import ToolCall, Trace
    from tir_gym.rewards import Match
    from tir_gym.store import EpisodeRow

_WALKED = 3
_ROWS = 1000
"""Episodes listed; the store has the others."""
_LONGEST = 4000
"""Characters shown of one text."""

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --paper: #fff; --soft: #f3f4f6; --line: #d5d8dc; --dim: #5a6068;
  --good: #12692f; --part: #8a5a00; --bad: #a8201a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e6e9; --paper: #15171a; --soft: #1f2226; --line: #383d44;
  --dim: #a0a7b0; --good: #6fcf8b; --part: #e5b567;
  --bad: #ff8a80; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 62rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; } th, td { text-align: left; padding: .2rem .8rem .2rem 0; vertical-align: top;
  border-bottom: 1px solid var(--line); } th { color: var(--dim); font-weight: 600; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; } .dim { color: var(--dim); } .good { color: var(--good); }
.part { color: var(--part); } .bad { color: var(--bad); }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .2rem 0; font: 13px/1.45 ui-monospace, monospace; }
article, details { border: 1px solid var(--line); border-radius: 6px; padding: .4rem .9rem .7rem; margin: .8rem 0; }
section { background: var(--soft); border-radius: 6px; padding: .3rem .8rem .5rem; margin: .6rem 0; }
"""


def write_page(
    path: Path, finished: Finished, make_env: Callable[[], ToolEnv], *, others: Sequence[Finished] = ()
) -> None:
    """Write the page of a run.

    Args:
        path: The file; its folders are made.
        finished: The run; its store must be open.
        make_env: Makes the environment, in which the walked episodes are replayed to explain their rewards.
        others: Runs to compare it with in a table, itself among them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(finished, make_env, others=others), encoding="utf-8", errors="backslashreplace")


def page(finished: Finished, make_env: Callable[[], ToolEnv], *, others: Sequence[Finished] = ()) -> str:
    """The page as text; arguments as for `write_page`."""
    config = finished.run.config
    title = f"{config.get('agent')} on {config.get('env_id')}"
    rows = list(islice(finished.run.episodes(), _ROWS))
    parts = [
        f"<h1>{_text(title)}</h1>",
        f'<p class="dim">Run {_text(finished.run.name)}, seed {_text(config.get("seed"))}, '
        f"{_text(config.get('n'))} tasks of the {_text(config.get('split'))} split, "
        f"{_attempts(config.get('k'))} each.</p>",
        *_comparison(others),
        "<h2>Figures</h2>",
        _table(("figure", "value", "95% interval", "of"), figure_rows(finished.summary), right=(1,)),
        *_counts(finished),
        "<h2>Episodes, walked</h2>",
        *_walked(rows, make_env),
        "<h2>Episodes</h2>",
        _episodes(rows, finished.summary.episodes + finished.summary.infra_failures),
    ]
    return _document(title, parts)


def _attempts(k: Any) -> str:
    return "1 attempt" if k == 1 else f"{_text(k)} attempts"


def _document(title: str, parts: Iterable[str]) -> str:
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


def _comparison(runs: Sequence[Finished]) -> list[str]:
    if not runs:
        return []
    return ["<h2>Compared</h2>", _table(COMPARISON, [comparison_row(run) for run in runs], right=(1, 3, 4, 5, 6, 7))]


def _counts(finished: Finished) -> list[str]:
    """Tables of what is counted: the family's own figures, failed calls, infrastructure failures."""
    summary, parts = finished.summary, []
    if summary.metrics:
        rows = [(name, number(mean)) for name, mean in summary.metrics.items()]
        parts += ["<h3>The family's own</h3>", _table(("metric", "mean per episode"), rows, right=(1,))]
    if summary.errors:
        parts += ["<h3>Failed calls</h3>", _table(("kind", "count"), summary.errors.items(), right=(1,))]
    if summary.infra_failures:
        parts += [
            "<h3>Infrastructure failures, counted in no figure</h3>",
            _table(("kind", "count"), summary.infra_errors.items(), right=(1,)),
        ]
    return parts


def _episodes(rows: Sequence[EpisodeRow], total: int) -> str:
    heads = ("task", "attempt", "done", "return", "of the oracle's", "turns", "calls", "ending", "seconds")
    cells = [
        (
            row.task_id,
            row.repeat + 1,
            {True: "yes", False: "no", None: "-"}[row.success],
            number(row.return_),
            percent(row.return_ / row.oracle_return if row.oracle_return else None),
            row.turns,
            row.calls,
            row.ending,
            number(row.seconds, 4),
        )
        for row in rows
    ]
    more = f'<p class="dim">And {total - len(rows)} more in the store.</p>' if total > len(rows) else ""
    return _table(heads, cells, right=(1, 3, 4, 5, 6, 8)) + more


def _walked(rows: Sequence[EpisodeRow], make_env: Callable[[], ToolEnv]) -> list[str]:
    env = make_env()
    try:
        return [_walked_episode(row, env) for row in _examples(rows)]
    finally:
        env.close()


def _examples(rows: Sequence[EpisodeRow]) -> list[EpisodeRow]:
    """One that succeeded and two that did not, as far as there are; of each kind those with the most calls first."""
    longest = sorted(rows, key=lambda row: (-row.calls, row.task_id, row.repeat))
    right = [row for row in longest if row.success]
    wrong = [row for row in longest if not row.success]
    chosen = [*right[:1], *wrong[: _WALKED - 1]]
    chosen += [row for row in longest if row not in chosen][: _WALKED - len(chosen)]
    return sorted(chosen, key=lambda row: (row.task_id, row.repeat))


def _walked_episode(row: EpisodeRow, env: ToolEnv) -> str:
    trace = row.trace()
    matches, gold = _explained(trace, env)
    verdict = {True: ("good", "done"), False: ("bad", "not done"), None: ("dim", "not scored")}[trace.success]
    held = ", ".join(f"{name} {'holds' if right else 'fails'}" for name, right in trace.checks.items()) or "none"
    parts = [
        f"<h3>{_text(row.task_id)}, attempt {row.repeat + 1}: "
        f'<span class="{verdict[0]}">{verdict[1]}</span>, return {number(row.return_)}</h3>',
        *[
            f"<pre><b>{_text(message.get('role'))}</b>  {_text(message.get('content'))}</pre>"
            for message in trace.messages
        ],
    ]
    if gold:  # before the turns, which speak of its calls by number
        lines = "\n".join(f"{i}. {call_text(call)}" for i, call in enumerate(gold, start=1))
        parts.append(f"<details open><summary>Gold calls</summary><pre>{_text(lines)}</pre></details>")
    parts += [
        *[_turn(turn) for turn in walk(trace, matches)],
        f"<p>Checks: {_text(held)}. Ending: {_text(trace.ending)}.</p>",
    ]
    if trace.infra_error is not None:
        parts.append(f'<p class="bad">Infrastructure failure: {_text(trace.infra_error.get("message"))}</p>')
    return f"<article>{''.join(parts)}</article>"


def _explained(trace: Trace, env: ToolEnv) -> tuple[Sequence[Match], Sequence[ToolCall]]:
    """How each turn was paid and the gold calls, by playing it again; nothing where that cannot be done any more."""
    from tir_gym.replay_trace import replay_trace

    try:
        _, info = env.reset(options={"task": trace.provenance.task_id})
        gold = info["oracle"].calls
        result = replay_trace(trace, env)
    except TirGymError:
        return (), ()
    if not result.same or any(match.trace for match in result.matches):
        return (), ()  # an alternative gold trace was matched: its calls are not the ones listed
    return result.matches, gold


def _turn(turn: WalkedTurn) -> str:
    parts = [f"<b>Turn {turn.number + 1}</b>"]
    if turn.text:
        parts.append(f"<pre>{_text(turn.text)}</pre>")
    parts += [_call(call) for call in turn.calls]
    parts += [f'<pre class="bad">could not be read: {_text(reason)}</pre>' for reason in turn.malformed]
    parts += [f"<pre><b>user</b>  {_text(reply)}</pre>" for reply in turn.replies]
    parts.append(f'<div>reward <b>{signed(turn.reward)}</b> <span class="dim">({_text(turn.parts)})</span></div>')
    return f"<section>{''.join(parts)}</section>"


def _call(call: WalkedCall) -> str:
    outcome = "" if call.ok else ' class="bad"'
    paid = "bad" if call.score is None else "good" if call.score >= RIGHT else "part"
    return (
        f"<pre>{_text(call.call)}</pre><pre{outcome}>→ {_text(call.result)}</pre>"
        f'<div class="{paid}">{_text(call.why)}</div>'
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Sequence[int] = ()) -> str:
    head = "".join(f'<th scope="col">{_text(name)}</th>' for name in heads)
    body = "".join(
        "<tr>"
        + "".join(f"<td{' class=n' if i in right else ''}>{_text(cell)}</td>" for i, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _text(value: Any) -> str:
    """Anything as text of the page, escaped; overlong text is cut."""
    text = printable("" if value is None else str(value))
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}... ({len(text)} characters)"
    return escape(text, quote=True)
