"""The second half of `tir-gym demo`: a policy made from nothing, taught badly, made good by what its turns are paid.

Everything is written into one folder: `blank` (random weights), `taught` (after demonstrations that often stop too
early), `grpo` (the training run, with the trained policy). What is there already is taken up and not done again.
"""

from __future__ import annotations

import json
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tir_gym.cli.printing import count, note, progress
from tir_gym.errors import MissingExtra, UsageError

ENV = "tir_gym/Lookup-v0"

_EVERY = 60
"""Lessons from one line to the next."""


@dataclass(frozen=True)
class Trained:
    """What came of it."""

    options: dict[str, Any]
    """Of the environment that it was trained on."""
    taught: Path
    """The policy before training."""
    policy: Path
    """The policy after it."""
    run: Path
    """The training run's folder."""


def train_policy(folder: Path, lessons: int | None, steps: int | None) -> Trained:
    """Make, teach and train a policy, or go on where that was broken off.

    Args:
        folder: Where everything is written.
        lessons: Steps of supervised learning; the recipe's if absent.
        steps: Steps of GRPO, likewise.

    Raises:
        MissingExtra: torch or transformers are not installed.
        UsageError: The folder holds a policy that was made otherwise.
    """
    try:
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        raise MissingExtra(
            "the demo trains a policy: pip install 'tir-gym[train]', or leave that out by --no-train"
        ) from error
    from tir_gym.agents.grpo import load_config, train
    from tir_gym.agents.grpo.log import console_line

    run = folder / "grpo"
    recipe = load_config()
    _teach(folder, recipe.env.options, lessons)
    given = {"policy": str(folder / "taught"), "out": str(run), "steps": recipe.steps if steps is None else steps}
    stored = run / "config.toml"
    begun = (run / "metrics.jsonl").exists() and stored.exists()
    config = load_config(base=tomllib.loads(stored.read_text(encoding="utf-8")) if begun else None, given=given)
    tasks, attempts = config.rollout.prompts, config.rollout.group
    note(
        f"3. GRPO, {count(config.steps, 'step')} of {tasks} tasks, {attempts} attempts at each. "
        "success: share of the attempts; calls: made for each gold call; held out: other tasks."
    )
    with progress("training", config.steps) as tick:

        def on_step(figures: dict[str, float]) -> None:
            note(console_line(figures, config.steps))
            if figures["step"]:
                tick(f"success {figures['success']:.2f}")

        policy = train(config, resume=begun, on_step=on_step)
    return Trained({"dialect": config.env.dialect, **config.env.options}, folder / "taught", policy, run)


def _teach(folder: Path, options: dict[str, Any], steps: int | None) -> None:
    from tir_gym.agents.policies import Lessons, SupervisedConfig, make_policy, teach

    blank, taught = folder / "blank", folder / "taught"
    config = SupervisedConfig() if steps is None else SupervisedConfig(steps=steps)
    if taught.exists():
        before = json.loads((taught / "sft.json").read_text(encoding="utf-8"))["config"]["steps"]
        if before != config.steps:
            raise UsageError(
                f"{taught} was taught in {before} steps, not {config.steps}; remove {folder}, or name another --folder"
            )
        note(f"2. {taught} is there already and is taken up.")
        return
    partial = folder / "taught.partial"
    for stale in (blank, partial, folder / "grpo"):  # what was trained from another start says nothing of this one
        shutil.rmtree(stale, ignore_errors=True)
    made = make_policy(blank, envs=[ENV], env_options=options)
    note(
        f"2. A policy of {made.parameters:,} random weights learns from {config.steps} times {config.batch} "
        "demonstrations, most of which stop a call too early where several are needed."
    )
    lessons = Lessons(ENV, options, count=min(Lessons.count, config.steps * config.batch))
    with progress("lessons", config.steps) as tick:

        def on_step(seen: dict[str, float]) -> None:
            if seen["step"] % _EVERY == 0 or seen["step"] == config.steps:
                note(f"lesson {int(seen['step'])}/{config.steps}  loss {seen['loss']:.3f}")
            tick(f"loss {seen['loss']:.2f}")

        teach(blank, partial, lessons, config, on_step=on_step)
    partial.rename(taught)
