"""A supervised start from one folder to another: load a policy, show it demonstrations, write what it has become.

This file puts the parts together: what is shown is in `demonstrations.py`, how it is learned in `supervised.py`.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from tir_gym.agents.checkpoints import last_checkpoint, load_state, load_tensors, save_checkpoint
from tir_gym.agents.engines.loading import chosen_device, load_causal_lm, no_bars
from tir_gym.agents.policies.demonstrations import Flaws, demonstrations
from tir_gym.agents.policies.making import empty_folder
from tir_gym.agents.policies.supervised import SupervisedConfig, train_supervised
from tir_gym.env import ToolEnv
from tir_gym.errors import UsageError
from tir_gym.making import make_env
from tir_gym.rollout import ChatTokenizer, Flat

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOG = "sft.jsonl"
"""In the folder that is written: the figures of each step, one JSON object per line."""

ASKED = "sft.json"
"""Likewise: what was asked for, and whether all of it was learned."""

OnStep = Callable[[dict[str, float]], None]


@dataclass(frozen=True)
class Lessons:
    """What is shown."""

    env_id: str
    env_options: Mapping[str, Any]
    count: int = 3000
    """Different demonstrations; when all were shown they come again in another order."""
    flaws: Flaws = field(default_factory=Flaws.usual)
    seed: int = 0
    """Of tasks, flaws and order."""

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UsageError(f"count={self.count}: show at least one demonstration")

    def make_env(self, split: str = "train") -> ToolEnv:
        return make_env(self.env_id, **{"dialect": "hermes", **self.env_options, "split": split})


def teach(
    policy: str | Path,
    out: str | Path,
    lessons: Lessons,
    config: SupervisedConfig,
    *,
    device: str | None = None,
    on_step: OnStep = lambda figures: None,
    checkpoint_every: int = 0,
    resume: bool = False,
) -> PreTrainedModel:
    """Fine-tune the policy in a folder and write it to another, with its tokenizer, a log and what it was taught.

    Args:
        policy: A folder in Hugging Face's format, or a model's name.
        out: A new folder or an empty one; with `resume`, one in which the same was begun.
        lessons: What is shown.
        config: How it is learned.
        device: Such as `cuda:0`; a GPU if there is one.
        on_step: As `train_supervised` has it.
        checkpoint_every: Steps after which the folder gets a checkpoint; 0 for none. They go when all is learned.
        resume: Go on from the last checkpoint, from the beginning where there is none yet. On a CPU the weights are
            those of a run that nothing interrupted.

    Returns:
        The model as it was written.

    Raises:
        MissingExtra: torch or transformers are not installed.
        UsageError: No policy there, a folder that holds something else, or a demonstration that its context cannot
            hold.
    """
    from tir_gym.agents.engines import HuggingFaceTokenizer

    document = {"policy": str(policy), "lessons": asdict(lessons), "config": asdict(config)}
    target = _begun(Path(out), document) if resume else empty_folder(out)
    tokenizer = HuggingFaceTokenizer.load(policy)
    checkpoint = last_checkpoint(target) if resume else None
    model = load_model(policy if checkpoint is None else checkpoint / "policy", device)
    env = lessons.make_env()
    try:
        pool = shown(env, tokenizer, lessons, context=getattr(model.config, "max_position_embeddings", None))
    finally:
        env.close()
    target.mkdir(parents=True, exist_ok=True)
    _write_asked(target, document)
    done = 0 if checkpoint is None else load_state(checkpoint)["step"]

    def write(folder: Path) -> None:
        with no_bars():
            model.save_pretrained(folder)
        tokenizer.tokenizer.save_pretrained(folder)

    def keep(step: int, tensors: dict[str, Any]) -> None:
        save_checkpoint(target, {"step": step}, tensors, write, keep=1)

    with _log_after(target / LOG, done) as log:

        def record(figures: dict[str, float]) -> None:
            log.write(json.dumps(figures) + "\n")
            log.flush()
            on_step(figures)

        train_supervised(
            model,
            islice(endless(pool, lessons.seed), done * config.batch, None),
            config,
            on_step=record,
            done=done,
            tensors=None if checkpoint is None else load_tensors(checkpoint),
            checkpoint_every=checkpoint_every,
            on_checkpoint=keep,
        )
    write(target)
    _write_asked(target, document | {"learned": True})
    shutil.rmtree(target / "checkpoints", ignore_errors=True)
    return model


def _begun(target: Path, document: Mapping[str, Any]) -> Path:
    """The folder, if what was begun there is what is asked for."""
    asked = target / ASKED
    if not asked.exists():
        raise UsageError(f"nothing was begun in {target}; leave --resume out, or name its folder")
    now = json.loads(json.dumps(document))
    try:
        before = dict(json.loads(asked.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise UsageError(f"{asked} cannot be read ({error}); begin again in another folder") from None
    for part, given in now.items():
        if before.get(part) != given:
            raise UsageError(f"{asked} has other {part}: {json.dumps(before.get(part))}; resume with the same")
    if before.get("learned"):
        raise UsageError(f"all was learned in {target}; there is nothing to resume")
    return target


def _write_asked(target: Path, document: Mapping[str, Any]) -> None:
    partial = target / f"{ASKED}.partial"
    partial.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    partial.rename(target / ASKED)


def _log_after(file: Path, done: int) -> TextIO:
    """The log, open behind the lines of the steps that are done."""
    kept = file.read_text(encoding="utf-8").splitlines(keepends=True)[:done] if done else []
    replacement = file.with_suffix(".partial")
    replacement.write_text("".join(kept), encoding="utf-8")
    replacement.rename(file)
    return file.open("a", encoding="utf-8")


def load_model(policy: str | Path, device: str | None = None) -> PreTrainedModel:
    """A causal language model in float32; errors as `load_causal_lm`."""
    model = load_causal_lm(policy, dtype="float32")
    return model.to(chosen_device(device))  # type: ignore[no-any-return]


def shown(env: ToolEnv, tokenizer: ChatTokenizer, lessons: Lessons, *, context: int | None = None) -> list[Flat]:
    """The demonstrations as arrays.

    Raises:
        UsageError: One is longer than the model's context of that many tokens.
    """
    flats = []
    for demonstration in islice(demonstrations(env, seed=lessons.seed, flaws=lessons.flaws), lessons.count):
        for flat in demonstration.trajectory(tokenizer).flats():
            if context is not None and len(flat.attention_mask) > context:
                raise UsageError(
                    f"the demonstration of task {demonstration.task_id} has {len(flat.attention_mask)} tokens, the "
                    f"model's context {context}; take easier tasks, or a policy with a longer context"
                )
            flats.append(flat)
    return flats


def endless(pool: list[Flat], seed: int) -> Iterator[Flat]:
    """All of them in an order of its own each time, without end."""
    rng = random.Random(f"lessons/{seed}")
    while True:
        yield from rng.sample(pool, len(pool))
