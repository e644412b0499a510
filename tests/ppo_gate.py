"""`make test-ppo`: what masks are worth. The same algorithm for 20,000 actions, with masks and without, on tasks of one
to three dependent look-ups, then on held-out ones. Not part of `make test`: it learns for a minute or two."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tir_gym.agents.ppo.agent import PPOAgent
from tir_gym.agents.ppo.training import PPOConfig, Progress, train
from tir_gym.episode import play_episode
from tir_gym.making import make_env

ENV = "tir_gym/Lookup-v0"
OPTIONS = {"hops": (1, 3), "branches": 1, "distractors": 0}
TASKS = 300


def learned(folder: Path, *, masked: bool) -> tuple[int, int]:
    """Held-out tasks done, and forbidden actions played in training and on them."""
    config = PPOConfig(steps=20_000, masked=masked, slots=8, mentions=8)
    told: list[Progress] = []
    make = partial(make_env, ENV, **OPTIONS)
    train(make, folder, config, env_id=ENV, env_options=OPTIONS, on_progress=told.append)
    env, agent = make_env(ENV, split="test", **OPTIONS), PPOAgent(str(folder))
    played = [play_episode(env, agent, task=task) for task in env.task_ids(TASKS)]
    invalid = sum(one.invalid_actions for one in told) + sum(int(one.usage["invalid_actions"]) for one in played)
    wrong = {"invalid_arguments", "unknown_tool"}
    calls = [result.error_kind for one in played for turn in one.trace.turns for result in turn.results]
    assert not masked or not wrong & set(calls)
    return sum(bool(one.trace.success) for one in played), invalid


def test_masked_beats_unmasked_and_plays_nothing_forbidden(tmp_path: Path) -> None:
    with_masks, forbidden = learned(tmp_path / "masked", masked=True)
    without, played = learned(tmp_path / "unmasked", masked=False)
    print(f"held-out success of {TASKS}: masked {with_masks}, unmasked {without}; forbidden actions unmasked {played}")
    assert forbidden == 0
    assert played > 0
    assert with_masks > without
    # Not by chance: allowed actions at random do 4 tasks of 1,000.
    assert with_masks >= TASKS * 0.2
