"""A recorded episode under another reward: nothing is played again, and no tool runs but the gold's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tir_gym.env import ToolEnv
from tir_gym.records import Trace
from tir_gym.rewards import Credit, RewardSpec, TurnEvent, get_reward, outcome


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
    prepared = env.prepare(trace.provenance.task_id)
    task = prepared.task
    credit = Credit(spec, prepared.sides, teacher_forced=task.teacher_forced)
    ended = trace.ending is not None and trace.infra_error is None
    turns, stage, paid = [], 0, None
    for number, turn in enumerate(trace.turns):
        last = ended and number == len(trace.turns) - 1
        if last and trace.terminated:
            paid = outcome(spec.outcome_by, trace.checks, task.gold.checks, turn.text)
        seconds = turn_seconds[number] if number < len(turn_seconds) else 0.0
        event = TurnEvent.of(number, turn, limit=task.limits.max_calls_per_turn, stage=stage, seconds=seconds)
        match = credit.turn(event, last=last, outcome=paid)
        turns.append(turn.model_copy(update={"reward": match.reward, "parts": match.parts}))
        stage += sum(message["role"] == "user" for message in turn.observation)
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
