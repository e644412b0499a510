"""`tir-gym train POLICY --env ID --preset NAME [SETTING=VALUE ...]`: make a policy better by GRPO."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tir_gym.cli.options import AsJson
from tir_gym.cli.printing import note, print_json, print_table, progress, say
from tir_gym.errors import UsageError

if TYPE_CHECKING:
    from tir_gym.agents.grpo import GrpoConfig


def command(
    policy: Annotated[
        str | None, typer.Argument(metavar="POLICY", help="Folder of a causal LM, or its name; the preset's if absent.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[SETTING=VALUE]...", help="Such as optim.lr=3e-4; see the docs.")
    ] = None,
    env: Annotated[str | None, typer.Option("--env", metavar="ID", help="Environment to train on.")] = None,
    preset: Annotated[
        str | None,
        typer.Option("--preset", help="quick-cpu (default), gpu-small, matchtir-qwen3-4b or matchtir-qwen3-8b."),
    ] = None,
    file: Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Settings in TOML.")] = None,
    out: Annotated[
        str | None, typer.Option("--out", metavar="DIR", help="Folder of the run; outputs/grpo if absent.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint, under the run's own settings.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print settings and estimates of memory and time; load nothing.")
    ] = False,
    gpus: Annotated[int | None, typer.Option("--gpus", min=0, help="Of the learner, for --dry-run.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train a policy by GRPO with dense rewards.

    Writes config.toml, metrics.jsonl, checkpoints and the trained policy into the folder of the run. Several GPUs:
    torchrun --nproc-per-node N --no-python tir-gym train ...
    """
    if policy is not None and "=" in policy:  # no policy, only settings
        policy, settings = None, [str(policy), *(settings or [])]
    config = _config(policy, settings or [], env, preset, file, out, resume)
    if dry_run:
        _print_estimate(config, gpus, as_json)
        return
    from tir_gym.agents.grpo import train
    from tir_gym.agents.grpo.log import console_line

    first = int(os.environ.get("RANK", 0)) == 0
    last: dict[str, float] = {}
    with progress("training", config.steps) as tick:

        def on_step(figures: dict[str, float]) -> None:
            last.update(figures)
            if not as_json:
                note(console_line(figures, config.steps))
            if figures["step"]:
                tick(f"success {figures['success']:.2f}")

        trained = train(config, resume=resume, on_step=on_step)
    if not first:
        return
    if as_json:
        print_json({"run": config.out, "policy": str(trained), "figures": last})
    else:
        say(f"Run:    {config.out}  (config.toml, metrics.jsonl, checkpoints)")
        say(f"Policy: {trained}")


def _config(
    policy: str | None,
    settings: list[str],
    env: str | None,
    preset: str | None,
    file: Path | None,
    out: str | None,
    resume: bool,
) -> GrpoConfig:
    from tir_gym.agents.grpo import load_config

    given: dict[str, Any] = {"policy": policy, "env.id": env, "out": out}
    given = {name: value for name, value in given.items() if value is not None}
    if not resume:
        return load_config(preset=preset, file=file, given=given, overrides=settings)
    if preset is not None:
        raise UsageError("--resume goes on under the run's own settings; leave --preset out")
    where = [setting for setting in settings if setting.startswith("out=")]  # the others are for the stored settings
    stored = Path(load_config(given=given, overrides=where, file=file).out) / "config.toml"
    if not stored.exists():
        raise UsageError(f"there is no run at {stored.parent}; begin it without --resume, or name its folder by --out")
    try:
        base = tomllib.loads(stored.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{stored} is no TOML: {error}") from None
    return load_config(base=base, file=file, given=given, overrides=settings)


def _print_estimate(config: GrpoConfig, gpus: int | None, as_json: bool) -> None:
    from tir_gym.agents.grpo import to_toml
    from tir_gym.agents.grpo.estimate import assumption, estimate

    count = gpus if gpus is not None else 8 if config.policy.startswith("Qwen/") else 0
    rows = estimate(config, gpus=count)
    if as_json:
        figures = {what: {"amount": amount, "formula": formula} for what, amount, formula in rows}
        print_json({"config": config.model_dump(mode="json"), "gpus": count, "estimate": figures})
        return
    say(to_toml(config))
    print_table(("what", "estimate", "formula"), rows, title=f"Estimate for {count or 'no'} GPUs ({assumption(count)})")
