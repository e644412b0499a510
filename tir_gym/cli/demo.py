"""`tir-gym demo`: the main job from end to end, offline, in minutes on a CPU. `make demo` runs it.

First several agents play the same tasks: the oracle, copies of it with ever more noise, random calls, and agents that
try to be paid without doing the task. Then a policy is made from nothing, taught by flawed demonstrations, trained by
GRPO on what its turns are paid, and plays held-out tasks before and after. Tables compare them, every episode is in the
store, and each half ends with the report that `tir-gym report` makes of its runs.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from tir_gym.cli.figures import COMPARISON, comparison_row, document_of
from tir_gym.cli.options import DEFAULT_STORE, AsJson, Store
from tir_gym.cli.plans import make_plan, run_plan
from tir_gym.cli.printing import count, note, print_json, print_table, say

if TYPE_CHECKING:
    from tir_gym.store import Store as OpenStore

Player: TypeAlias = tuple[str, Mapping[str, Any]]
"""An agent's name and its options."""

AGENTS: tuple[Player, ...] = tuple(
    (name, {}) for name in ("oracle", "noisy:0.1", "noisy:0.3", "random", "probe:repeat", "probe:every-tool")
)


def command(
    n: Annotated[int, typer.Option("-n", min=1, help="Number of tasks.")] = 50,
    id: Annotated[
        str, typer.Option("--env", metavar="ID", help="Another environment for the agents without a model.")
    ] = "tir_gym/Assistant-v0",
    train: Annotated[bool, typer.Option("--train/--no-train", help="Train a policy as well.")] = True,
    lessons: Annotated[
        int | None, typer.Option("--lessons", min=1, help="Steps of supervised learning, instead of the recipe's.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Steps of GRPO, instead of the recipe's.")] = None,
    folder: Annotated[
        Path, typer.Option("--folder", metavar="DIR", help="Where policies are written, and taken up again.")
    ] = Path("outputs/demo"),
    store: Store = DEFAULT_STORE,
    page: Annotated[
        Path, typer.Option("--page", metavar="FILE", help="Where the report goes; that of training beside it.")
    ] = Path("outputs/demo.html"),
    as_json: AsJson = False,
) -> None:
    """Compare agents on the same tasks, then train a policy from nothing and see it before and after."""
    from tir_gym.store import open_store

    document: dict[str, Any] = {"store": store}
    options = {"split": "test"}
    with open_store(store) as opened:
        note(
            f"1. Agents without a model play {count(n, 'task')} of {id}: the gold calls, the same spoiled, and cheats."
        )
        document["agents"] = _compare(id, AGENTS, options, n, opened, page, [], as_json)
        if train:
            from tir_gym.cli.demo_training import ENV, train_policy

            trained = train_policy(folder, lessons, steps)
            note(f"4. Before and after on {4 * n} held-out tasks: the likeliest token, and sampled (temperature=1).")
            policy = f"policy:{trained.policy}"
            players = [(f"policy:{trained.taught}", {}), (policy, {}), (policy, {"temperature": 1.0}), ("oracle", {})]
            beside = page.with_stem(f"{page.stem}-training")
            found = _compare(ENV, players, options | trained.options, n * 4, opened, beside, [trained.run], as_json)
            document["training"] = found | {"run": str(trained.run), "policy": str(trained.policy)}
            if not as_json:
                say(f"Policy: {trained.policy}  ({_command(ENV, policy, trained.options, 4 * n)})")
    if as_json:
        print_json(document)
    else:
        say(f"Store:  {store}  (tir-gym runs)")


def _command(env_id: str, agent: str, options: Mapping[str, Any], n: int) -> str:
    """What plays an agent on the same tasks again."""
    words = ["tir-gym", "eval", env_id, "--agent", agent, "-n", str(n), "-c", str(_at_once(agent))]
    words += ["--dialect", options["dialect"]]
    for name, value in options.items():
        if name != "dialect":
            words += ["--env-arg", f"{name}={json.dumps(value, separators=(',', ':'))}"]
    return shlex.join(words)


def _compare(
    env_id: str,
    players: Sequence[Player],
    options: dict[str, Any],
    n: int,
    store: OpenStore,
    page: Path,
    logs: Sequence[Path],
    quiet: bool,
) -> dict[str, Any]:
    """Let agents play the same tasks, report on it, and show it."""
    from tir_gym.cli.reporting.contents import make_report
    from tir_gym.cli.reporting.learning import find_logs, read_log
    from tir_gym.cli.reporting.writing import write_report

    plans = [
        make_plan(env_id, agent, options=options, agent_options=dict(given), n=n, concurrency=_at_once(agent))
        for agent, given in players
    ]
    finished = [run_plan(plan, store) for plan in plans]
    curves = [read_log(name, path) for name, path in find_logs(logs)]
    report = make_report([done.run for done in finished], lambda trace: plans[0].make_env(), curves)
    write_report(report, page, "html")
    if not quiet:
        rows = [comparison_row(done) for done in finished]
        print_table(COMPARISON, rows, title=f"{plans[0].env_id}, the same {n} test tasks for everyone")
        say(f"\nReport: {page}")
    runs = [
        {"agent": plan.agent, "agent_args": plan.agent_options, "run": done.run.name, **document_of(done.summary)}
        for plan, done in zip(plans, finished, strict=True)
    ]
    return {"env_id": plans[0].env_id, "n": n, "runs": runs, "page": str(page)}


def _at_once(agent: str) -> int:
    """A policy samples many episodes together in little more time than one."""
    return 64 if agent.startswith("policy:") else 1
