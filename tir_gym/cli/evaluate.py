"""`tir-gym eval ID --agent NAME`: play an agent on tasks, record every episode, print what it is worth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tir_gym.cli import exits
from tir_gym.cli.figures import document_of, print_figures
from tir_gym.cli.options import (
    DEFAULT_STORE,
    AgentArgs,
    AsJson,
    DataDir,
    Dialect,
    EnvArgs,
    EnvId,
    MaxTurns,
    Reward,
    Split,
    Store,
    Url,
    env_options,
    key_values,
)
from tir_gym.cli.plans import Finished, Plan, make_plan, run_plan
from tir_gym.cli.printing import count, note, percent, print_json, say
from tir_gym.cli.stores import existing_store, free_name, run_names

if TYPE_CHECKING:
    from tir_gym.metrics import Summary

_TASKS_SHOWN = 5


def command(
    id: EnvId,
    agent: Annotated[
        str, typer.Option("--agent", metavar="NAME", help="oracle, random, noisy:P, probe:NAME, llm:MODEL@URL, ...")
    ],
    n: Annotated[int | None, typer.Option("-n", min=1, help="Number of tasks; all of a data set, else 100.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Attempts at each task, for pass@k and pass^k.")] = 1,
    concurrency: Annotated[int, typer.Option("-c", min=1, help="Episodes played at the same time.")] = 1,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the agent's own randomness.")] = 0,
    split: Split = "test",
    task: Annotated[
        list[str] | None, typer.Option("--task", metavar="TASK", help="Play this task; may be repeated.")
    ] = None,
    reward: Reward = "default",
    dialect: Dialect = "openai",
    max_turns: MaxTurns = None,
    data_dir: DataDir = None,
    url: Url = None,
    env_arg: EnvArgs = None,
    agent_arg: AgentArgs = None,
    store: Store = DEFAULT_STORE,
    run: Annotated[str | None, typer.Option("--run", metavar="NAME", help="Name of the run; a free one if absent.")] = (
        None
    ),
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run of that name.")] = False,
    min_success: Annotated[
        float | None, typer.Option("--min-success", min=0.0, max=1.0, help="Exit 1 if the success rate is below this.")
    ] = None,
    max_infra: Annotated[
        int, typer.Option("--max-infra", min=0, help="Exit 3 if there are more infrastructure failures than this.")
    ] = 0,
    page: Annotated[
        Path | None, typer.Option("--page", metavar="FILE", help="Write an HTML page of the run, as `report` does.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be run, and run nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Benchmark an agent.

    Prints success, return, precision and recall of calls, turns, tokens, seconds, pass@k and pass^k with 95%
    intervals, errors by kind, and infrastructure failures apart.
    """
    plan = make_plan(
        id,
        agent,
        options=env_options(
            split=split,
            dialect=dialect,
            reward=reward,
            max_turns=max_turns,
            data_dir=data_dir,
            url=url,
            env_args=env_arg,
        ),
        agent_options=key_values(agent_arg, "--agent-arg"),
        split=split,
        n=n,
        tasks=task,
        k=k,
        seed=seed,
        concurrency=concurrency,
        run=run,
        resume=resume,
    )
    if dry_run:
        _print_plan(plan, store, as_json)
        return
    from tir_gym.store import open_store

    with open_store(store) as opened:
        finished = run_plan(plan, opened)
        if page is not None:
            from tir_gym.cli.reporting.contents import make_report
            from tir_gym.cli.reporting.writing import write_report

            write_report(make_report([finished.run], lambda trace: plan.make_env()), page, "html")
    if as_json:
        print_json(_document(plan, finished, store, page))
    else:
        print_figures(f"{plan.agent} on {plan.env_id}, run {finished.run.name}", finished.summary)
        for kind, message in finished.infra_messages.items():
            say(f"First {kind}: {message}")
        say(f"Store: {store}" + (f"\nPage: {page}" if page is not None else ""))
    raise typer.Exit(_verdict(finished.summary, min_success, max_infra))


def _document(plan: Plan, finished: Finished, store: str, page: Path | None) -> dict[str, Any]:
    import tir_gym

    head = {
        "run": finished.run.name,
        "store": store,
        "tir_gym": tir_gym.__version__,
        **{key: value for key, value in plan.config().items() if key != "tasks"},
        "page": None if page is None else str(page),
    }
    return head | document_of(finished.summary) | {"infra_messages": finished.infra_messages}


def _verdict(summary: Summary, min_success: float | None, max_infra: int) -> int:
    """The exit code. Infrastructure failures come first: with them, no figure is what it seems."""
    if summary.infra_failures > max_infra:
        note(f"{count(summary.infra_failures, 'infrastructure failure')}, more than --max-infra {max_infra}")
        return exits.INFRASTRUCTURE
    if min_success is not None and (summary.success is None or summary.success.value < min_success):
        rate = percent(None if summary.success is None else summary.success.value)
        note(f"success {rate} is below --min-success {percent(min_success)}")
        return exits.FAILED
    return exits.OK


def _print_plan(plan: Plan, store: str, as_json: bool) -> None:
    names = run_names(store)
    run = plan.run or free_name(plan.env_id, plan.agent, names)
    done = 0
    if plan.resume and run in names:
        with existing_store(store) as opened:
            done = len(opened.run(run).done())
    document = plan.config() | {
        "dry_run": True,
        "run": run,
        "store": store,
        "tasks": plan.tasks,
        "episodes": plan.episodes,
        "episodes_done": done,
    }
    if as_json:
        print_json(document)
        return
    shown = ", ".join(plan.tasks[:_TASKS_SHOWN]) + (", ..." if len(plan.tasks) > _TASKS_SHOWN else "")
    say(f"Would play {plan.agent} on {plan.env_id} with {plan.options}")
    say(f"Tasks     {len(plan.tasks)}: {shown}")
    say(f"Episodes  {plan.episodes} ({plan.k} per task, {plan.concurrency} at a time), {done} of them done already")
    say(f"Run       {run}{' (there already)' if run in names else ''}")
    say(f"Store     {store}")
