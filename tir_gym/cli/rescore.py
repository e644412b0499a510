"""`tir-gym rescore RUN --reward NAME`: a stored run paid by another reward, as a new run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tir_gym.cli.options import DEFAULT_STORE, AsJson, DataDir, EnvArgs, Store, env_options
from tir_gym.cli.printing import number, print_json, print_table, progress
from tir_gym.cli.stores import existing_store
from tir_gym.errors import UsageError

if TYPE_CHECKING:
    from tir_gym.metrics import Estimate
    from tir_gym.rewards import RewardSpec
    from tir_gym.store import Run
    from tir_gym.store.rows import Rows


def command(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Name of the run, see `runs`.")],
    reward: Annotated[str, typer.Option("--reward", metavar="NAME|JSON", help="A preset, or a RewardSpec as JSON.")],
    name: Annotated[
        str | None, typer.Option("--run", metavar="NAME", help="Of the new run.", show_default="RUN.REWARD")
    ] = None,
    env: Annotated[
        str | None, typer.Option("--env", metavar="ID", help="Take the golds of this environment, not the recorded.")
    ] = None,
    data_dir: DataDir = None,
    env_arg: EnvArgs = None,
    store: Store = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Pay the stored episodes of a run by another reward; no agent plays, and no tool runs but the gold's."""
    spec = _spec(reward)
    with existing_store(store) as opened:
        old = opened.run(run)
        config = {**old.config, "reward": spec.model_dump(), "rescored_from": run}
        options = env_options(data_dir=data_dir, env_args=env_arg)
        with progress("rescore", None) as tick:
            new = opened.add_run(name or f"{run}.{spec.name}", config, _rescored(old, spec, env, options, tick))
        before, after = old.summary(), new.summary()
    if as_json:
        print_json({"run": new.name, "store": store, "rescored_from": run, "summary": after.model_dump(mode="json")})
        return
    print_table(
        ("run", "reward", "episodes", "return", "95% interval"),
        [
            (old.name, _reward_of(old), before.episodes, *_figures(before.mean_return)),
            (new.name, spec.name, after.episodes, *_figures(after.mean_return)),
        ],
    )


def _spec(text: str) -> RewardSpec:
    from tir_gym.rewards import get_reward

    if not text.lstrip().startswith("{"):
        return get_reward(text)
    try:
        return get_reward(json.loads(text))
    except json.JSONDecodeError as error:
        raise UsageError(f"--reward {text!r}: neither a preset nor JSON: {error}") from None


def _rescored(run: Run, spec: RewardSpec, env_id: str | None, options: dict[str, Any], tick: Any) -> Iterator[Rows]:
    from tir_gym.agents import oracle_return
    from tir_gym.episode import PlayedEpisode
    from tir_gym.replay_trace import env_of
    from tir_gym.rescore import rescore
    from tir_gym.store.rows import outcome_of, rows_of

    env = None
    oracle: dict[str, float] = {}
    for row in run.episodes():
        recorded = row.whole_trace()
        if env is None:
            env = env_of(recorded, env_id=env_id, **{**options, "reward": spec})
        if row.task_id not in oracle:
            oracle[row.task_id] = oracle_return(env, row.task_id)
        seconds = row.turn_seconds()
        trace = rescore(recorded, env, spec, turn_seconds=seconds)
        played = PlayedEpisode(trace, seconds=row.seconds, turn_seconds=seconds, usage=dict(row.usage))
        outcome = outcome_of(played, repeat=row.repeat, oracle_return=oracle[row.task_id], tags=row.tags)
        yield rows_of(played, outcome)
        tick()


def _figures(mean: Estimate | None) -> tuple[str, str]:
    if mean is None:
        return "-", "-"
    return number(mean.value), f"{number(mean.low)} to {number(mean.high)}"


def _reward_of(run: Run) -> str:
    stored = run.config.get("reward") or run.config.get("env_kwargs", {}).get("reward", "default")
    return str(stored.get("name", "custom")) if isinstance(stored, dict) else str(stored)
