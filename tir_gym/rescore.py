"""A recorded episode under another reward, or explained under its own: nothing is played again, and no tool runs but
the gold's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from typing import Any

from tir_gym.env import ToolEnv
from tir_gym.prepared import PreparedTask
from tir_gym.records import Task, ToolCall, Trace
from tir_gym.rewards import Credit, Match, RewardSpec, TurnEvent, get_reward, outcome


def rescore(
    trace: Trace,
    env: ToolEnv,
    reward: str | Mapping[str, Any] | RewardSpec,
    *,
    turn_seconds: Sequence[float] = (),
) -> Trace:
    """The trace as it would have been paid under `reward`.

    The actions are taken as they are: an agent that is trained or prompted by another reward would act otherwise.

    Args:
        trace: A finished episode.
        env: An environment of the id that recorded it; its own reward does not matter.
        reward: Preset, spec or its fields.
        turn_seconds: Wall-clock seconds of each turn, for a spec that prices them; 0 where absent.

    Raises:
        UsageError: No such reward, or the environment has no such task.
    """
    spec = get_reward(reward)
    prepared = _prepared(trace, env)
    credit, matches, paid = _paid(trace, prepared, spec, turn_seconds)
    ended = trace.ending is not None and trace.infra_error is None
    turns = [
        turn.model_copy(update={"reward": match.reward, "parts": match.parts})
        for turn, match in zip(trace.turns, matches, strict=True)
    ]
    kwargs = {**trace.provenance.env_kwargs, "reward": spec.model_dump()}
    return trace.model_copy(
        update={
            "provenance": trace.provenance.model_copy(update={"env_kwargs": kwargs}),
            "turns": tuple(turns),
            "matches": credit.matches(),
            "gold_calls": credit.gold_calls,
            "turn_rewards": credit.hindsight(len(turns), paid) if ended else (),
        }
    )


@dataclass(frozen=True)
class Explained:
    """Why each turn of a recorded episode was paid as it was."""

    matches: tuple[Match, ...]
    """One per turn; a turn that the infrastructure cut short has none."""
    golds: Mapping[int, tuple[ToolCall, ...]]
    """The gold calls, references resolved, by `Match.trace`: 0 the main gold trace, then its alternatives. Those that
    were matched best after some turn, and the main one."""


def explain(trace: Trace, env: ToolEnv, *, turn_seconds: Sequence[float] = ()) -> Explained | None:
    """Why each turn was paid as it was, by the reward under which the episode was played.

    Args:
        trace: An episode.
        env: An environment of the id that recorded it; its own reward does not matter.
        turn_seconds: As for `rescore`.

    Returns:
        `None` where the turns are paid otherwise here than they were, because the tasks or the reward have changed.

    Raises:
        UsageError: The environment has no such task.
    """
    prepared = _prepared(trace, env)
    spec = get_reward(trace.provenance.env_kwargs.get("reward", "default"))
    _, matches, _ = _paid(trace, prepared, spec, turn_seconds)
    if trace.infra_error is not None and matches and matches[-1].reward != trace.turns[-1].reward:
        matches.pop()
    paid = zip(trace.turns, matches, strict=False)
    if not all(isclose(turn.reward, match.reward, abs_tol=1e-9) for turn, match in paid):
        return None
    traces = sorted({0, *(match.trace for match in matches)})
    return Explained(tuple(matches), {number: prepared.sides[number].gold.calls for number in traces})


def _prepared(trace: Trace, env: ToolEnv) -> PreparedTask:
    """The episode's task: by its id, or the whole one that the environment was given."""
    given = trace.provenance.env_kwargs.get("task")
    if isinstance(given, dict) and given.get("id") == trace.provenance.task_id:
        return env.prepare(Task.model_validate(given))
    return env.prepare(trace.provenance.task_id)


def _paid(
    trace: Trace, prepared: PreparedTask, spec: RewardSpec, turn_seconds: Sequence[float]
) -> tuple[Credit, list[Match], float | None]:
    """The credit at the episode's end, how each turn is paid, and the outcome of its final answer."""
    task = prepared.task
    credit = Credit(spec, prepared.sides, teacher_forced=task.teacher_forced)
    ended = trace.ending is not None and trace.infra_error is None
    matches: list[Match] = []
    stage, paid = 0, None
    for number, turn in enumerate(trace.turns):
        last = ended and number == len(trace.turns) - 1
        if last and trace.terminated:
            paid = outcome(spec.outcome_by, trace.checks, task.gold.checks, turn.text)
        seconds = turn_seconds[number] if number < len(turn_seconds) else 0.0
        event = TurnEvent.of(number, turn, limit=task.limits.max_calls_per_turn, stage=stage, seconds=seconds)
        matches.append(credit.turn(event, last=last, outcome=paid))
        stage += sum(message.get("role") == "user" for message in turn.observation)
    return credit, matches, paid
