"""Rollouts that fork share their first turns, and so make a tree: each turn against its parent, or against the root."""

from __future__ import annotations

from typing import Literal, Unpack

from tir_gym.advantages.arrays import Array
from tir_gym.advantages.batch import Batch, Masks, Rollouts, Turns
from tir_gym.advantages.groups import Groups, Scale, Singleton
from tir_gym.errors import UsageError


def tree(
    turn_rewards: Turns,
    group_ids: Rollouts,
    baseline: Literal["parent", "root", "none"] = "parent",
    scale: Literal["none", "std"] = "std",
    ddof: int = 1,
    singleton: Singleton = "raw",
    *,
    parents: Rollouts,
    forked_at: Rollouts,
    **masks: Unpack[Masks],
) -> Turns:
    """Value of a turn's node less that of its parent, in the tree that forked rollouts make.

        V(leaf) = (R - mean R) / (std R + 1e-6)  over the group's rollouts      V(node) = mean of V over its children
        A(node) = V(node) - V(parent)   |   V(node) - V(root)   |   V(node)

    Credit by tree, as in AT2PO (arXiv 2601.04767), which found V(node) itself best and weights children by entropy;
    here they weigh alike, as draws of one policy should. V(root) is the mean of V over the group's first turns.

    A turn that rollouts share has one value, and the same advantage in each of them. With `parent`, a turn that is its
    parent's only child gets 0: nothing was compared there, so only forks teach.

    Biased: by that; by the own subtree in the parent's value, a factor (c - 1) / c with c children; by the deviation,
    under `std`; and, as any estimator, when forks are placed by looking at how rollouts went on.

    Args:
        turn_rewards: Reward per turn, see `Batch`; a fork's rewards begin with those of the turns that it shares.
        group_ids: `[N]`, which rollouts are compared; a fork is in the group of its parent.
        baseline: What is taken off: the value of the `parent`, of the `root`, or `none`.
        scale: Whether leaves are divided by the group's standard deviation or only centred.
        ddof: 1 for the sample's standard deviation, 0 for the population's.
        singleton: For a group of one rollout: `raw`, its return; `zero`, nothing.
        parents: `[N]`: the rollout, by position, that each was forked from; its own position or -1 if from none.
        forked_at: `[N]`: how many turns had been played then, which are shared; 0 for a rollout that is no fork.
        masks: See `Masks`.

    Returns:
        One advantage per turn, in the form of `turn_rewards`.

    Raises:
        UsageError: Arguments do not fit together, forks go round in a circle or out of their group, or the rewards of
            a shared turn differ.
    """
    if baseline not in ("parent", "root", "none"):
        raise UsageError(f"baseline must be 'parent', 'root' or 'none', got {baseline!r}")
    if scale not in ("none", "std"):
        raise UsageError(f"scale must be 'none' or 'std', got {scale!r}")
    by: Scale = scale
    batch = Batch(turn_rewards, group_ids, **masks)
    owner = _owners(batch, parents, forked_at)
    leaf = batch.by_rollout.compare(batch.totals, by, ddof=ddof, singleton=singleton)
    rollouts, turns = batch.shape
    node = owner * turns + batch.arrays.upto(turns)
    shared = Groups(batch.arrays, node, rollouts * turns, batch.exists)

    # From the leaves up. A node that several rows run through counts once: each of them brings its share.
    value = [leaf]
    for t in reversed(range(turns - 1)):
        goes_on = batch.exists[:, t + 1]
        share = batch.xp.where(goes_on, 1.0 / shared.count[:, t + 1], 0.0)
        here = Groups(batch.arrays, node[:, t], rollouts * turns, batch.exists[:, t])
        children = here.mean(batch.xp.where(goes_on, value[-1], 0.0), share)
        value.append(batch.xp.where(here.sum(share) > 0, children, leaf))
    values = batch.xp.stack(value[::-1], 1)
    root = batch.by_rollout.mean(values[:, 0], 1.0 / shared.count[:, 0])[:, None]
    if baseline == "parent":
        values = values - batch.xp.concatenate([root, values[:, :-1]], 1)
    elif baseline == "root":
        values = values - root
    return batch.write(values)


def _owners(batch: Batch, parents: Rollouts, forked_at: Rollouts) -> Array:
    """`[N, T]`: the rollout, by position, that played each turn of each rollout."""
    arrays, xp = batch.arrays, batch.xp
    size, turns = batch.shape
    itself = arrays.upto(size)
    parent = arrays.integers(batch.per_rollout(parents, "parents"))
    shared = arrays.integers(batch.per_rollout(forked_at, "forked_at"))
    parent = xp.where(parent < 0, itself, parent)
    shared = xp.where(parent == itself, 0, shared)
    _refuse(parent >= size, f"parents: rollout {{}} names one that is not among the {size}", parent)
    _refuse(
        batch.group[xp.where(parent < size, parent, 0)] != batch.group,
        "parents: rollout {} names one of another group",
        parent,
    )
    length = batch.exists.sum(1)
    _refuse(
        (shared < 0) | ((shared > length) & (length > 0)),
        "forked_at: rollout {} cannot share more turns than it has, or fewer than none",
        shared,
    )
    owner = itself[:, None] + xp.zeros_like(batch.exists)
    position = arrays.upto(turns)
    # One round per generation of forks.
    for _ in range(size + 1):
        inherited = position < shared[owner]
        if not bool(inherited.any()):
            break
        owner = xp.where(inherited, parent[owner], owner)
    else:
        raise UsageError("parents: forks go round in a circle; a rollout is forked from an earlier one")
    both = batch.exists & batch.exists[owner, position]
    differ = both & (batch.rewards[owner, position] != batch.rewards)
    _refuse(
        differ.any(1), "turn_rewards: rollout {} does not have the rewards of the turns that it shares, see forked_at"
    )
    return owner


def _refuse(bad: Array, text: str, values: Array | None = None) -> None:
    if bool(bad.any()):
        first = int(bad.nonzero()[0][0])
        got = "" if values is None else f", got {int(values[first])}"
        raise UsageError(text.format(first) + got)
