"""What each estimator's gradient is on average, against the exact policy gradient of `process.py`.

A group of rollouts gives the gradient (1/G) sum_i sum_t A_{i,t} grad log pi(a_{i,t} | s_{i,t}). Its expectation is
taken twice: over every group that there can be, weighted by its probability, which is exact; and over groups drawn at
random, which checks it. How a loss averages over tokens is not part of this, and has biases of its own.

    python benchmarks/advantages.py --bias
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tir_gym.advantages.process import ACTIONS, LOGITS, STATES, Floats, Process
from tir_gym.advantages.registry import Estimator, get_estimator
from tir_gym.advantages.samples import (
    Sample,
    drawn_forked_groups,
    drawn_groups,
    every_forked_group,
    every_group,
)

GROUP = 4
"""Rollouts in a group."""
GROUPS = 200_000
"""Groups drawn to check an expectation."""
SEED = 1
"""Seed of those draws."""


@dataclass(frozen=True)
class Case:
    """An estimator with its options, and what it says it estimates."""

    estimator: str | Estimator
    """By name, or the function itself."""
    options: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    """What it needs besides rewards, mask and group ids: argument -> the attribute of `Sample` that it gets."""
    claim: str = ""
    """The quantity that it estimates without bias, in words; empty if it claims none."""
    target: Callable[[Process], Floats] | None = None
    """That quantity, exactly."""
    note: str = ""
    """What the options do not say."""
    forked: bool = False

    @property
    def name(self) -> str:
        options = ", ".join(f"{name}={value}" for name, value in self.options.items())
        name = self.estimator if isinstance(self.estimator, str) else getattr(self.estimator, "__name__", "estimator")
        return f"`{name}`" + "".join(f", {part}" for part in (options, self.note) if part)

    def advantages(self, sample: Sample) -> Floats:
        """`[K * G, T]`."""
        inputs = {argument: getattr(sample, attribute) for argument, attribute in self.inputs.items()}
        estimate = get_estimator(self.estimator) if isinstance(self.estimator, str) else self.estimator
        found: Floats = estimate(sample.turn_rewards, sample.group_ids, mask=sample.mask, **inputs, **self.options)
        return found


@dataclass(frozen=True)
class Measured:
    """What an estimator's gradient is on average."""

    case: Case
    expected: Floats
    """`[parameters]`: its expectation, over every group."""
    along: float
    """Its component along grad E[R], in lengths of grad E[R]: 1 for an unbiased estimator."""
    angle: float
    """Degrees between it and grad E[R]."""
    stopping: float
    """How much of it, brought to length 1 along grad E[R], pushes wrongly at the logits of `answer` in all states
    together, in lengths of grad E[R]: above 0 it makes the policy stop sooner than it should, below 0 later."""
    noise: float
    """How far one group's gradient lies from the expectation (root mean square), at the same scale."""


def measure(case: Case, process: Process | None = None, size: int = GROUP) -> Measured:
    """The exact expectation of an estimator's gradient over groups of that size, by enumeration."""
    process = process or Process(LOGITS)
    sample = every_forked_group(process) if case.forked else every_group(process, size)
    gradients = sample.gradients(case.advantages(sample))
    expected = sample.weight @ gradients
    exact = process.gradient()
    along = float(expected @ exact / (exact @ exact))
    cosine = float(expected @ exact / np.sqrt((expected @ expected) * (exact @ exact)))
    wrong = (expected / along - exact).reshape(len(STATES), len(ACTIONS))[:, ACTIONS.index("answer")]
    stopping = float(wrong.sum() / np.sqrt(len(STATES)) / np.sqrt(exact @ exact))
    angle = float(np.degrees(np.arccos(min(1.0, cosine))))
    spread = sample.weight @ ((gradients - expected) ** 2).sum(axis=1)
    return Measured(case, expected, along, angle, stopping, float(np.sqrt(spread / (exact @ exact)) / along))


def monte_carlo(
    case: Case, groups: int, seed: int = 0, process: Process | None = None, size: int = GROUP
) -> tuple[Floats, Floats]:
    """Mean and standard error `[parameters]` of an estimator's gradient over groups drawn at random."""
    process = process or Process(LOGITS)
    sample = drawn_forked_groups(process, groups, seed) if case.forked else drawn_groups(process, groups, size, seed)
    gradients = sample.gradients(case.advantages(sample))
    return gradients.mean(axis=0), gradients.std(axis=0, ddof=1) / np.sqrt(groups)


def deviation(mean: Floats, error: Floats, target: Floats) -> float:
    """The largest distance of a component from its target, in standard errors; a component that is always 0 has
    neither."""
    return float((np.abs(mean - target)[error > 0] / error[error > 0]).max())


def _policy_gradient(process: Process) -> Floats:
    return process.gradient()


_FORKS = {"parents": "parents", "forked_at": "forked_at"}

CASES = (
    Case("rloo", {}, claim="grad E[R]", target=_policy_gradient),
    Case("dr_grpo", {}, claim="(1 - 1/G) grad E[R]", target=lambda process: (1 - 1 / GROUP) * process.gradient()),
    Case("dual_loo", {"gamma": 1.0}, claim="2 grad E[R]", target=lambda process: 2 * process.gradient()),
    Case("dual_loo", {"gamma": 1.0, "combine": "mean"}, claim="grad E[R]", target=_policy_gradient),
    Case(
        "dual_loo",
        {"gamma": 0.9},
        claim="grad E[R] + its discounted kin",
        target=lambda process: process.gradient() + process.gradient(0.9),
    ),
    Case("dual_loo", {"gamma": 1.0, "singleton": "zero"}),
    Case(
        "steps_gae",
        {"lam": 1.0},
        {"values": "coarse_values"},
        claim="grad E[R]",
        target=_policy_gradient,
        note="a coarse critic",
    ),
    Case(
        "steps_gae",
        {"lam": 0.95},
        {"values": "values"},
        claim="grad E[R]",
        target=_policy_gradient,
        note="an exact critic",
    ),
    Case("steps_gae", {"lam": 0.95}, {"values": "coarse_values"}, note="a coarse critic"),
    Case("grpo", {}),
    Case("turn", {}),
    Case("turn", {"singleton": "zero"}),
    Case("turn", {"gamma": 1.0}),
    Case("dual", {}),
    Case("dual", {"singleton": "zero"}),
    Case("dual", {"gamma": 1.0}),
    Case("mt_grpo", {}),
    Case("gtpo", {}),
    Case("gigpo", {}, {"state_keys": "state_keys"}),
    Case("tree", {}, _FORKS, forked=True),
    Case("tree", {"baseline": "root"}, _FORKS, forked=True),
    Case("tool_tokens", {}, {"call_mask": "call_mask"}),
)
"""Every estimator: those that claim to be unbiased first."""


def markdown(cases: Sequence[Case] = CASES, groups: int = GROUPS, seed: int = SEED) -> str:
    """The biases as a Markdown table, one row per case.

    The last column is the largest distance of a gradient component, averaged over `groups` drawn groups, from what the
    case claims to estimate, or else from its own exact expectation; in standard errors.
    """
    process = Process(LOGITS)
    lines = [
        "| estimator | unbiased for | along | angle | stopping | noise | drawn |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for case in cases:
        found = measure(case, process)
        target = found.expected if case.target is None else case.target(process)
        drawn = deviation(*monte_carlo(case, groups, seed, process), target)
        numbers = (found.along, found.angle, found.stopping, found.noise, drawn)
        cells = (f"{number:.3f}".replace("-0.000", "0.000") for number in numbers)
        lines.append(f"| {case.name} | {case.claim or '-'} | {' | '.join(cells)} |")
    return "\n".join(lines)
