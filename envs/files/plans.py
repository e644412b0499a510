"""What kinds of parts a task is put together from.

Whether the parts fit together shows while they are drawn: what does not fit raises `Infeasible`.
"""

from __future__ import annotations

from typing import TypeAlias

from tir_gym.envs.files.acts import ACTS, ASKABLE, Act
from tir_gym.envs.files.draft import Draft
from tir_gym.envs.files.refusals import REFUSALS, no_tool
from tir_gym.envs.writing.request import Plan, Request

_Request: TypeAlias = Request[Draft]


def _acts(d: Draft, request: _Request) -> None:
    for act in _some(d, (0, 20, 45, 35)):
        request.add(act)


def _question(d: Draft, request: _Request) -> None:
    for act in _some(d, (40, 35, 25)):
        request.add(act)
    request.add_question()


def _gap(d: Draft, request: _Request) -> None:
    for act in _some(d, (25, 40, 35)):
        request.add(act)
    request.add_with_gap(d.rng.choice(ASKABLE))


def _refusal(d: Draft, request: _Request) -> None:
    request.add(d.rng.choice(REFUSALS))


def _no_tool(d: Draft, request: _Request) -> None:
    request.add(no_tool)


def _some(d: Draft, weights: tuple[int, ...]) -> list[Act]:
    """Acts, each once; as many as the position of the weight that is drawn."""
    count = d.rng.choices(range(len(weights)), weights)[0]
    acts = dict.fromkeys(d.rng.sample(ACTS, len(ACTS)))
    return list(acts)[:count]


PLANS: tuple[Plan[Draft], ...] = (
    Plan("acts", 0.46, _acts),
    Plan("question", 0.32, _question),
    Plan("gap", 0.13, _gap),
    Plan("refusal", 0.07, _refusal),
    Plan("no tool", 0.02, _no_tool),
)
