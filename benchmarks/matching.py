"""How fast is the matching? Ours and the alternatives in one run, the ratios printed.

    python benchmarks/matching.py

On 1,000 problems of 16 predicted and 8 gold calls, one core: hard matching with similarities, all problems together and
one by one, against two greedy ones; soft matching against POT's `ot.sinkhorn` called problem by problem (`pip install
pot`; left out where absent); and one incremental step at 32 gold calls. CPU seconds, the best of several runs, because
a busy machine only ever adds.
"""

from __future__ import annotations

import json
import platform
import random
import time
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np

from tir_gym.matching import (
    IncrementalAssignment,
    Matcher,
    hard,
    hard_batch,
    similarity_batch,
    similarity_matrix,
    soft_batch,
)

PROBLEMS, PREDICTED, GOLD = 1000, 16, 8
VALUES = ["castle", "Seattle Port", "2020-01-01", 7.5, -2, True, None, ["a", "b"]]


def main() -> None:
    print(
        f"tir-gym {version('tir-gym')}, numpy {np.__version__}, scipy {version('scipy')}, {platform.python_version()}"
    )
    rng = random.Random(0)
    for tools in (8, 4, 1):
        _hard(rng, tools)
    problems = [_problem(rng, GOLD) for _ in range(PROBLEMS)]
    matrices = [similarity_matrix(predicted, gold) for predicted, gold in problems]
    soft_seconds = best_of(5, lambda: soft_batch(matrices))
    print(f"soft: {PROBLEMS / soft_seconds:,.0f} trajectories/s")
    _against_pot(matrices, soft_seconds)
    _incremental(rng)


def best_of(runs: int, work: Callable[[], Any]) -> float:
    """CPU seconds of the quickest run."""
    found = []
    for _ in range(runs):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def _call(rng: random.Random, tools: int) -> dict[str, Any]:
    keys = rng.sample([f"p{n}" for n in range(6)], rng.randint(0, 4))
    return {"name": f"tool_{rng.randrange(tools)}", "arguments": {key: rng.choice(VALUES) for key in keys}}


def _problem(rng: random.Random, tools: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Gold calls, and predicted ones of which half are gold calls with some values changed."""
    gold = [_call(rng, tools) for _ in range(GOLD)]
    predicted = []
    for _ in range(PREDICTED):
        call = rng.choice(gold) if rng.random() < 0.5 else _call(rng, tools)
        changed = {key: rng.choice(VALUES) if rng.random() < 0.3 else value for key, value in call["arguments"].items()}
        predicted.append({"name": call["name"], "arguments": changed})
    return predicted, gold


def _hard(rng: random.Random, tools: int) -> None:
    problems = [_problem(rng, tools) for _ in range(PROBLEMS)]
    predicted, gold = [p for p, _ in problems], [g for _, g in problems]
    texts = [[{**call, "arguments": json.dumps(call["arguments"])} for call in p] for p in predicted]
    few = PROBLEMS // 5  # enough for the slow ones
    contenders: dict[str, tuple[int, Callable[[], Any]]] = {
        "together": (PROBLEMS, lambda: hard_batch(similarity_batch(predicted, gold))),
        "one by one": (PROBLEMS, lambda: [hard(similarity_matrix(p, g)) for p, g in problems]),
        "pair by pair, greedy": (few, lambda: [_greedy(_scores(p, g)) for p, g in problems[:few]]),
        "as the reference design": (
            few,
            lambda: [_greedy(_reference_scores(p, g)) for p, g in zip(texts[:few], gold[:few], strict=True)],
        ),
    }
    rates = dict.fromkeys(contenders, 0.0)
    for _ in range(12):  # in turns, so that a slow spell of the machine is nobody's alone
        for name, (number, work) in contenders.items():
            rates[name] = max(rates[name], number / best_of(1, work))
    print(f"hard with similarity, {tools} tool(s), trajectories/s:")
    for name, rate in rates.items():
        print(f"  {name:24}{rate:8,.0f}   together is {rates['together'] / rate:4.1f} x as fast")
    best = hard_batch(similarity_batch(predicted, gold))
    short = sum(found.total - _greedy(_scores(*problem)) > 1e-9 for found, problem in zip(best, problems, strict=True))
    print(f"  greedy falls short of the optimum in {short} of {PROBLEMS} problems")


def _scores(predicted: list[dict[str, Any]], gold: list[dict[str, Any]]) -> list[tuple[float, int, int]]:
    """The formula pair by pair, with Python's `==`."""
    pairs = []
    for i, p in enumerate(predicted):
        for j, g in enumerate(gold):
            if p["name"] == g["name"]:
                names_p, names_g = set(p["arguments"]), set(g["arguments"])
                union = names_p | names_g
                equal = sum(p["arguments"].get(key) == value for key, value in g["arguments"].items())
                share = len(names_p & names_g) / len(union) if union else 1.0
                pairs.append(((1 + share + equal) / (2 + len(names_g)), i, j))
    return pairs


def _reference_scores(predicted: list[dict[str, Any]], gold: list[dict[str, Any]]) -> list[tuple[float, int, int]]:
    """What the published code of MatchTIR computes: arguments are text, read again for each pair of the same name,
    compared in case-folded names and by the overlap of multisets; and every pair is ranked, whatever its score."""
    pairs = []
    for i, p in enumerate(predicted):
        for j, g in enumerate(gold):
            score = 0.0
            if p["name"].lower() == g["name"].lower():
                ours, theirs = json.loads(p["arguments"]), g["arguments"]
                names_p, names_g = Counter(ours.keys()), Counter(theirs.keys())
                share = 1.0
                if names_p != names_g:
                    share = (names_p & names_g).total() / (names_p | names_g).total()
                equal = sum(key in ours and ours[key] == value for key, value in theirs.items())
                score = (1 + share + equal) / (2 + len(theirs))
            pairs.append((score, i, j))
    return pairs


def _greedy(pairs: list[tuple[float, int, int]]) -> float:
    """The best pairs first: half of the optimum at worst."""
    total, rows, columns = 0.0, set(), set()
    for score, i, j in sorted(pairs, key=lambda pair: -pair[0]):
        if score > 0.0 and i not in rows and j not in columns:
            rows.add(i)
            columns.add(j)
            total += score
    return total


def _against_pot(matrices: list[np.ndarray], ours: float) -> None:
    try:
        import ot
    except ImportError:
        print("  POT is not installed; pip install pot compares with it")
        return
    import warnings

    def sinkhorn() -> list[np.ndarray]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns where 1,000 iterations do not suffice
            return [
                ot.sinkhorn(np.full(len(m), 1 / len(m)), np.full(m.shape[1], 1 / m.shape[1]), -m, reg=0.1)
                for m in matrices
            ]

    start = time.process_time()
    plans = sinkhorn()
    seconds = time.process_time() - start
    gaps = [np.abs(plan - found.plan).max() for plan, found in zip(plans, soft_batch(matrices), strict=True)]
    print(f"  POT {version('pot')} per problem: {PROBLEMS / seconds:,.0f} trajectories/s; ours {seconds / ours:.0f} x")
    print(f"  plans differ by at most {max(gaps):.1e}; by more than 1e-6 in {sum(gap > 1e-6 for gap in gaps)}")


def _incremental(rng: random.Random) -> None:
    gold = [_call(rng, 8) for _ in range(32)]
    calls = [rng.choice(gold) if rng.random() < 0.5 else _call(rng, 8) for _ in range(48)]
    rows = np.random.default_rng(0).random((48, 32)).tolist()

    def sparse() -> None:
        matcher = Matcher(gold)
        for call in calls:
            matcher.add([call])

    def dense() -> None:
        assignment = IncrementalAssignment(32)
        for row in rows:
            assignment.add(row)

    print(f"incremental step, 32 gold calls: {best_of(9, sparse) / 48 * 1e6:.0f} us; all pairs rivals: ", end="")
    print(f"{best_of(9, dense) / 48 * 1e6:.0f} us")


if __name__ == "__main__":
    main()
