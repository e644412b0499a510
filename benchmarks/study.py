"""The study: what dense matching rewards and the dual-level advantage buy, in success against sampled tokens.

python benchmarks/study.py --arms dual-hard outcome shuffled --seeds 3 --lengths 1-3 --out outputs/study
python benchmarks/study.py --out outputs/study --report docs/study.md  # tables and plots of what is there

An arm is a reward and an advantage estimator; all else is equal: the policy that training begins with, tasks, group
shape, learning rate, and the number of sampled tokens, after which a run ends. A policy is evaluated on the same
held-out tasks at regular steps, greedy and sampled; between two evaluations success is taken to change in a line, so
that arms are compared at the same number of tokens however many steps those made. The same arms under another reward
preset (`--reward`) are compared in a table of their own.

Every finished run is one line of `results.jsonl`. A study that was killed goes on where it stopped, within a run from
its last checkpoint: give the same command again. Runs of one length that differ in anything but arm, preset and seed do
not go into one folder.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from tir_gym.advantages import get_estimator
from tir_gym.metrics import Estimate
from tir_gym.metrics.intervals import bootstrap_ratios, score_interval
from tir_gym.rewards import RewardSpec, get_reward

ENV = "tir_gym/Lookup-v0"
LENGTHS = {"1-3": (1, 3), "3": (3, 3), "4-6": (4, 6), "7-10": (7, 10)}
"""Dependent calls of a task."""
BEGIN, END = "<!-- results: written by benchmarks/study.py -->", "<!-- results end -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("outputs/study"), help="folder (default %(default)s)")
    parser.add_argument("--policy", type=Path, help="where training begins (default: one made and taught per length)")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), help="default: all")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds (default %(default)s)")
    parser.add_argument("--first-seed", type=int, default=0, help="for fresh seeds (default %(default)s)")
    parser.add_argument("--lengths", nargs="+", choices=LENGTHS, default=["1-3", "4-6", "7-10"])
    parser.add_argument("--tokens", type=int, default=250_000, help="sampled tokens of a run (default %(default)s)")
    parser.add_argument("--reward", default="default", help="preset of the matching arms (default %(default)s)")
    parser.add_argument("--size", default="1M", help="of a policy made here (default %(default)s)")
    parser.add_argument("--lessons", type=int, default=240, help="supervised steps of it (default %(default)s)")
    parser.add_argument("--prompts", type=int, default=8, help="tasks of a step (default %(default)s)")
    parser.add_argument("--group", type=int, default=16, help="rollouts of a task (default %(default)s)")
    parser.add_argument("--lr", type=float, default=1e-4, help="learning rate (default %(default)s)")
    parser.add_argument("--distractors", type=int, default=1, help="old facts in a request (default %(default)s)")
    parser.add_argument("--every", type=int, default=5, help="steps between evaluations (default %(default)s)")
    parser.add_argument("--tasks", type=int, default=128, help="held-out tasks (default %(default)s)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--report", type=Path, metavar="PAGE", help="write tables into this page, plots beside it")
    asked = parser.parse_args()
    if asked.report is None:
        run_all(asked)
    print("\n".join(tables(results(asked.out))))
    if asked.report is not None:
        write_page(asked.report, results(asked.out))


# Arms: what is rewarded, and how a turn's share of it is told.


def matching(reward: str) -> RewardSpec:
    return get_reward(reward)


def soft(reward: str) -> RewardSpec:
    """The same prices on soft matching; stages are hard's alone."""
    hard = get_reward(reward)
    return RewardSpec.model_validate(
        hard.model_dump() | {"name": f"{hard.name}-soft", "matching": "soft", "rescale": True, "staged": False}
    )


def outcome(_: str) -> RewardSpec:
    return get_reward("outcome")


ARMS: dict[str, tuple[Callable[[str], RewardSpec], str]] = {
    "outcome": (outcome, "grpo"),
    "trajectory": (matching, "grpo"),
    "turn": (matching, "turn"),
    "dual-hard": (matching, "dual"),
    "dual-soft": (soft, "dual"),
    "dual-loo": (matching, "dual_loo"),
    "gtpo": (matching, "gtpo"),
    "shuffled": (matching, "dual"),
}
"""Reward and estimator by name. `shuffled` is the control: `dual`, its advantages dealt out to turns by chance."""


@contextmanager
def shuffled(on: bool) -> Iterator[None]:
    """While it is open, the trainer's advantages are permuted over all turns of a step, whatever rollout or task."""

    def get_shuffled(name: str) -> Callable[..., Any]:
        def estimate(turn_rewards: Any, group_ids: Any, **options: Any) -> list[list[float]]:
            rows = [list(map(float, row)) for row in get_estimator(name)(turn_rewards, group_ids, **options)]
            flat = [value for row in rows for value in row]
            # From what is shuffled, so that a resumed run deals as an uninterrupted one.
            random.Random(hashlib.sha256(repr(flat).encode()).hexdigest()).shuffle(flat)
            dealt = iter(flat)
            return [[next(dealt) for _ in row] for row in rows]

        return estimate

    with patch("tir_gym.agents.grpo.grpo.get_estimator", get_shuffled) if on else nullcontext():
        yield


# Running.


class _Spent(Exception):
    """A run has sampled its tokens."""


def run_all(asked: argparse.Namespace) -> None:
    """Every run that is not there yet. Seeds go before arms, so that what is there early can be compared."""
    asked.out.mkdir(parents=True, exist_ok=True)
    for length in asked.lengths:
        same_study(asked, length)
        policy = asked.policy or taught(asked, length)
        for seed in range(asked.first_seed, asked.first_seed + asked.seeds):
            for arm in asked.arms:
                done = {(line["arm"], line["reward"], line["seed"], line["length"]) for line in results(asked.out)}
                if (arm, ARMS[arm][0](asked.reward).name, seed, length) in done:
                    continue
                line = run_one(asked, policy, arm, seed, length)
                record(asked.out, line)
                last = line["points"][-1]
                print(
                    f"{length} {arm} ({line['reward']}) seed {seed}: greedy {last['greedy']:.3f}, "
                    f"sampled {last['sampled']:.3f} after {last['tokens']} tokens, {line['cpu_seconds']:.0f} CPU-s",
                    flush=True,
                )


def run_one(asked: argparse.Namespace, policy: Path, arm: str, seed: int, length: str) -> dict[str, Any]:
    """One run to the end of its tokens, or the rest of it."""
    from tir_gym.agents.checkpoints import checkpoints
    from tir_gym.agents.grpo import load_config, train
    from tir_gym.agents.grpo.log import read_metrics

    make_reward, estimator = ARMS[arm]
    reward = make_reward(asked.reward)
    folder = asked.out / "runs" / f"{length}-{arm}-{reward.name}-{seed}"
    resume = bool(checkpoints(folder))
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
    config = load_config(
        preset="quick-cpu",
        given={
            "policy": str(policy),
            "out": str(folder),
            "seed": seed,
            "steps": 1_000_000,
            "device": asked.device,
            "deterministic": False,  # which reads prompts token by token
            "env.options": env_options(asked, length),
            "env.reward": reward.model_dump(),
            "rollout.prompts": asked.prompts,
            "rollout.group": asked.group,
            "rollout.concurrency": asked.prompts * asked.group,
            "rollout.context": 1024 if length in ("1-3", "3") else 2048,
            "advantage.estimator": estimator,
            "optim.lr": asked.lr,
            "optim.schedule": "constant",  # a run ends by tokens
            "optim.warmup": 0,
            "optim.minibatches": 2,
            "eval.every": asked.every,
            "eval.tasks": asked.tasks,
            "checkpoint.every": asked.every,
            "log.groups": 0.0,
            "log.tensorboard": False,
        },
    )

    def stop(figures: dict[str, float]) -> None:
        if enough(figures, asked.tokens):
            raise _Spent

    if not any(enough(line, asked.tokens) for line in read_metrics(folder / "metrics.jsonl")):
        try:
            with shuffled(arm == "shuffled"):
                train(config, resume=resume, on_step=stop)
        except _Spent:
            pass
    lines = read_metrics(folder / "metrics.jsonl")
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return {
        "arm": arm,
        "seed": seed,
        "length": length,
        "held_out": asked.tasks,
        "reward": reward.name,
        "estimator": estimator,
        "steps": int(lines[-1]["step"]),
        "cpu_seconds": round(lines[-1]["cpu_seconds"], 1),
        "points": [
            {
                "step": int(line["step"]),
                "tokens": int(line.get("sampled_tokens", 0)),
                "greedy": line["eval_greedy_success"],
                "sampled": line["eval_sampled_success"],
                "calls": line["eval_sampled_calls_per_gold_call"],
            }
            for line in lines
            if "eval_greedy_success" in line
        ],
    }


def enough(line: dict[str, float], tokens: int) -> bool:
    """Whether a run was over with this line of its log."""
    return "eval_greedy_success" in line and line.get("sampled_tokens", 0) >= tokens


def taught(asked: argparse.Namespace, length: str) -> Path:
    """The policy that runs of a length begin with, made from nothing and taught by demonstrators with a flaw.

    Up to three calls it is the demo's. For longer chains that one gets a quarter of its lessons again, on such chains,
    from demonstrators of whom nine in ten stop a call early: calls are mostly right, and whole successes rare.
    """
    from tir_gym.agents.policies import Flaws, Lessons, SupervisedConfig, make_policy, teach

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder: Path = asked.out / "policies" / name
        part = folder.with_name("part")  # of one that a kill interrupted
        if not folder.exists():
            shutil.rmtree(part, ignore_errors=True)
            make(part)
            part.rename(folder)
        return folder

    def lessons(length: str, stop_early: float, count: int) -> Lessons:
        options = {"hops": list(LENGTHS[length]), "branches": 1, "distractors": 1}
        return Lessons(ENV, options, count, flaws=Flaws(stop_early=stop_early, repeat=0.1))

    easy = lessons("1-3", 0.65, 3000)
    blank = made("blank", lambda part: make_policy(part, size=asked.size, envs=[ENV], env_options=easy.env_options))
    first = made("1-3", lambda part: teach(blank, part, easy, SupervisedConfig(asked.lessons, batch=32, warmup=50)))
    if length in ("1-3", "3"):
        return first
    steps = asked.lessons // 4
    config = SupervisedConfig(steps, batch=32, lr=1e-3, warmup=steps // 5)
    return made(length, lambda part: teach(first, part, lessons(length, 0.9, 1000), config))


def env_options(asked: argparse.Namespace, length: str) -> dict[str, Any]:
    return {"hops": list(LENGTHS[length]), "branches": 1, "distractors": asked.distractors}


def same_study(asked: argparse.Namespace, length: str) -> None:
    """Write down what all runs of a length share, or compare."""
    apart = ("arms", "reward", "seeds", "first_seed", "lengths", "out", "report", "device")
    mine = {name: str(value) for name, value in vars(asked).items() if name not in apart}
    file = asked.out / "study.json"
    theirs = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({length: mine} | theirs, indent=2) + "\n")
    first = theirs.get(length, mine)
    other = [f"{name} {first.get(name)} instead of {value}" for name, value in mine.items() if first.get(name) != value]
    if other:
        raise SystemExit(f"{asked.out} holds runs of {length} calls with {', '.join(other)}; give another --out")


# What came out.


def record(folder: Path, line: dict[str, Any]) -> None:
    """Add a finished run, on a line of its own also after one that a kill cut off."""
    with (folder / "results.jsonl").open("a+b") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(json.dumps(line).encode() + b"\n")


def results(folder: Path) -> list[dict[str, Any]]:
    """The finished runs; a line that was cut off by a kill is left out."""
    file = folder / "results.jsonl"
    found = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def at(points: Sequence[dict[str, float]], tokens: float, name: str) -> float:
    """A figure of a run at a number of sampled tokens, in a line between its neighbours."""
    return float(np.interp(tokens, [point["tokens"] for point in points], [point[name] for point in points]))


def over_seeds(values: Sequence[float], held_out: int) -> Estimate:
    """The mean over seeds and its 95% interval: runs are resampled, because a seed's luck is larger than its tasks'.

    With one seed, Wilson's interval over its tasks, which says nothing of other seeds.
    """
    if len(values) == 1:
        low, high = score_interval(values[0], held_out)
        return Estimate(value=values[0], low=low, high=high, n=held_out)
    column = np.array(values, dtype=np.float64)[:, None]
    lows, highs = bootstrap_ratios(column, np.ones_like(column))
    return Estimate(value=float(column.mean()), low=float(lows[0]), high=float(highs[0]), n=len(values))


Runs = dict[str, list[dict[str, Any]]]
"""Runs to compare, by what stands before them in a table."""


def comparisons(lines: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str, Runs]]:
    """Name, heading and runs of each: for every length the arms under the preset `default`, then those that were run
    under others too, preset by preset."""
    for length in LENGTHS:
        here = sorted((line for line in lines if line["length"] == length), key=lambda line: line["seed"])
        by_arm: Runs = {}
        by_preset: Runs = {}
        for arm, (make_reward, _) in ARMS.items():
            runs = [line for line in here if line["arm"] == arm]
            rewards = sorted({run["reward"] for run in runs})
            found = {reward: [run for run in runs if run["reward"] == reward] for reward in rewards}
            usual = make_reward("default").name
            if usual in found:
                by_arm[f"`{arm}`"] = found[usual]
            if arm == "outcome" and runs:  # which is a preset itself
                by_preset[f"`{arm}`"] = runs
            elif len(found) > 1:
                by_preset |= {f"`{arm}`, `{reward}`": some for reward, some in found.items()}
        if by_arm:
            yield length, f"{length} dependent calls", by_arm
        if len(by_preset) > 1:
            yield f"{length}-presets", f"{length} dependent calls, by reward preset", by_preset


def tables(lines: Sequence[dict[str, Any]]) -> list[str]:
    """A Markdown table for each comparison: success at the end and half way, at the same number of tokens."""
    text: list[str] = []
    for _, heading, groups in comparisons(lines):
        here = [line for runs in groups.values() for line in runs]
        end = min(line["points"][-1]["tokens"] for line in here)
        start, spoken = (np.mean([line["points"][0][name] for line in here]) for name in ("greedy", "sampled"))
        text += [
            f"### {heading}",
            "",
            f"{len(here)} runs to {end:,} sampled tokens; before: greedy {start:.1%}, sampled {spoken:.1%}.",
            "",
            f"| arm | seeds | greedy at {end // 2:,} | greedy at {end:,} | each seed | sampled at {end:,} | "
            "calls per gold call | CPU-s per run |",
            "|---|---|---|---|---|---|---|---|",
            *("| " + " | ".join(row(name, runs, end)) + " |" for name, runs in groups.items()),
            "",
        ]
    return text or ["No run has finished yet."]


def row(name: str, runs: Sequence[dict[str, Any]], end: int) -> list[str]:
    def cell(figure: str, tokens: float) -> str:
        found = over_seeds([at(run["points"], tokens, figure) for run in runs], runs[0]["held_out"])
        return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"

    return [
        name,
        ", ".join(str(run["seed"]) for run in runs),
        cell("greedy", end / 2),
        cell("greedy", end),
        " / ".join(f"{at(run['points'], end, 'greedy'):.2f}" for run in runs),
        cell("sampled", end),
        f"{np.mean([at(run['points'], end, 'calls') for run in runs]):.2f}",
        f"{np.mean([run['cpu_seconds'] for run in runs]):.0f}",
    ]


def write_page(page: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Put tables and plots between the page's marks."""
    text = page.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise SystemExit(f"{page} lacks the lines {BEGIN!r} and {END!r}, between which results go")
    head, _, rest = text.partition(BEGIN)
    tail = rest.partition(END)[2]
    links = [
        f"![Success against sampled tokens]({file.relative_to(page.parent)})" for file in plots(page.parent, lines)
    ]
    page.write_text("\n".join([head + BEGIN, "", *tables(lines), *links, "", END]) + tail, encoding="utf-8")


def plots(folder: Path, lines: Sequence[dict[str, Any]]) -> list[Path]:
    """For each comparison a plot of greedy success: the mean over seeds, and from the worst seed to the best."""
    import matplotlib
    from matplotlib.figure import Figure

    written = []
    with matplotlib.rc_context({"svg.hashsalt": "tir-gym", "svg.fonttype": "none"}):
        for stem, heading, groups in comparisons(lines):
            figure = Figure(figsize=(6.4, 3.8), layout="constrained")
            axes = figure.subplots()
            xs = np.linspace(0, min(run["points"][-1]["tokens"] for runs in groups.values() for run in runs), 60)
            for i, (name, runs) in enumerate(groups.items()):
                ys = np.array([[at(run["points"], x, "greedy") for x in xs] for run in runs])
                axes.plot(xs, ys.mean(axis=0), label=f"{name.replace('`', '')} ({len(runs)})", color=f"C{i}")
                axes.fill_between(xs, ys.min(axis=0), ys.max(axis=0), color=f"C{i}", alpha=0.12, linewidth=0)
            axes.set(xlabel="sampled tokens", ylabel="greedy success, held out", ylim=(-0.02, 1.02), title=heading)
            axes.legend(fontsize=7, title="arm (seeds)", title_fontsize=7)
            file = folder / f"study-{stem}.svg"
            figure.savefig(file, metadata={"Date": None})
            written.append(file)
    return written


if __name__ == "__main__":
    main()
