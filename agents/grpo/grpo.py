"""GRPO, from tasks to a better policy, in the order in which it happens. Read it top to bottom.

    tasks -> groups of rollouts -> turn rewards -> advantages -> tokens -> clipped objective -> AdamW -> engines

What is elsewhere is so because others use it too: rollouts in `tir_gym.rollout`, estimators in `tir_gym.advantages`,
engines in `tir_gym.agents.engines`, checkpoints. Beside this file: `config.py` (what can be chosen), `loss.py` (the
objective), `batches.py` (padding and packing), `learner.py` (model, LoRA, FSDP2), `sampler.py`, `log.py`,
`episodes.py`, `progress.py`.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tir_gym.advantages import get_estimator, needs, to_tokens
from tir_gym.agents.checkpoints import last_checkpoint, load_tensors, save_checkpoint
from tir_gym.agents.grpo.batches import MicroBatch, Row, micro_batches
from tir_gym.agents.grpo.config import GrpoConfig, OptimConfig, to_toml
from tir_gym.agents.grpo.episodes import EpisodeLog
from tir_gym.agents.grpo.learner import Learner
from tir_gym.agents.grpo.log import RunLog
from tir_gym.agents.grpo.loss import policy_loss, row_weight
from tir_gym.agents.grpo.progress import Progress
from tir_gym.agents.grpo.sampler import Sampler
from tir_gym.env import ToolEnv
from tir_gym.errors import InfrastructureError, UsageError
from tir_gym.making import make_env
from tir_gym.rollout import Finished, Request, Trajectory, tree_arguments

Figures = dict[str, float]


def train(
    config: GrpoConfig, *, resume: bool = False, on_step: Callable[[Figures], None] = lambda figures: None
) -> Path:
    """Train a policy.

    Args:
        config: Everything about the run.
        resume: Go on from the last checkpoint in `config.out`; from the beginning where there is none yet.
        on_step: Called with the figures of each step (names in `log.py`), on the first process.

    Returns:
        The folder of the trained policy.

    Raises:
        UsageError: The folder holds another run, or something that the config names cannot be had.
    """
    return asyncio.run(_train(config, resume, on_step))


async def _train(config: GrpoConfig, resume: bool, on_step: Callable[[Figures], None]) -> Path:
    run = Path(config.out)
    if not resume and (run / "metrics.jsonl").exists():
        raise UsageError(f"{run} holds a run already; resume it with --resume, or name another folder")
    checkpoint = last_checkpoint(run) if resume else None
    progress = Progress() if checkpoint is None else Progress.of(checkpoint)
    learner = Learner(config, checkpoint)
    if checkpoint is not None:
        learner.load_tensors(load_tensors(checkpoint))
    started = time.perf_counter() - progress.seconds, time.process_time() - progress.cpu_seconds

    async with AsyncExitStack() as stack:
        sampler = await stack.enter_async_context(Sampler(config, learner, progress.weight_version))
        await sampler.update(progress.weight_version)
        curriculum = Curriculum(config, make_env(config.env.id, **config.env.make_options("train")))
        log, episodes = open_logs(config, progress, resume, stack) if learner.rank == 0 else (None, None)

        def tell(figures: Figures) -> None:
            progress.seconds = time.perf_counter() - started[0]
            progress.cpu_seconds = time.process_time() - started[1]
            figures |= {"seconds": progress.seconds, "cpu_seconds": progress.cpu_seconds}
            if log is not None:
                log.write(figures)
                on_step(figures)

        if progress.step == 0 and config.eval.every:
            tell({"step": 0, **await evaluate(config, sampler, learner)})

        # Batches under way, the one that is due first: as a rule one, more where sampling runs ahead of learning.
        due: deque[asyncio.Task[list[Finished]]] = deque()
        stack.callback(lambda: [task.cancel() for task in due])
        asked = progress.step
        while progress.step < config.steps:
            clock = Clock()
            # 1. Groups of rollouts: the same task, the same environment seed, other random numbers for the policy.
            while len(due) <= config.ahead and asked < config.steps:
                due.append(asyncio.create_task(sampler.sample(curriculum.requests(asked, learner.rank, learner.world))))
                asked += 1
            finished = await due.popleft()
            refuse_nothing_to_learn_from(finished, config.rollout.context)
            clock.lap("sample")

            # 2. Rewards, advantages, tokens: rows to learn from.
            rows, figures = prepare(finished, config, progress.weight_version)
            figures = {name: value / learner.world for name, value in learner.totals(figures).items()}
            # 3. Several passes of the clipped objective.
            learning = partial(update, learner, rows, config, progress.step)
            figures |= await asyncio.to_thread(learning) if config.ahead else learning()
            clock.lap("train")

            # 4. The engines sample with the new weights from now on.
            progress.step += 1
            progress.weight_version += 1
            await sampler.update(progress.weight_version)
            clock.lap("sync")

            counts = learner.total([sum(map(_sampled, finished)), len(finished)])
            progress.sampled_tokens += int(counts[0])
            progress.rollouts += int(counts[1])
            last = progress.step == config.steps
            if config.eval.every and (last or progress.step % config.eval.every == 0):
                figures |= await evaluate(config, sampler, learner)
                clock.lap("eval")
            if episodes is not None:
                episodes.record(finished, progress.step)
            tell(
                {
                    "step": progress.step,
                    **figures,
                    **clock.seconds(),
                    "sampled_tokens": progress.sampled_tokens,
                    "rollouts": progress.rollouts,
                    "tokens_per_second": counts[0] / max(clock.laps["sample"], 1e-9),
                }
            )
            if last or (config.checkpoint.every and progress.step % config.checkpoint.every == 0):
                save(run, learner, sampler, progress, config.checkpoint.keep)
        if episodes is not None:
            episodes.finish()
        return sampler.publish()


# 1. Which tasks.


class Curriculum:
    """The data order: which tasks a step plays depends on the seed and the step alone, so there is nothing to save.

    Args:
        config: The run.
        env: Of the train split.
    """

    def __init__(self, config: GrpoConfig, env: ToolEnv) -> None:
        self._config = config
        self._env = env
        endless = bool(env.task_ids(1, first=2**30))  # tasks made from numbers, not a data set
        count = config.rollout.tasks
        self._known = None if endless and count is None else env.task_ids(count)

    def tasks(self, step: int) -> list[tuple[str, int]]:
        """Ids of the tasks of a step, counted from 0, and how often each was played before."""
        prompts, seed = self._config.rollout.prompts, self._config.seed
        if self._known is None:  # another one each time
            first = (random.Random(f"grpo/{seed}").randrange(2**31) + step * prompts) % (2**31 - prompts)
            return [(task, 0) for task in self._env.task_ids(prompts, first=first)]
        places = range(step * prompts, (step + 1) * prompts)
        return [(self._shuffled(i // len(self._known))[i % len(self._known)], i // len(self._known)) for i in places]

    def requests(self, step: int, rank: int, world: int) -> list[Request]:
        """The rollouts of a step that one of `world` processes samples."""
        config = self._config
        return [
            Request(
                task=task,
                group_id=f"{step}/{place}",
                sample=visit * config.rollout.group + i,
                sampling_seed=_seed(config.seed, step, place, i) if config.deterministic else None,
            )
            for place, (task, visit) in enumerate(self.tasks(step))
            if place % world == rank
            for i in range(config.rollout.group)
        ]

    def _shuffled(self, epoch: int) -> list[str]:
        order = list(self._known or ())
        random.Random(f"grpo/{self._config.seed}/{epoch}").shuffle(order)
        return order


def _seed(*parts: int) -> int:
    return int.from_bytes(sha256("/".join(map(str, parts)).encode()).digest()[:8]) >> 1


# 2. From rollouts to rows of tokens with advantages.


def prepare(finished: Sequence[Finished], config: GrpoConfig, version: int) -> tuple[list[Row], Figures]:
    """What the loss is taken over, and what is worth knowing of the rollouts.

    Args:
        finished: Whole groups.
        config: The run.
        version: Of the weights that are about to learn.
    """
    trajectories = [
        one.trajectory.with_rewards(one.turn_rewards)
        if config.hindsight and one.turn_rewards is not None
        else one.trajectory
        for one in finished
    ]
    broken = [one.infra_error is not None or not one.turns for one in trajectories]
    over_turns = [one.ending == "max_turns" for one in trajectories]
    over_long = [
        one.ending == "max_tokens" or any(turn.finish == "length" for turn in one.turns) for one in trajectories
    ]
    masked = [
        (turns and config.filter.over_turns == "mask") or (long and config.filter.over_long == "mask")
        for turns, long in zip(over_turns, over_long, strict=True)
    ]
    # Infrastructure failures are in no statistic; masked rollouts are, and have advantage 0.
    advantages = get_estimator(config.advantage.estimator)(
        [one.turn_rewards for one in trajectories],
        [one.group_id for one in trajectories],
        infra=broken,
        truncated=masked,
        **config.advantage.arguments,
        **_asked_for(config.advantage.estimator, trajectories),
    )
    # A group whose advantages are all 0 says nothing.
    speaks = {
        one.group_id
        for one, values, out in zip(trajectories, advantages, broken, strict=True)
        if not out and any(abs(value) > 1e-8 for value in values)
    }
    chosen = [
        (i, flat)
        for i, one in enumerate(trajectories)
        if not broken[i] and not masked[i] and (one.group_id in speaks or not config.filter.zero_spread)
        for flat in one.flats()
    ]
    by_token = to_tokens([advantages[i] for i, _ in chosen], [flat.turn_of_token for _, flat in chosen])
    rows = [
        Row.of(flat, np.asarray(values, dtype=np.float32), first=trajectories[i].forked_at)
        for (i, flat), values in zip(chosen, by_token, strict=True)
    ]
    rows = [row for row in rows if row.sampled]
    whole = [one for one, out in zip(finished, broken, strict=True) if not out]
    groups = {one.group_id for one in trajectories}
    versions = [turn.weight_version for one in whole for turn in one.trajectory.turns]
    sampled = sum(row.sampled for row in rows)
    return rows, summary(whole) | {
        "length": _mean([one.trajectory.sampled for one in whole]),
        "truncated": _mean([one.trajectory.truncated for one in whole]),
        "over_turns": _mean(over_turns),
        "over_long": _mean(over_long),
        "infra_failures": _mean(broken),
        "groups_used": len({trajectories[i].group_id for i, _ in chosen}) / max(1, len(groups)),
        "advantage_abs": sum(float(np.abs(row.advantages).sum()) for row in rows) / max(1, sampled),
        "staleness": _mean([version - one for one in versions]),
    }


def _asked_for(estimator: str, trajectories: Sequence[Trajectory]) -> dict[str, Any]:
    """What an estimator wants to know beside rewards."""
    wanted = needs(estimator)
    known: dict[str, Any] = {}
    if "state_keys" in wanted:  # GiGPO's anchor: what the turn answers
        known["state_keys"] = [[turn.context_ids.tobytes() for turn in one.turns] for one in trajectories]
    if "parents" in wanted:
        known |= tree_arguments(trajectories)
    return known


def refuse_nothing_to_learn_from(finished: Sequence[Finished], context: int) -> None:
    """Say why no rollout of a step is worth anything, rather than train on nothing.

    Raises:
        InfrastructureError: All of them broke.
        UsageError: No task's first prompt fits.
    """
    failures = [one.trajectory.infra_error for one in finished]
    if failures and all(failure is not None for failure in failures):
        first = failures[0] or {}
        raise InfrastructureError(f"all {len(failures)} rollouts of a step broke; the first: {first.get('message')}")
    if finished and not any(one.trajectory.turns for one in finished):
        raise UsageError(f"no task's first prompt fits into rollout.context={context} tokens; give more")


def summary(finished: Sequence[Finished]) -> Figures:
    """How rollouts went; those that broke aside."""
    traces = [one.trace for one in finished if one.trace is not None and one.trajectory.infra_error is None]
    gold = sum(trace.gold_calls for trace in traces)
    return {
        "success": _mean([bool(trace.success) for trace in traces]),
        "return": _mean([sum(turn.reward for turn in trace.turns) for trace in traces]),
        "calls_per_gold_call": sum(len(turn.calls) for trace in traces for turn in trace.turns) / max(1, gold),
        "turns": _mean([len(trace.turns) for trace in traces]),
    }


def _sampled(finished: Finished) -> int:
    """Tokens of its own: what a fork has from its parent was counted there."""
    own = finished.trajectory.turns[finished.trajectory.forked_at :]
    return sum(len(turn.output_ids) for turn in own)


def _mean(values: Sequence[float]) -> float:
    return float(sum(values) / len(values)) if values else 0.0


# 3. Learning.


def update(learner: Learner, rows: Sequence[Row], config: GrpoConfig, step: int) -> Figures:
    """`epochs` passes over the rows, a step of the optimiser for each mini-batch.

    A mini-batch goes through the model in micro-batches whose losses add up to the same whatever their number; over
    several processes, each has its own rows and as many passes as the one with most.
    """
    optim = config.optim
    lr = learning_rate(optim, step, config.steps)
    sums: dict[str, float] = {}
    losses: list[float] = []
    norms: list[float] = []
    gap: float | None = None
    budget = config.rollout.context
    for epoch in range(optim.epochs):
        order = np.random.default_rng([config.seed, step, epoch]).permutation(len(rows))
        for part in np.array_split(order, optim.minibatches):
            mine = [rows[i] for i in part]
            tokens, count = learner.total([sum(row.sampled for row in mine), len(mine)])
            if not tokens:
                continue
            weights = [
                row_weight(row.sampled, tokens, count, normalise=config.loss.normalise, budget=budget) for row in mine
            ]
            loss = 0.0
            for batch in _passes(learner, mine, weights, config):
                logprobs, entropy = learner.logprobs(batch, entropy=config.loss.entropy > 0)
                value, found = policy_loss(
                    logprobs,
                    batch.old_logprobs,
                    batch.advantages,
                    batch.weight,
                    config.loss,
                    unit=batch.row if config.loss.ratio == "sequence" else batch.turn,
                    ref_logprobs=learner.reference_logprobs(batch),
                    entropy=entropy,
                )
                learner.backward(value)
                if not norms:  # nothing has been learned yet: what differs is the engine
                    off = torch.where(batch.weight > 0, logprobs.detach() - batch.old_logprobs, 0.0).abs().max()
                    gap = max(gap or 0.0, float(off))
                loss += value.item()
                for name, one in found.items():
                    sums[name] = sums.get(name, 0.0) + float(one)
            norms.append(learner.step(lr))
            losses.append(loss)
    sums = learner.totals(sums)
    tokens = max(1.0, sums.pop("tokens", 1.0))
    figures: Figures = {
        "lr": lr,
        "loss": learner.total([_mean(losses)])[0],
        "grad_norm": _mean(norms),
        "updates": float(len(norms)),
        **{name: sums[name] / tokens for name in ("approx_kl", "kl", "entropy") if name in sums},
    }
    if gap is not None:
        figures["engine_gap"] = learner.most(gap)
    if "clip_low" in sums:
        low, high = sums["clip_low"] / tokens, sums["clip_high"] / tokens
        figures |= {"clip_fraction": low + high, "clip_low": low, "clip_high": high}
    if "dual_clip" in sums:
        figures["dual_clip_fraction"] = sums["dual_clip"] / tokens
    return figures


def learning_rate(optim: OptimConfig, step: int, steps: int) -> float:
    """Of a step, counted from 0: a rise over `warmup` steps, then down to `min_lr` at the end, if at all."""
    rise = min(1.0, (step + 1) / (optim.warmup + 1))
    done = min(1.0, max(0, step - optim.warmup) / max(1, steps - 1 - optim.warmup))
    fall = {"constant": 1.0, "linear": 1.0 - done, "cosine": 0.5 * (1.0 + math.cos(math.pi * done))}[optim.schedule]
    return rise * (optim.min_lr + (optim.lr - optim.min_lr) * fall)


def _passes(learner: Learner, rows: Sequence[Row], weights: Sequence[float], config: GrpoConfig) -> list[MicroBatch]:
    model = config.model
    make = partial(
        micro_batches,
        budget=model.micro_tokens,
        packing=model.packing,
        device=learner.device,
        sharing=model.share_beginning and not model.checkpoint_activations and learner.world == 1,
    )
    batches = list(make(rows, weights))
    # Every process must take part in every pass, if only with a token that does not count.
    idle = Row(
        ids=np.zeros(2, dtype=np.int64),
        mask=np.array([False, True]),
        logprobs=np.zeros(2, dtype=np.float32),
        advantages=np.zeros(2, dtype=np.float32),
        turn=np.array([-1, 0]),
    )
    for _ in range(int(learner.most(len(batches))) - len(batches)):
        batches += make([idle], [0.0])
    return batches


# 4. What is done beside learning.


async def evaluate(config: GrpoConfig, sampler: Sampler, learner: Learner) -> Figures:
    """Held-out tasks, the same ones each time: greedy, and as in training. Every process plays a share of them."""
    env = make_env(config.env.id, **config.env.make_options("test"))
    tasks = env.task_ids(config.eval.tasks)[learner.rank :: learner.world]
    figures = {}
    for name in ("greedy", "sampled") if config.eval.sampled else ("greedy",):
        requests = [
            Request(task=task, group_id=task, sampling_seed=_seed(config.seed, place) if config.deterministic else None)
            for place, task in enumerate(tasks)
        ]
        found = summary(await sampler.held_out(requests, greedy=name == "greedy"))
        count = learner.total([len(tasks)])[0]
        for what in ("success", "return", "calls_per_gold_call"):
            figures[f"eval_{name}_{what}"] = learner.total([found[what] * len(tasks) / count])[0]
    return figures


def open_logs(
    config: GrpoConfig, progress: Progress, resume: bool, stack: AsyncExitStack
) -> tuple[RunLog, EpisodeLog | None]:
    """What the run writes down of itself: its settings at once, then figures, then episodes if any are wanted."""
    run = Path(config.out)
    run.mkdir(parents=True, exist_ok=True)
    episodes = EpisodeLog(config, resume, stack) if config.log.groups else None
    (run / "config.toml").write_text(to_toml(config))
    log = RunLog(
        run,
        after=progress.step or -1,
        tensorboard=config.log.tensorboard,
        wandb=config.log.wandb,
        config=config.model_dump(mode="json"),
    )
    return stack.enter_context(log), episodes


def save(run: Path, learner: Learner, sampler: Sampler, progress: Progress, keep: int) -> None:
    """A checkpoint at the boundary of a step. All processes gather, the first writes."""
    tensors, weights = learner.tensors(), learner.weights()

    def write_policy(folder: Path) -> None:
        learner.save_policy(folder, weights)
        sampler.tokenizer.tokenizer.save_pretrained(folder)

    if learner.rank == 0:
        save_checkpoint(run, asdict(progress), tensors, write_policy, keep=keep)


class Clock:
    """Seconds of the phases of a step."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self.laps: dict[str, float] = {}

    def lap(self, phase: str) -> None:
        """The phase that ends here."""
        now = time.perf_counter()
        self.laps[phase], self._last = now - self._last, now

    def seconds(self) -> Figures:
        return {f"seconds_{phase}": lap for phase, lap in self.laps.items()}
