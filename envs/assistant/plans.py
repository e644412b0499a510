"""What kinds of parts a task is put together from.

Whether the parts fit together shows while they are drawn: what does not fit raises `Infeasible`.
"""

from __future__ import annotations

from typing import TypeAlias

from tir_gym.envs.assistant.acts import ACTS, ASKABLE, FRESH_ACTS
from tir_gym.envs.assistant.draft import Draft
from tir_gym.envs.assistant.refusals import REFUSALS, no_tool
from tir_gym.envs.assistant.sessions import OPENINGS, close_account, log_out, register, switch_user
from tir_gym.envs.writing.request import Plan, Request

_Request: TypeAlias = Request[Draft]


def _acts(d: Draft, request: _Request) -> None:
    for act in d.rng.sample(ACTS, d.rng.choices((1, 2, 3, 4), (30, 35, 25, 10))[0]):
        request.add(act)


def _question(d: Draft, request: _Request) -> None:
    for act in d.rng.sample(ACTS, d.rng.choices((0, 1, 2), (50, 30, 20))[0]):
        request.add(act)
    request.add_question()


def _gap(d: Draft, request: _Request) -> None:
    for act in d.rng.sample(ACTS, d.rng.choices((0, 1, 2), (30, 40, 30))[0]):
        request.add(act)
    request.add_with_gap(d.rng.choice(ASKABLE))


def _refusal(d: Draft, request: _Request) -> None:
    request.add(d.rng.choice(REFUSALS))


def _no_tool(d: Draft, request: _Request) -> None:
    request.add(no_tool)


def _session(d: Draft, request: _Request) -> None:
    opening = d.rng.choice(OPENINGS)
    request.add(opening)
    acts = FRESH_ACTS if opening is register else ACTS
    for act in d.rng.sample(acts, d.rng.choice((1, 1, 2))):
        request.add(act)
    if d.rng.random() < 0.3:
        request.add(log_out)


def _leaving(d: Draft, request: _Request) -> None:
    for act in d.rng.sample(ACTS, d.rng.choice((1, 2))):
        request.add(act)
    ending = d.rng.choice((log_out, close_account, switch_user))
    request.add(ending)
    if ending is switch_user:
        request.add(d.rng.choice(ACTS))


PLANS: tuple[Plan[Draft], ...] = (
    Plan("acts", 0.38, _acts),
    Plan("question", 0.24, _question),
    Plan("gap", 0.14, _gap),
    Plan("refusal", 0.07, _refusal),
    Plan("no tool", 0.02, _no_tool),
    Plan("session", 0.09, _session, logged_in=False),
    Plan("leaving", 0.06, _leaving),
)
