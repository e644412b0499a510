"""From finished rollouts to rows of tokens: which are learned from, and with which advantage."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra 'train' is not installed: pip install 'tir-gym[train]'")
pytest.importorskip("transformers", reason="the extra 'train' is not installed: pip install 'tir-gym[train]'")

from tir_gym.advantages import dual  # noqa: E402
from tir_gym.agents.grpo import load_config  # noqa: E402
from tir_gym.agents.grpo.grpo import Curriculum, prepare, refuse_nothing_to_learn_from  # noqa: E402
from tir_gym.agents.grpo.loss import policy_loss  # noqa: E402
from tir_gym.errors import InfrastructureError, UsageError  # noqa: E402
from tir_gym.making import make_env  # noqa: E402
from tir_gym.rollout import Context, Finished, Recording, Request  # noqa: E402


def finished(group, rewards, *, ending="answer", finish="stop", broken=False, **lineage):
    """A rollout whose turns were paid so: two tokens of prompt, three sampled, one of a tool between turns."""
    recording = Recording(f"task {group}", group)
    for number, reward in enumerate(rewards):
        context = np.array([1, 2] if number == 0 else [3], dtype=np.int32)
        recording.extend(Context(context, begins=number == 0))
        recording.add([10 + number, 20, 30], [-1.0, -2.0, -0.5], reward=reward, finish=finish)
    error = {"kind": "sandbox_died", "tool": None, "message": "gone"} if broken else None
    trajectory = recording.finish(
        success=None if broken else True,
        ending="infra_error" if broken else ending,
        truncated=ending != "answer",
        infra_error=error,
        **lineage,
    )
    return Finished(request=Request(group_id=group), trajectory=trajectory, trace=None)


def config_of(*overrides):
    return load_config(overrides=list(overrides))


def advantage_of(row):
    """Of each sampled turn, its advantage, the same at all its tokens."""
    found = []
    for turn in range(int(row.turn.max()) + 1):
        values = set(row.advantages[row.turn == turn].tolist())
        assert len(values) == 1
        found += values
    return found


def test_advantages_of_turns_stand_at_the_tokens_of_turns():
    rewards = [[1.0, 0.0], [0.0, 0.5], [0.5]]
    rows, figures = prepare([finished("a", one) for one in rewards], config_of(), 0)
    expected = dual(rewards, ["a"] * 3, gamma=0.9, combine="mean", singleton="zero")
    for row, values in zip(rows, expected, strict=True):
        assert np.allclose(advantage_of(row), values, atol=1e-6)
        assert row.sampled == 3 * len(values)
        assert (row.advantages[~row.mask] == 0).all()
        assert np.allclose(row.logprobs[row.mask], [-1.0, -2.0, -0.5] * len(values))
    assert rows[0].ids.tolist() == [1, 2, 10, 20, 30, 3, 11, 20, 30]
    assert figures["groups_used"] == 1.0
    assert figures["length"] == 5.0


def test_groups_that_say_nothing_are_left_out_unless_wanted():
    even = [finished("even", [0.5, 0.5]) for _ in range(3)]
    spread = [finished("spread", [reward]) for reward in (0.0, 1.0)]
    rows, figures = prepare(even + spread, config_of(), 0)
    assert len(rows) == 2
    assert figures["groups_used"] == 0.5
    rows, figures = prepare(even + spread, config_of("filter.zero_spread=false"), 0)
    assert len(rows) == 5
    assert figures["groups_used"] == 1.0


def test_what_broke_counts_nowhere_and_what_is_masked_counts_in_statistics_only():
    good, bad = finished("a", [1.0]), finished("a", [0.0])
    alone, _ = prepare([good, bad], config_of(), 0)
    rows, figures = prepare(
        [good, bad, finished("a", [9.0], broken=True), finished("a", [], broken=True)], config_of(), 0
    )
    assert [advantage_of(row) for row in rows] == [advantage_of(row) for row in alone]
    assert figures["infra_failures"] == 0.5

    late, long = finished("a", [0.4], ending="max_turns"), finished("a", [0.4], finish="length")
    everything, _ = prepare([good, bad, late, long], config_of(), 0)
    assert len(everything) == 4
    masked, figures = prepare([good, bad, late, long], config_of("filter.over_turns=mask", "filter.over_long=mask"), 0)
    assert [advantage_of(row) for row in masked] == [advantage_of(row) for row in everything[:2]]
    assert (figures["over_turns"], figures["over_long"]) == (0.25, 0.25)


def test_turns_that_a_fork_shares_are_learned_from_once():
    rollouts = [
        finished("a", [0.0, 1.0], rollout="0"),
        finished("a", [0.0, 0.0], rollout="0.0", parent="0", forked_at=1),
        finished("a", [0.5], rollout="1"),
    ]
    rows, _ = prepare(rollouts, config_of("advantage.estimator=tree"), 0)
    assert [row.sampled for row in rows] == [6, 3, 3]
    assert rows[1].ids[rows[1].mask].tolist() == [11, 20, 30]
    assert rows[0].advantages[rows[0].turn == 1][0] > 0 > rows[1].advantages[rows[1].turn == 1][0]


def test_turns_that_answer_the_same_are_compared_by_gigpo():
    rollouts = [finished("a", rewards) for rewards in ([0.0, 1.0], [0.0, 0.0])]
    rows, _ = prepare(rollouts, config_of("advantage.estimator=gigpo", "advantage.options={weight=1.0}"), 0)
    assert advantage_of(rows[0])[1] > 0 > advantage_of(rows[1])[1]


def test_a_step_uphill_raises_what_was_good():
    """The sign of it all: the gradient of the loss lowers bad tokens and raises good ones."""
    rows, _ = prepare([finished("a", [1.0]), finished("a", [0.0])], config_of(), 0)
    for row, sign in zip(rows, (-1, 1), strict=True):
        leaf = torch.tensor(row.logprobs, requires_grad=True)
        old, advantages = torch.tensor(row.logprobs), torch.tensor(row.advantages)
        loss, _ = policy_loss(leaf, old, advantages, torch.tensor(row.mask, dtype=torch.float32), config_of().loss)
        loss.backward()
        assert (torch.sign(leaf.grad)[row.mask] == sign).all()


def test_the_data_order_depends_on_seed_and_step_alone():
    def curriculum(*overrides):
        return Curriculum(config_of("rollout.prompts=3", "rollout.group=2", *overrides), make_env("tir_gym/Lookup-v0"))

    endless = [task for step in range(5) for task, _ in curriculum().tasks(step)]
    assert len(set(endless)) == 15
    assert curriculum().tasks(3) == curriculum().tasks(3)
    assert curriculum().tasks(0) != curriculum("seed=1").tasks(0)
    few = curriculum("rollout.tasks=4")
    plays = [play for step in range(4) for play in few.tasks(step)]
    assert len(set(plays)) == 12
    assert {visit for _, visit in plays} == {0, 1, 2}
    assert {task for task, visit in plays if visit == 1} == {task for task, visit in plays if visit == 0}
    # Processes share a step's groups; each rollout has a seed of its own, whoever samples it.
    shares = [curriculum().requests(7, rank, 2) for rank in (0, 1)]
    alone = curriculum().requests(7, 0, 1)
    assert sorted(r.sampling_seed for share in shares for r in share) == sorted(r.sampling_seed for r in alone)
    assert len({r.sampling_seed for r in alone}) == len(alone) == 6
    assert not {r.group_id for r in shares[0]} & {r.group_id for r in shares[1]}


def test_a_step_without_anything_to_learn_from_says_why():
    broken, fine, empty = finished("a", [], broken=True), finished("a", [1.0]), finished("a", [], ending="max_tokens")
    refuse_nothing_to_learn_from([broken, fine, empty], 64)
    with pytest.raises(InfrastructureError, match="all 2 rollouts of a step broke; the first: gone"):
        refuse_nothing_to_learn_from([broken, broken], 64)
    with pytest.raises(UsageError, match=r"rollout\.context=64"):
        refuse_nothing_to_learn_from([broken, empty], 64)
