"""`tir-gym demo`: the main job from end to end, offline, in less than two minutes. `make demo` runs it.

Several agents play the same tasks: the oracle, copies of it with ever more noise, random calls, and agents that try
to be paid without doing the task. A table compares them; every episode is in the store; a report shows who wins where.
It is the one that `tir-gym report` makes of these runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tir_gym.cli.figures import COMPARISON, comparison_row, document_of
from tir_gym.cli.options import DEFAULT_STORE, AsJson, Store
from tir_gym.cli.plans import make_plan, run_plan
from tir_gym.cli.printing import print_json, print_table, say

AGENTS = ("oracle", "noisy:0.1", "noisy:0.3", "random", "probe:repeat", "probe:every-tool")


def command(
    n: Annotated[int, typer.Option("-n", min=1, help="Number of tasks.")] = 50,
    id: Annotated[str, typer.Option("--env", metavar="ID", help="Another environment.")] = "tir_gym/Assistant-v0",
    store: Store = DEFAULT_STORE,
    page: Annotated[Path, typer.Option("--page", metavar="FILE", help="Where the report goes.")] = Path(
        "outputs/demo.html"
    ),
    as_json: AsJson = False,
) -> None:
    """Compare the oracle, noisy copies of it, random calls and cheats on the same tasks."""
    from tir_gym.cli.reporting.contents import make_report
    from tir_gym.cli.reporting.writing import write_report
    from tir_gym.store import open_store

    plans = [make_plan(id, agent, options={"split": "test"}, n=n) for agent in AGENTS]
    with open_store(store) as opened:
        finished = {plan.agent: run_plan(plan, opened) for plan in plans}
        report = make_report([done.run for done in finished.values()], lambda trace: plans[0].make_env())
    write_report(report, page, "html")
    if as_json:
        runs = [{"agent": agent, "run": done.run.name, **document_of(done.summary)} for agent, done in finished.items()]
        print_json({"env_id": plans[0].env_id, "n": n, "runs": runs, "store": store, "page": str(page)})
        return
    rows = [comparison_row(done) for done in finished.values()]
    print_table(COMPARISON, rows, title=f"{plans[0].env_id}, the same {n} test tasks for everyone")
    say(f"\nStore:  {store}  (tir-gym runs)")
    say(f"Report: {page}")
