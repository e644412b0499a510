"""Our GRPO trainer beside TRL's GRPOTrainer with `environment_factory`: same policy, same tasks, same group shape.

python benchmarks/trainers.py                          # makes a policy and teaches it for a moment first
python benchmarks/trainers.py --policy outputs/policy  # one that can already call tools; the fairer comparison

Each arm is a process of its own with one thread, and they take turns, so that a busy machine is busy for both. Both
sample from the same weights (learning rates are far too small to change what is sampled), on the same tasks in the
same order, at temperature 1, take one optimiser step on one batch, and read the same rewards of the same environments.
What is counted are CPU-seconds of the process, over steps after the first; tokens are those that the policy sampled.
TRL bounds a rollout's tokens, ours a turn's, by the same number: one rollout that does not end keeps TRL's whole batch
waiting, so a larger bound is worse for TRL.

TRL lives in a virtual environment under `build/`, made on the first run (it downloads TRL and what it needs; torch and
transformers are those of this Python, so that both arms compute with the same ones).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ENV = "tir_gym/Lookup-v0"
TRL = "1.16.0"
VENV = Path("build/trl")
BARS = (1.3, 0.9)
"""Sampled tokens per CPU-second at least this many times TRL's; CPU-seconds of a step at most this share of TRL's."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", type=Path, help="folder of a policy (default: make one and teach it)")
    parser.add_argument("--lessons", type=int, default=150, help="supervised steps of a policy made here")
    parser.add_argument("--hops", type=int, nargs=2, default=(1, 3), help="length of chains (default %(default)s)")
    parser.add_argument(
        "--completion", type=int, default=160, help="TRL's tokens of a rollout, ours of a turn (default %(default)s)"
    )
    parser.add_argument("--distractors", type=int, default=2, help="old facts in a request (default %(default)s)")
    parser.add_argument("--prompts", type=int, default=16, help="tasks of a step (default %(default)s)")
    parser.add_argument("--group", type=int, default=8, help="rollouts of a task (default %(default)s)")
    parser.add_argument("--steps", type=int, default=3, help="steps that count (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=1, help="runs of each arm, by turns (default %(default)s)")
    parser.add_argument("--venv", type=Path, default=VENV, help="where TRL is (default %(default)s)")
    parser.add_argument("--arm", choices=("ours", "trl"), help=argparse.SUPPRESS)  # what a child process is
    asked = parser.parse_args()
    if asked.arm is not None:
        print(json.dumps((ours if asked.arm == "ours" else trl)(asked)))
        return
    with tempfile.TemporaryDirectory() as folder:
        asked.policy = asked.policy or taught(Path(folder), asked)
        python = trl_python(asked.venv)
        found: dict[str, list[dict[str, float]]] = {"ours": [], "trl": []}
        for _ in range(asked.rounds):
            found["ours"].append(child(sys.executable, "ours", asked))
            found["trl"].append(child(str(python), "trl", asked))
    print("\n".join(report(found)))


def report(found: dict[str, list[dict[str, float]]]) -> list[str]:
    """A line for each arm, all its rounds together, and the ratios."""
    lines = [
        f"{'':6}{'tokens/step':>12}{'turns':>7}{'sampling':>10}{'step':>8}   CPU-s; tokens per CPU-s: "
        "of sampling, of the step"
    ]
    speed, step = {}, {}
    for name, runs in found.items():
        total = {key: sum(run[key] for run in runs) for key in runs[0]}
        speed[name], step[name] = total["tokens"] / total["sampling"], total["step"] / total["steps"]
        lines.append(
            f"{name:6}{total['tokens'] / total['steps']:12.0f}{total['turns'] / total['rollouts']:7.2f}"
            f"{total['sampling'] / total['steps']:10.2f}{step[name]:8.2f}   "
            f"{speed[name]:.0f}, {total['tokens'] / total['step']:.0f}"
        )
    faster, shorter = speed["ours"] / speed["trl"], step["ours"] / step["trl"]
    per_token = shorter * sum(r["tokens"] for r in found["trl"]) / sum(r["tokens"] for r in found["ours"])
    return [
        *lines,
        f"tokens per CPU-second of sampling: {faster:.2f} times TRL's ({verdict(faster >= BARS[0])} {BARS[0]})",
        f"CPU-seconds of a step: {shorter:.2f} of TRL's, {per_token:.2f} at the same number of tokens "
        f"({verdict(per_token <= BARS[1])} {BARS[1]})",
    ]


def verdict(met: bool) -> str:
    return "meets the bar of" if met else "misses the bar of"


# The arms. Each gives sums over the steps that count: tokens, turns, rollouts, steps, and CPU-seconds of sampling
# (whatever makes rollouts, environments included) and of whole steps.


def ours(asked: argparse.Namespace) -> dict[str, float]:
    import torch

    torch.set_num_threads(1)
    from tir_gym.agents.grpo import load_config, train
    from tir_gym.agents.grpo.sampler import Sampler

    counts = Counts()
    sample = Sampler.sample

    async def measured(self: Sampler, requests: Any) -> Any:
        with counts.sampling():
            finished = await sample(self, requests)
        counts.rolled(
            sum(one.trajectory.sampled for one in finished),
            sum(len(one.trajectory.turns) for one in finished),
            len(finished),
        )
        return finished

    Sampler.sample = measured  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        config = load_config(
            preset="quick-cpu",
            given={
                "policy": str(asked.policy),
                "out": f"{folder}/run",
                "steps": asked.steps + 1,
                "deterministic": False,
                "env.options": options(asked),
                "rollout.prompts": asked.prompts,
                "rollout.group": asked.group,
                "rollout.tasks": asked.prompts,
                "rollout.concurrency": asked.prompts * asked.group,
                "rollout.max_tokens": asked.completion,
                "filter.zero_spread": False,
                "optim.lr": 1e-9,
                "optim.minibatches": 1,
                "eval.every": 0,
                "checkpoint.every": 0,
                "log.groups": 0.0,
                "log.tensorboard": False,
            },
        )
        train(config, on_step=lambda figures: counts.step() if figures["step"] else None)
    return counts.sums()


def trl(asked: argparse.Namespace) -> dict[str, float]:
    import torch

    torch.set_num_threads(1)
    from transformers import AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from tir_gym.agents.adapters.trl_tools import HERMES, environment_class, success, task_rows

    counts = Counts()

    class Measured(GRPOTrainer):  # type: ignore[misc]
        def _generate(self, prompts: Any, *rest: Any, **named: Any) -> Any:
            with counts.sampling():
                generated = super()._generate(prompts, *rest, **named)
            ids, mask = generated[1], generated[2]
            own = [row if row is not None else [1] * len(ids[i]) for i, row in enumerate(mask or [None] * len(ids))]
            # A run of sampled tokens is a turn.
            turns = sum(sum(a and not b for a, b in zip(row, [0, *row], strict=False)) for row in own)
            counts.rolled(sum(map(sum, own)), turns, len(ids))
            return generated

    class Steps(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            counts.step()

    tokenizer = AutoTokenizer.from_pretrained(asked.policy)
    tokenizer.response_template = dict(HERMES)
    rollouts = asked.prompts * asked.group
    with tempfile.TemporaryDirectory() as folder:
        trainer = Measured(
            str(asked.policy),
            processing_class=tokenizer,
            environment_factory=environment_class(ENV, **options(asked)),
            reward_funcs=[success],
            train_dataset=task_rows(ENV, asked.prompts, **options(asked)),
            callbacks=[Steps()],
            args=GRPOConfig(
                output_dir=folder,
                max_steps=asked.steps + 1,
                per_device_train_batch_size=rollouts,
                num_generations=asked.group,
                max_completion_length=asked.completion,  # of all turns, tool results included
                learning_rate=1e-9,
                reward_weights=[0.0],
                gradient_checkpointing=False,
                beta=0.0,
                logging_steps=1_000_000,
                use_cpu=True,
                bf16=False,
                report_to="none",
                save_strategy="no",
                disable_tqdm=True,
            ),
        )
        trainer.train()
    return counts.sums()


class Counts:
    """What an arm counts, from the end of its first step on."""

    def __init__(self) -> None:
        self._sums = dict.fromkeys(("tokens", "turns", "rollouts", "steps", "sampling", "step"), 0.0)
        self._last: float | None = None
        self._pending: dict[str, float] = {}

    def sampling(self) -> Any:
        return _Lap(self._add)

    def rolled(self, tokens: float, turns: float, rollouts: float) -> None:
        for name, value in (("tokens", tokens), ("turns", turns), ("rollouts", rollouts)):
            self._pending[name] = self._pending.get(name, 0.0) + value

    def step(self) -> None:
        """A step has ended."""
        now = time.process_time()
        if self._last is not None:
            for name, value in {**self._pending, "steps": 1.0, "step": now - self._last}.items():
                self._sums[name] += value
        self._last, self._pending = now, {}

    def sums(self) -> dict[str, float]:
        return self._sums

    def _add(self, seconds: float) -> None:
        self._pending["sampling"] = self._pending.get("sampling", 0.0) + seconds


class _Lap:
    """CPU-seconds of a block."""

    def __init__(self, add: Callable[[float], None]) -> None:
        self._add = add

    def __enter__(self) -> None:
        self._start = time.process_time()

    def __exit__(self, *_: object) -> None:
        self._add(time.process_time() - self._start)


def options(asked: argparse.Namespace) -> dict[str, Any]:
    return {"hops": tuple(asked.hops), "branches": 1, "distractors": asked.distractors}


def taught(folder: Path, asked: argparse.Namespace) -> Path:
    """A policy of 1 M parameters that writes calls, if not the right ones."""
    from tir_gym.agents.policies import Lessons, SupervisedConfig, make_policy, teach

    make_policy(folder / "blank", size="1M", envs=[ENV])
    lessons = Lessons(ENV, options(asked))
    teach(str(folder / "blank"), str(folder / "policy"), lessons, SupervisedConfig(asked.lessons, batch=32, warmup=50))
    return folder / "policy"


def trl_python(venv: Path) -> Path:
    """The Python that has TRL; its environment is made if it is not there."""
    python = venv / "bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        where = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
        site = Path(subprocess.run(where, check=True, capture_output=True, text=True).stdout.strip())
        # This Python's packages are seen too, after TRL's own.
        lines = [sysconfig.get_path("purelib"), str(Path(__file__).resolve().parent.parent)]
        (site / "shared.pth").write_text("\n".join(lines) + "\n")
        pinned = ["--constraint", "constraints.txt"] if Path("constraints.txt").exists() else []
        subprocess.run([python, "-m", "pip", "install", "--quiet", *pinned, f"trl=={TRL}"], check=True)
    return python


def child(python: str, arm: str, asked: argparse.Namespace) -> dict[str, float]:
    """What an arm measured, in a process of its own with one thread."""
    numbers = [
        value
        for name in ("completion", "distractors", "prompts", "group", "steps")
        for value in (f"--{name}", str(getattr(asked, name)))
    ]
    command = [python, __file__, "--arm", arm, "--policy", str(asked.policy), *numbers]
    done = subprocess.run(
        [*command, "--hops", *map(str, asked.hops)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"the arm {arm} failed; what it said stands above")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
