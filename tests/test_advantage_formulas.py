"""Every estimator against a slow reference: its formula again, entry by entry, in plain Python."""

import inspect
import statistics
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from advantage_rows import padded, rewards
from hypothesis import given
from hypothesis import strategies as st

from tir_gym.advantages import ESTIMATORS, get_estimator
from tir_gym.errors import UsageError


@pytest.fixture(scope="module")
def torch() -> ModuleType:
    return pytest.importorskip("torch", reason="torch is not installed; tensors are tested where it is")


def mean_std(values: list[float], ddof: int) -> tuple[float, float]:
    if len(values) == 1:
        return 0.0, 1.0
    return statistics.fmean(values), (statistics.stdev if ddof else statistics.pstdev)(values)


def stands_out(value: float, peers: list[float], scale: str, ddof: int, singleton: str) -> float:
    """`peers` holds the value itself."""
    if len(peers) == 1 and singleton == "zero":
        return 0.0
    mean, std = mean_std(peers, ddof)
    if len(peers) > 1 and max(peers) - min(peers) <= 1e-13 * max(map(abs, peers)):
        return 0.0
    if scale == "std":
        return (value - mean) / (std + 1e-6)
    if scale == "leave_one_out" and len(peers) > 1:
        return value - (sum(peers) - value) / (len(peers) - 1)
    return value - mean


class Reference:
    """Rows of rewards, whichever rollouts count, and sums over them by loops."""

    def __init__(self, rows: list[list[float]], ids: list[Any], broken: list[bool]) -> None:
        self.rows, self.ids = rows, ids
        self.counts = [bool(row) and not bad for row, bad in zip(rows, broken, strict=True)]

    def group(self, i: int) -> list[int]:
        return [j for j, id in enumerate(self.ids) if id == self.ids[i] and self.counts[j]]

    def returned(self, i: int, t: int, gamma: float) -> float:
        return sum(gamma ** (k - t) * r for k, r in enumerate(self.rows[i]) if k >= t)

    def table(self, entry: Any) -> list[list[float]]:
        return [[entry(i, t) if self.counts[i] else 0.0 for t in range(len(row))] for i, row in enumerate(self.rows)]

    def total(self, i: int, scale: str, ddof: int, singleton: str) -> float:
        peers = [self.returned(j, 0, 1.0) for j in self.group(i)]
        return stands_out(self.returned(i, 0, 1.0), peers, scale, ddof, singleton)

    def at_turn(self, i: int, t: int, gamma: float, scale: str, ddof: int, singleton: str) -> float:
        peers = [self.returned(j, t, gamma) for j in self.group(i) if len(self.rows[j]) > t]
        return stands_out(self.returned(i, t, gamma), peers, scale, ddof, singleton)

    def estimate(self, name: str, gamma: float, ddof: int, singleton: str, extra: dict[str, Any]) -> list[list[float]]:
        rule = (ddof, singleton)
        if name in ("grpo", "dr_grpo", "rloo"):
            scale = {"grpo": "std", "dr_grpo": "none", "rloo": "leave_one_out"}[name]
            return self.table(lambda i, t: self.total(i, scale, *rule))
        if name == "turn":
            return self.table(lambda i, t: self.at_turn(i, t, gamma, "std", *rule))
        if name in ("dual", "dual_loo"):
            scale = "std" if name == "dual" else "leave_one_out"
            return self.table(lambda i, t: self.total(i, scale, *rule) + self.at_turn(i, t, gamma, scale, *rule))
        if name == "mt_grpo":
            return self.table(lambda i, t: self.mt_grpo(i, t, *rule))
        if name == "gtpo":
            every = {i: self.every(i, gamma) for i in range(len(self.rows)) if self.counts[i]}
            return self.table(lambda i, t: stands_out(self.returned(i, t, gamma), every[i], "std", *rule))
        if name == "gigpo":
            return self.table(lambda i, t: self.gigpo(i, t, gamma, *rule, extra["state_keys"]))
        if name == "steps_gae":
            return self.table(lambda i, t: self.gae(i, t, gamma, extra["values"]))
        assert name == "tool_tokens"
        return self.table(lambda i, t: self.tool(i, t, *rule, extra["call_mask"]))

    def every(self, i: int, gamma: float) -> list[float]:
        return [self.returned(j, k, gamma) for j in self.group(i) for k in range(len(self.rows[j]))]

    def mt_grpo(self, i: int, t: int, ddof: int, singleton: str) -> float:
        outcomes = [self.rows[j][-1] for j in self.group(i)]
        found = stands_out(self.rows[i][-1], outcomes, "std", ddof, singleton)
        if t + 1 < len(self.rows[i]):
            peers = [self.rows[j][t] for j in self.group(i) if len(self.rows[j]) > t + 1]
            found += stands_out(self.rows[i][t], peers, "std", ddof, singleton)
        return found

    def gigpo(self, i: int, t: int, gamma: float, ddof: int, singleton: str, keys: list[list[Any]]) -> float:
        peers = [
            self.returned(j, k, gamma)
            for j in self.group(i)
            for k in range(len(self.rows[j]))
            if keys[j][k] == keys[i][t]
        ]
        step = stands_out(self.returned(i, t, gamma), peers, "none", ddof, singleton)
        return self.total(i, "none", ddof, singleton) + step

    def gae(self, i: int, t: int, gamma: float, values: list[list[float]]) -> float:
        found = 0.0
        for k in range(t, len(self.rows[i])):
            after = values[i][k + 1] if k + 1 < len(self.rows[i]) else 0.0
            found += (gamma * 0.95) ** (k - t) * (self.rows[i][k] + gamma * after - values[i][k])
        return found

    def tool(self, i: int, t: int, ddof: int, singleton: str, calls: list[list[bool]]) -> float:
        found = self.total(i, "std", ddof, singleton)
        if calls[i][t]:
            peers = [self.rows[j][k] for j in self.group(i) for k in range(len(self.rows[j])) if calls[j][k]]
            found += stands_out(self.rows[i][t], peers, "std", ddof, singleton)
        return found


rollouts = st.tuples(
    st.lists(rewards, max_size=5),
    st.sampled_from(["a", "b", "c"]) | st.integers(0, 2),
    st.booleans().filter(bool) | st.just(False) | st.just(False),
)
cases = st.fixed_dictionaries(
    {
        "batch": st.lists(rollouts, max_size=9),
        "gamma": st.sampled_from([0.0, 0.9, 1.0]),
        "ddof": st.sampled_from([0, 1]),
        "singleton": st.sampled_from(["raw", "zero"]),
    }
)
flat = [name for name in ESTIMATORS if name != "tree"]


@pytest.mark.parametrize("name", flat)
@given(case=cases)
def test_lists_give_what_the_formula_says(name: str, case: dict[str, Any]) -> None:
    rows, ids, broken, extra, options = unpack(name, case)
    wanted = Reference(rows, ids, broken).estimate(name, case["gamma"], case["ddof"], case["singleton"], extra)
    found = get_estimator(name)(rows, ids, infra=broken, **extra, **options)
    assert [len(row) for row in found] == [len(row) for row in rows]
    for row, numbers in zip(found, wanted, strict=True):
        # A deviation is divided by std + 1e-6, so rounding shows up to a million times as large.
        assert row == pytest.approx(numbers, abs=1e-7)


@pytest.mark.parametrize("name", flat)
@given(case=cases)
def test_arrays_give_what_lists_give(name: str, case: dict[str, Any]) -> None:
    rows, ids, broken, extra, options = unpack(name, case)
    rewards, mask = padded(rows, np.nan)
    found = get_estimator(name)(
        rewards, ids, mask=mask, infra=np.array(broken, dtype=bool), **as_arrays(name, extra), **options
    )
    wanted, _ = padded(get_estimator(name)(rows, ids, infra=broken, **extra, **options), 0.0)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("name", flat)
@given(case=cases)
def test_tensors_give_what_lists_give(torch: ModuleType, name: str, case: dict[str, Any]) -> None:
    rows, ids, broken, extra, options = unpack(name, case)
    rewards, mask = padded(rows, np.nan)
    given = {key: torch.tensor(value) for key, value in as_arrays(name, extra).items()}
    found = get_estimator(name)(
        torch.tensor(rewards), ids, mask=torch.tensor(mask), infra=torch.tensor(broken).bool(), **given, **options
    )
    wanted, _ = padded(get_estimator(name)(rows, ids, infra=broken, **extra, **options), 0.0)
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-9)


def unpack(name: str, case: dict[str, Any]) -> tuple[list[list[float]], list[Any], list[bool], Any, dict[str, Any]]:
    """Rewards, group ids, broken rollouts, what the estimator needs, and its options among those of the case."""
    rows, ids, broken = ([rollout[part] for rollout in case["batch"]] for part in range(3))
    takes = inspect.signature(get_estimator(name)).parameters
    options = {option: case[option] for option in ("gamma", "ddof", "singleton") if option in takes}
    return rows, ids, broken, extra_for(name, rows), options


def extra_for(name: str, rows: list[list[float]]) -> dict[str, list[list[Any]]]:
    """Inputs that depend on the rewards alone, so that a failing case can be read off."""
    if name == "gigpo":
        return {"state_keys": [[(i + t) % 2 for t in range(len(row))] for i, row in enumerate(rows)]}
    if name == "steps_gae":
        return {"values": [[0.5 - 0.25 * t for t in range(len(row))] for row in rows]}
    if name == "tool_tokens":
        return {"call_mask": [[t + 1 < len(row) or r > 0.5 for t, r in enumerate(row)] for row in rows]}
    return {}


def as_arrays(name: str, extra: dict[str, list[list[Any]]]) -> dict[str, np.ndarray]:
    found = {key: padded(rows, 0.0)[0] for key, rows in extra.items()}
    return {key: values.astype(int) for key, values in found.items()} if name == "gigpo" else found


forked = st.tuples(
    st.integers(0, 5),  # which earlier rollout it is forked from, or none
    st.integers(0, 4),  # after how many turns
    st.lists(rewards, min_size=1, max_size=3),  # its own turns
    st.sampled_from(["a", "b"]),
    st.sampled_from([False, False, True]),
)


@given(batch=st.lists(forked, max_size=8), baseline=st.sampled_from(["parent", "root", "none"]))
def test_trees_give_what_the_formula_says(batch: list[Any], baseline: str) -> None:
    rows, ids, broken, forks, nodes = grow(batch)
    options = {"baseline": baseline, "scale": "none", **forks}
    found = get_estimator("tree")(rows, ids, infra=broken, **options)
    alive = [i for i in range(len(rows)) if not broken[i]]
    totals = {i: sum(rows[i]) for i in alive}

    def centred(i: int) -> float:
        return stands_out(totals[i], [totals[j] for j in alive if ids[j] == ids[i]], "none", 1, "raw")

    def value(path: tuple[Any, ...], of: str) -> float:
        """Mean over the distinct nodes that come next; at the end, what the rollout was worth."""
        through = [j for j in alive if ids[j] == of and nodes[j][: len(path)] == path]
        after = {nodes[j][: len(path) + 1] for j in through if len(nodes[j]) > len(path)}
        return statistics.fmean(value(longer, of) for longer in sorted(after)) if after else centred(through[0])

    for i, row in enumerate(rows):
        wanted = [0.0] * len(row)
        for t in range(len(row) if i in totals else 0):
            off = {"parent": nodes[i][:t], "root": (), "none": None}[baseline]
            wanted[t] = value(nodes[i][: t + 1], ids[i]) - (0.0 if off is None else value(off, ids[i]))
        assert found[i] == pytest.approx(wanted, abs=1e-12)


@given(batch=st.lists(forked, max_size=8))
def test_tensors_of_trees_give_what_lists_give(torch: ModuleType, batch: list[Any]) -> None:
    rows, ids, broken, forks, _ = grow(batch)
    rewards, mask = padded(rows, 0.0)
    tensors = {key: torch.tensor(value, dtype=torch.int64) for key, value in forks.items()}
    found = get_estimator("tree")(torch.tensor(rewards), ids, mask=torch.tensor(mask), infra=broken, **tensors)
    wanted, _ = padded(get_estimator("tree")(rows, ids, infra=broken, **forks), 0.0)
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-9)


def grow(batch: list[Any]) -> tuple[list[list[float]], list[str], list[bool], dict[str, list[int]], list[Any]]:
    """Rewards, group ids, broken rollouts, forks, and each rollout's turns as `(who played it, index)`."""
    rows: list[list[float]] = []
    ids, broken, nodes = [], [], []
    forks: dict[str, list[int]] = {"parents": [], "forked_at": []}
    for i, (parent, after, own, id, breaks) in enumerate(batch):
        parent = parent if parent < i else -1
        after = min(after, len(rows[parent])) if parent >= 0 else 0
        rows.append([*(rows[parent][:after] if parent >= 0 else []), *own])
        nodes.append((*(nodes[parent][:after] if parent >= 0 else ()), *((i, t) for t in range(after, len(rows[-1])))))
        ids.append(ids[parent] if parent >= 0 else id)
        broken.append(breaks)
        forks["parents"].append(parent)
        forks["forked_at"].append(after)
    return rows, ids, broken, forks, nodes


def test_a_tree_worked_by_hand() -> None:
    # Rollouts 1 and 2 were forked from 0: one after its first turn, one after its second. Rollout 3 is another root.
    rows = [[0, 0, 4], [0, 2], [0, 0, 0], [1, 1]]
    forks = {"parents": [0, 0, 0, -1], "forked_at": [0, 1, 2, 0]}
    leaves = [4.0, 2.0, 0.0, 2.0]
    centred = [leaf - statistics.fmean(leaves) for leaf in leaves]  # 2, 0, -2, 0
    second = (centred[0] + centred[2]) / 2
    first = (second + centred[1]) / 2
    root = (first + centred[3]) / 2
    values = [[first, second, 2], [first, 0], [first, second, -2], [0, 0]]
    for baseline, wanted in (
        ("none", values),
        ("root", [[value - root for value in row] for row in values]),
        ("parent", [[b - a for a, b in zip([root, *row], row, strict=False)] for row in values]),
    ):
        found = get_estimator("tree")(rows, ["t"] * 4, baseline=baseline, scale="none", **forks)
        for row, numbers in zip(found, wanted, strict=True):
            assert row == pytest.approx(numbers, abs=1e-12)
    # Turns that two rollouts share have one advantage, and an only child gets exactly nothing.
    found = get_estimator("tree")(rows, ["t"] * 4, **forks)
    assert found[0][:2] == found[2][:2]
    assert found[0][0] == found[1][0]
    assert found[3][1] == 0.0


def test_a_node_counts_once_however_many_rows_run_through_it() -> None:
    # Three rows run through the first turn of rollout 0, and one through that of rollout 3.
    rows = [[0, 3], [0, 3], [0, 3], [0, 1]]
    found = get_estimator("tree")(
        rows, [0] * 4, baseline="none", scale="none", parents=[-1, 0, 0, -1], forked_at=[0, 1, 1, 0]
    )
    assert found[0][0] == found[1][0] == pytest.approx(0.5)
    found = get_estimator("tree")(rows, [0] * 4, scale="none", parents=[-1, 0, 0, -1], forked_at=[0, 1, 1, 0])
    assert found[0][0] == pytest.approx(0.5 - (0.5 - 1.5) / 2)


@pytest.mark.parametrize(
    ("forks", "says"),
    [
        ({"parents": [1, 0], "forked_at": [1, 1]}, "circle"),
        ({"parents": [-1, 5], "forked_at": [0, 1]}, "rollout 1 names one that is not among the 2"),
        ({"parents": [-1, 0], "forked_at": [0, 3]}, "rollout 1 cannot share more turns than it has"),
        ({"parents": [-1, 0], "forked_at": [0, 2]}, "rollout 1 does not have the rewards of the turns that it shares"),
        ({"parents": [-1], "forked_at": [0, 1]}, "parents must hold one value for each of the 2 rollouts"),
    ],
)
def test_forks_that_make_no_tree_are_refused(forks: dict[str, list[int]], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        get_estimator("tree")([[1, 0], [1, 1]], [0, 0], **forks)
    with pytest.raises(UsageError, match="another group"):
        get_estimator("tree")([[1, 0], [1, 1]], [0, 1], parents=[-1, 0], forked_at=[0, 1])
