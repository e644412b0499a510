"""`tir-gym train-ppo ID --out DIR`: train the agent without a language model; `eval --agent ppo:DIR` plays it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from tir_gym.cli.options import AsJson, DataDir, EnvArgs, EnvId, MaxTurns, Reward, Split, env_options, key_values
from tir_gym.cli.printing import note, number, percent, print_json, progress, say
from tir_gym.errors import UsageError

_LINES = 10
"""Lines that tell how training goes where there is no terminal to draw a bar on."""


def command(
    id: EnvId,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the policy goes.")],
    steps: Annotated[int, typer.Option("--steps", min=1, help="Actions to learn from.")] = 200_000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the network and of what is drawn.")] = 0,
    unmasked: Annotated[
        bool, typer.Option("--unmasked", help="Do not mask forbidden actions, for comparison.")
    ] = False,
    split: Split = "train",
    reward: Reward = "default",
    max_turns: MaxTurns = None,
    data_dir: DataDir = None,
    env_arg: EnvArgs = None,
    ppo_arg: Annotated[
        list[str] | None,
        typer.Option("--ppo-arg", metavar="KEY=JSON", help="Another setting, such as slots=8 or learning_rate=0.0003."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train MaskablePPO on a discrete view of an environment: which tool, with which of the values seen so far."""
    from tir_gym.agents.ppo.training import Progress, train
    from tir_gym.making import make_env

    options = env_options(split=split, reward=reward, max_turns=max_turns, data_dir=data_dir, env_args=env_arg)
    config = _config(steps, seed, not unmasked, key_values(ppo_arg, "--ppo-arg"))
    batch = config.envs * config.horizon
    batches = -(-config.steps // batch)
    every = max(1, batches // _LINES)
    last: list[Progress] = []
    with progress(f"ppo on {id}", batches) as tick:

        def on_progress(one: Progress) -> None:
            tick(f"({percent(one.success)} succeeded)")
            last.append(one)
            if len(last) % every == 0:
                note(_line(one))

        train(partial(make_env, id, **options), out, config, env_id=id, env_options=options, on_progress=on_progress)
    if as_json:
        print_json({"folder": str(out), "config": config.model_dump(), "last": last[-1].model_dump()})
    else:
        say(f"{_line(last[-1])}; {sum(one.invalid_actions for one in last)} forbidden actions in all")
        say(f"Policy: {out}; play it with --agent ppo:{out}")


def _config(steps: int, seed: int, masked: bool, others: dict[str, Any]) -> Any:
    from pydantic import ValidationError

    from tir_gym.agents.ppo.training import PPOConfig

    try:
        return PPOConfig.model_validate({"steps": steps, "seed": seed, "masked": masked} | others)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise UsageError(
                f"--ppo-arg {name}: there is none; there are {', '.join(PPOConfig.model_fields)}"
            ) from None
        raise UsageError(f"--ppo-arg {name}={first['input']!r}: {first['msg']}") from None


def _line(one: Any) -> str:
    return (
        f"{one.steps} actions: {percent(one.success)} of {one.episodes} episodes succeeded, "
        f"return {number(one.mean_return, 2)}, {one.cpu_seconds:.0f} CPU-seconds"
    )
