"""What a run writes down of itself: one line of JSON for each step, TensorBoard, Weights & Biases, and a line to read.

`metrics.jsonl` has one flat object per step, numbers only. Step 0 is what was there before training. The names:

    step                    optimisation steps done
    success                 share of the step's rollouts that succeeded
    return                  mean sum of turn rewards
    calls_per_gold_call     calls made over calls of the gold traces
    turns, length           means per rollout; length in sampled tokens
    truncated               share of the rollouts that ran into a budget
    over_turns, over_long   by kind: of turns, of tokens
    infra_failures          share of the rollouts that broke, and were dropped
    groups_used             share of the groups that the loss was taken over
    advantage_abs           mean of |A| over sampled tokens
    loss, lr, grad_norm     means over the step's mini-batches; the norm is that before clipping
    updates                 mini-batches
    entropy                 of the policy at sampled tokens, in nats
    approx_kl               k3 of the sampling policy from the learning one, mean over tokens and mini-batches
    kl                      k3 of the policy from the reference, where there is one
    clip_fraction           share of tokens without gradient because of a clip; clip_low and clip_high are its parts
    dual_clip_fraction      share of tokens at the bound of the dual clip, where there is one
    engine_gap              largest |log-probability of the sampler - of the learner| before the first update
    staleness               mean number of updates between sampling and learning
    sampled_tokens          tokens sampled by the whole run so far; rollouts likewise
    tokens_per_second       of the step's sampling
    seconds_PHASE           sample, train, sync, eval, checkpoint: on the clock
    seconds, cpu_seconds    of the whole run so far; CPU of this process
    eval_greedy_X           success, return, calls_per_gold_call on held-out tasks; eval_sampled_X likewise
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tir_gym.errors import MissingExtra


class RunLog:
    """The log of a run, open.

    Args:
        folder: Of the run.
        after: Steps that are done: whatever was written of later ones, before the process died, is dropped.
        tensorboard: Whether to write events too, where the package is installed.
        wandb: Project to send figures to.
        config: What is being run, for those who show it.

    Raises:
        MissingExtra: wandb is wanted and not installed.
    """

    def __init__(
        self, folder: Path, *, after: int, tensorboard: bool, wandb: str | None, config: Mapping[str, Any]
    ) -> None:
        self._file = folder / "metrics.jsonl"
        kept = [line for line in read_metrics(self._file) if line["step"] <= after] if after >= 0 else []
        whole = "".join(json.dumps(line) + "\n" for line in kept)
        replacement = self._file.with_suffix(".partial")
        replacement.write_text(whole)
        replacement.rename(self._file)
        self._out = self._file.open("a", encoding="utf-8")
        self._board = _board(folder, after + 1) if tensorboard else None
        self._wandb = _wandb(wandb, folder, config) if wandb else None

    def write(self, figures: Mapping[str, float]) -> None:
        """A step's figures."""
        self._out.write(json.dumps(figures) + "\n")
        self._out.flush()
        step = int(figures["step"])
        if self._board is not None:
            for name, value in figures.items():
                if name != "step":
                    self._board.add_scalar(_grouped(name), value, step)
            self._board.flush()
        if self._wandb is not None:
            self._wandb.log({_grouped(name): value for name, value in figures.items()}, step=step)

    def close(self) -> None:
        self._out.close()
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_metrics(file: Path) -> list[dict[str, float]]:
    """The lines of a log, up to one that is no step: the last may have been cut off by a crash."""
    if not file.exists():
        return []
    lines = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            figures = json.loads(line)
        except ValueError:
            break
        if not isinstance(figures, dict) or "step" not in figures:
            break
        lines.append(figures)
    return lines


def console_line(figures: Mapping[str, float], steps: int) -> str:
    """A step in one line."""

    def part(name: str, form: str, label: str) -> str:
        return f"  {label} {figures[name]:{form}}" if name in figures else ""

    return (
        f"step {int(figures['step'])}/{steps}"
        + part("success", ".3f", "success")
        + (part("infra_failures", ".0%", "broken") if figures.get("infra_failures") else "")
        + part("return", ".2f", "return")
        + part("calls_per_gold_call", ".2f", "calls")
        + part("entropy", ".3f", "entropy")
        + part("clip_fraction", ".3f", "clipped")
        + part("tokens_per_second", ".0f", "tokens/s")
        + part("seconds_sample", ".1f", "sample")
        + part("seconds_train", ".1f", "train")
        + part("eval_greedy_success", ".3f", "| held out: greedy")
        + part("eval_sampled_success", ".3f", "sampled")
    )


def _grouped(name: str) -> str:
    head, _, tail = name.partition("_")
    return f"{head}/{tail}" if head in ("seconds", "eval") and tail else name


def _board(folder: Path, purge: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=purge)


def _wandb(project: str, folder: Path, config: Mapping[str, Any]) -> Any:
    try:
        wandb = importlib.import_module("wandb")
    except ImportError as error:
        raise MissingExtra(f"log.wandb={project!r} needs the package wandb: pip install wandb") from error
    return wandb.init(project=project, dir=str(folder), config=dict(config), resume="allow")
