"""Speed of `dual` and `to_tokens` against one `cumsum` over the same tokens, and the bias of every estimator.

python benchmarks/advantages.py            # speed, NumPy and, where it is installed, torch
python benchmarks/advantages.py --bias     # the table of docs/advantages.md
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tir_gym.advantages import dual, to_tokens
from tir_gym.advantages.bias import CASES, GROUPS, SEED, markdown

ROLLOUTS, TURNS, TOKENS, GROUP = 4_096, 10, 23_000, 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bias", action="store_true", help="measure bias instead of speed")
    parser.add_argument("--groups", type=int, default=GROUPS, help="groups to draw for the check (default %(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="seed of the check (default %(default)s)")
    options = parser.parse_args()
    if options.bias:
        print(markdown(CASES, options.groups, options.seed))
    else:
        print("\n".join(speed()))


def speed() -> list[str]:
    """Lines of the report: seconds of the mapping, of a `cumsum`, and their ratio, each the best of five."""
    rewards, mask, ids, turn_of_token = rollouts()
    lines = [
        f"{ROLLOUTS} rollouts x {TURNS} turns -> {ROLLOUTS} x {TOKENS} tokens, groups of {GROUP}, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.machine()}",
        f"{'':28}{'dual':>9}{'to_tokens':>11}{'both':>9}{'cumsum':>9}{'both/cumsum':>13}",
    ]
    for dtype in (np.float64, np.float32):
        given = rewards.astype(dtype)
        name = f"numpy {np.__version__} {np.dtype(dtype).name}"
        lines.append(line(name, given, mask, ids, turn_of_token, lambda tokens: np.cumsum(tokens, axis=1)))
    try:
        import torch
    except ImportError:
        return [*lines, "torch is not installed"]
    for kind in (torch.float64, torch.float32):
        given, turns = torch.tensor(rewards).to(kind), torch.from_numpy(turn_of_token)
        name = f"torch {torch.__version__.partition('+')[0]} {str(kind).removeprefix('torch.')} ({given.device})"
        lines.append(line(name, given, torch.tensor(mask), ids, turns, lambda tokens: torch.cumsum(tokens, 1)))
    return lines


def line(name: str, rewards: Any, mask: Any, ids: Any, turn_of_token: Any, cumsum: Callable[[Any], Any]) -> str:
    advantages = dual(rewards, ids, mask=mask)
    alone = best(lambda: dual(rewards, ids, mask=mask))
    mapping = best(lambda: to_tokens(advantages, turn_of_token))
    both = best(lambda: to_tokens(dual(rewards, ids, mask=mask), turn_of_token))
    tokens = to_tokens(advantages, turn_of_token)
    summing = best(lambda: cumsum(tokens))
    return f"{name:28}{alone:8.4f}s{mapping:10.3f}s{both:8.3f}s{summing:8.3f}s{both / summing:13.2f}"


def rollouts() -> tuple[Any, Any, list[str], Any]:
    """Rollouts of 1 to 10 turns; in each the policy's tokens alternate with a tool's, and padding follows."""
    random = np.random.default_rng(0)
    rewards = random.random((ROLLOUTS, TURNS)).round(2)
    turns = random.integers(1, TURNS + 1, ROLLOUTS)
    mask = np.arange(TURNS) < turns[:, None]
    ends = np.sort(random.integers(0, TOKENS, (ROLLOUTS, 2 * TURNS)), axis=1)
    turn_of_token = np.full((ROLLOUTS, TOKENS), -1)
    for i, edges in enumerate(ends):
        for t in range(turns[i]):
            turn_of_token[i, edges[2 * t] : edges[2 * t + 1]] = t
    return rewards, mask, [f"task {i // GROUP}" for i in range(ROLLOUTS)], turn_of_token


def best(run: Callable[[], Any], times: int = 5) -> float:
    """Seconds of the fastest of several runs."""
    found = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        run()
        found = min(found, time.perf_counter() - start)
    return found


if __name__ == "__main__":
    main()
