"""Advantages: golden numbers, groups without spread or peers, the masks, the three forms, tokens, what is refused."""

import json
import math
import sys
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import numpy as np
import pytest
from advantage_rows import padded, rewards
from hypothesis import given
from hypothesis import strategies as st

from tir_gym.advantages import ESTIMATORS, dual, dual_loo, get_estimator, needs, to_tokens, tool_tokens
from tir_gym.errors import UsageError

RUN = [[1.0, 1.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0]]
IDS = ["task", "task", "task"]


@pytest.fixture
def torch() -> ModuleType:
    return pytest.importorskip("torch", reason="torch is not installed; tensors are tested where it is")


# --- numbers from elsewhere


def golden(shared: Path) -> list[dict[str, Any]]:
    return json.loads((shared / "golden" / "dual_advantage.json").read_text())


def test_golden_numbers_for_lists(shared: Path) -> None:
    for problem in golden(shared):
        found = dual(problem["turn_rewards"], problem["groups"], problem["gamma"], "mean", ddof=1, singleton="raw")
        assert [len(row) for row in found] == [len(row) for row in problem["turn_rewards"]]
        for row, wanted in zip(found, problem["half_sum_advantages"], strict=True):
            assert row == pytest.approx(wanted, abs=1e-5)


def test_golden_numbers_for_arrays(shared: Path) -> None:
    for problem in golden(shared):
        rewards, mask = padded(problem["turn_rewards"], np.nan)
        wanted, _ = padded(problem["half_sum_advantages"], 0.0)
        found = dual(rewards, problem["groups"], gamma=problem["gamma"], combine="mean", mask=mask)
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_golden_numbers_for_tensors(shared: Path, torch: ModuleType, dtype: str) -> None:
    for problem in golden(shared):
        rewards, mask = padded(problem["turn_rewards"], np.nan)
        wanted, _ = padded(problem["half_sum_advantages"], 0.0)
        tensor = torch.tensor(rewards, dtype=getattr(torch, dtype))
        found = dual(tensor, problem["groups"], problem["gamma"], combine="mean", mask=torch.tensor(mask))
        assert found.dtype == tensor.dtype
        np.testing.assert_allclose(found.numpy(), wanted, atol=1e-5)


def test_numbers_worked_by_hand() -> None:
    found = dual(RUN, IDS, combine="mean")
    wanted = [[1.1540, 1.0684, 0.9309], [-0.6016, -0.2711, -0.6422], [-0.5524, -0.7972]]
    for row, numbers in zip(found, wanted, strict=True):
        assert row == pytest.approx(numbers, abs=5e-5)
    # The third turn has no peer: half of its return beside half of the rollout's z-score.
    found = dual([[0, 0, 1], [1, 1]], [7, 7], combine="mean")
    assert found[0] == pytest.approx([-math.sqrt(0.5), -math.sqrt(0.5), 0.5 * (1 - math.sqrt(0.5))], abs=1e-5)
    # Leave one out: 3 - 1, and 2.71 - (0.9 + 1) / 2 in the first turn.
    assert dual_loo(RUN, IDS)[0] == pytest.approx([3 - 1 + 2.71 - 0.95, 2 + 1.9 - 0.5, 2 + 1.0])


# --- no spread, no peers


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "rloo", "turn", "dual", "dual_loo", "mt_grpo", "gtpo"])
@pytest.mark.parametrize("reward", [0.1, 1 / 3, 1e-9, 1e9, -0.7, 0.0])
@pytest.mark.parametrize("size", [2, 3, 7])
def test_a_group_without_spread_gets_exactly_zero(name: str, reward: float, size: int) -> None:
    turns = 1 if name == "gtpo" else 3
    found = get_estimator(name)([[reward] * turns] * size + [[1.0]], ["same"] * size + ["other"])
    assert all(value == 0.0 for row in found[:size] for value in row)
    assert all(value != 0.0 for value in found[size])


def test_a_spread_that_is_rounding_is_none() -> None:
    assert get_estimator("grpo")([[0.1, 0.2], [0.3]], [0, 0]) == [[0.0, 0.0], [0.0]]
    single = np.array([[0.1, 0.2], [0.3, 0.0]], dtype=np.float32)
    assert (get_estimator("grpo")(single, [0, 0]) == 0).all()
    # In half precision 0.9 and 0.95 are few steps apart, and are two rewards.
    assert (get_estimator("grpo")(np.array([[0.9], [0.95]], dtype=np.float16), [0, 0]) != 0).all()


def test_a_group_of_one_follows_the_rule() -> None:
    assert get_estimator("rloo")([[1.0, 2.0]], ["x"]) == [[3.0, 3.0]]
    assert get_estimator("rloo")([[1.0, 2.0]], ["x"], singleton="zero") == [[0.0, 0.0]]
    assert dual([[1.0, 2.0]], ["x"], gamma=0.5)[0] == pytest.approx([3 + 2, 3 + 2], rel=2e-6)
    assert dual([[1.0, 2.0]], ["x"], singleton="zero") == [[0.0, 0.0]]


def test_nothing_in_nothing_out() -> None:
    assert dual([], []) == []
    assert dual([[]], ["x"]) == [[]]
    # A rollout without turns is nobody's peer.
    assert get_estimator("rloo")([[], [2.0]], ["x", "x"]) == [[], [2.0]]
    assert to_tokens([], []) == []


# --- masks


def test_a_broken_rollout_is_left_out_as_if_it_were_not_there() -> None:
    rows = [[1.0, 0.0], [math.nan, math.inf, 3.0], [0.0, 1.0, 1.0]]
    found = dual(rows, IDS, infra=[False, True, False])
    without = dual([rows[0], rows[2]], IDS[:2])
    assert found == [without[0], [0.0, 0.0, 0.0], without[1]]


def test_a_truncated_rollout_gets_nothing_and_is_compared_with() -> None:
    every = dual(RUN, IDS)
    found = dual(RUN, IDS, truncated=[False, True, False])
    assert found == [every[0], [0.0, 0.0, 0.0], every[2]]


def test_an_untrained_turn_gets_nothing_and_counts() -> None:
    every = dual(RUN, IDS)
    found = dual(RUN, IDS, trained=[[1, 0, 1], [1, 1, 1], [0, 1]])
    assert found == [[every[0][0], 0.0, every[0][2]], every[1], [0.0, every[2][1]]]


def test_lists_may_have_a_mask_too() -> None:
    found = dual([[1, 1, 1], [0, 1, 0], [1, 0, 9]], IDS, mask=[[1, 1, 1], [1, 1, 1], [1, 1, 0]])
    assert found == [*dual(RUN, IDS)[:2], [*dual(RUN, IDS)[2], 0.0]]


# --- forms


def test_group_ids_of_any_kind() -> None:
    rows = [[1.0], [0.0], [1.0], [0.5]]
    wanted = dual(rows, [0, 0, 1, 1])
    for ids in (
        ["a", "a", "b", "b"],
        ("x", "x", 7, 7),
        np.array([5, 5, -3, -3]),
        np.array(["q", "q", "p", "p"]),
        [("a", 1), ("a", 1), ("b", 2), ("b", 2)],
        np.array(["a", "a", 7, 7], dtype=object),
    ):
        assert dual(rows, ids) == wanted
    ragged = np.array([None, None], dtype=object)
    ragged[:] = [[1, 1], [0]]
    assert dual(ragged, [0, 0]) == dual([[1, 1], [0]], [0, 0])


def test_arrays_keep_their_float_type_and_shape() -> None:
    for dtype, result in (("float32", "float32"), ("float64", "float64"), ("int64", "float64"), ("bool", "float64")):
        found = dual(np.ones((2, 3), dtype=dtype), [0, 1])
        assert (found.dtype, found.shape) == (np.dtype(result), (2, 3))


def test_tensors_keep_their_type_and_need_no_gradient(torch: ModuleType) -> None:
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        given = torch.rand(4, 3, dtype=torch.float32).to(dtype).requires_grad_()
        found = dual(given, torch.tensor([0, 0, 1, 1]))
        assert (found.dtype, found.shape, found.requires_grad) == (dtype, (4, 3), False)
        tokens = to_tokens(found, torch.tensor([[0, 0, -1, 2]] * 4))
        assert tokens.dtype == dtype
        assert torch.equal(tokens, torch.stack([found[:, 0], found[:, 0], 0 * found[:, 0], found[:, 2]], 1))
    assert dual(torch.ones(2, 3, dtype=torch.int64), [0, 1]).dtype == torch.get_default_dtype()


def test_torch_is_not_imported_by_lists_and_arrays() -> None:
    import subprocess

    code = (
        "import sys, numpy; from tir_gym.advantages import dual, to_tokens; "
        "to_tokens(dual(numpy.ones((2, 2)), [0, 0]), [[0], [1]]); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_python_loop_over_rollouts_groups_or_tokens() -> None:
    """The same bytecode runs for 3 rollouts and for 300, for one group and for 100, for 5 tokens and for 500."""

    def bytecodes(rollouts: int, groups: int, tokens: int, name: str) -> int:
        rewards = np.random.default_rng(0).random((rollouts, 4))
        ids = np.arange(rollouts) % groups
        turn = np.tile(np.arange(tokens) % 5 - 1, (rollouts, 1))
        extra = {
            "state_keys": np.ones((rollouts, 4), dtype=int),
            "values": rewards,
            "parents": np.full(rollouts, -1),
            "forked_at": np.zeros(rollouts, dtype=int),
            "call_mask": rewards > 0.5,
        }
        extra = {key: value for key, value in extra.items() if key in needs(name)}
        count = 0

        def step(frame: FrameType, event: str, arg: object) -> Any:
            nonlocal count
            frame.f_trace_opcodes = "advantages" in frame.f_code.co_filename
            count += event == "opcode"
            return step

        before = sys.gettrace()
        sys.settrace(step)
        try:
            to_tokens(get_estimator(name)(rewards, ids, **extra), turn)
        finally:
            sys.settrace(before)
        return count

    for name in ESTIMATORS:
        assert bytecodes(3, 1, 5, name) == bytecodes(300, 100, 500, name) > 0


# --- tokens


@given(
    batch=st.lists(
        st.lists(rewards, min_size=1, max_size=4).flatmap(
            lambda row: st.tuples(st.just(row), st.lists(st.integers(-1, len(row) - 1), max_size=12))
        ),
        max_size=5,
    )
)
def test_tokens_get_the_advantage_of_their_turn(batch: list[tuple[list[float], list[int]]]) -> None:
    advantages, turns = [row for row, _ in batch], [tokens for _, tokens in batch]
    wanted = [[row[t] if t >= 0 else 0.0 for t in tokens] for row, tokens in batch]
    assert to_tokens(advantages, turns) == wanted
    if not batch:
        return
    array, _ = padded(advantages, 0.0)
    tokens, given = padded(turns, -1)
    tokens[~given] = -1
    for dtype in (np.int64, np.int32, np.int8):
        found = to_tokens(array.astype(np.float32), tokens.astype(dtype))
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, padded(wanted, 0.0)[0].astype(np.float32))
    torch = sys.modules.get("torch")
    if torch is not None:
        found = to_tokens(torch.tensor(array), torch.tensor(tokens.astype(np.int64)))
        np.testing.assert_array_equal(found.numpy(), padded(wanted, 0.0)[0])


def test_extra_credit_falls_on_call_tokens_only() -> None:
    turn_of_token = [[-1, 0, 0, -1, 1, 1], [0, 0, -1, 1], [0]]
    call_mask = [[0, 0, 1, 0, 0, 0], [0, 1, 0, 0], [0]]
    rows = [[1.0, 1.0], [0.0, 1.0], [0.0]]
    base = get_estimator("grpo")(rows, IDS)
    found = tool_tokens(rows, IDS, turn_of_token=turn_of_token, call_mask=call_mask, weight=2.0)
    extra = 2.0 * math.sqrt(0.5)  # two calls, of reward 1 and 0
    a, b, c = (row[0] for row in base)
    assert found[0] == pytest.approx([0, a, a + extra, 0, a, a], abs=1e-5)
    assert found[1] == pytest.approx([b, b - extra, 0, b], abs=1e-5)
    assert found[2] == pytest.approx([c], abs=1e-5)
    # By turn, all of a calling turn gets it.
    by_turn = tool_tokens(rows, IDS, call_mask=[[1, 0], [1, 0], [0]], weight=2.0)
    assert by_turn[0] == pytest.approx([a + extra, a], abs=1e-5)
    array, mask = padded(rows, np.nan)
    tokens, _ = padded(turn_of_token, -1)
    tokens[~_] = -1
    flags, _ = padded(call_mask, 0)
    arrays = tool_tokens(array, IDS, mask=mask, turn_of_token=tokens.astype(int), call_mask=flags, weight=2.0)
    np.testing.assert_allclose(arrays, padded(found, 0.0)[0])


# --- what is refused


@pytest.mark.parametrize(
    ("rewards", "ids", "options", "says"),
    [
        ([[1, math.nan]], [0], {}, "turn_rewards: rollout 0, turn 1 is nan"),
        (np.array([[1.0, np.inf]]), [0], {}, "turn_rewards: rollout 0, turn 1 is inf.*`mask`.*`infra`"),
        ([[1, None]], [0], {}, "turn_rewards"),
        ([[1, "x"]], [0], {}, "turn_rewards must hold numbers"),
        (np.array([["a", "b"]]), [0], {}, "turn_rewards must hold numbers"),
        ([1, 2], [0, 0], {}, "turn_rewards must be an array .* or a list with one list per rollout"),
        (["11"], [0], {}, "text is no list"),
        (np.ones(3), [0, 0, 0], {}, r"turn_rewards must be \[rollouts, turns\].*got shape \(3,\)"),
        (np.ones((3, 0)), [0, 0, 0], {}, "at least one turn"),
        (RUN, [0, 0], {}, "group_ids must hold one value for each of the 3 rollouts, got 2 values"),
        (RUN, "abc", {}, "group_ids must hold one value for each of the 3 rollouts, got 'abc'"),
        (RUN, np.zeros((3, 1)), {}, r"group_ids must hold .* got shape \(3, 1\)"),
        (RUN, [[], [], []], {}, "group_ids must be hashable"),
        (RUN, IDS, {"infra": [True]}, "infra must hold one value for each of the 3 rollouts"),
        (RUN, IDS, {"trained": [[1, 1, 1], [1, 1, 1], [1]]}, "trained: rollout 2 has 1 turns, and 2 in turn_rewards"),
        (RUN, IDS, {"trained": [[1, 1, 1]]}, "trained must have one row for each of the 3 rollouts, got 1"),
        (np.ones((2, 3)), [0, 0], {"mask": np.ones((2, 2))}, r"mask must have the shape of turn_rewards, \(2, 3\)"),
        (np.ones((1, 3)), [0], {"mask": [[1, 0, 1]]}, "mask: rollout 0 has no turn 1 and yet a turn 2.*`trained`"),
        (RUN, IDS, {"gamma": 1.5}, r"gamma must lie in \[0, 1\], got 1.5"),
        (RUN, IDS, {"combine": "product"}, "combine must be 'sum'.*or 'mean'.*got 'product'"),
        (RUN, IDS, {"ddof": 2}, "ddof must be 0"),
        (RUN, IDS, {"singleton": "one"}, "singleton must be 'raw' or 'zero', got 'one'"),
        (RUN, IDS, {"loss_mask": RUN}, "no option 'loss_mask'; every estimator takes mask, trained, truncated, infra"),
    ],
)
def test_misuse_is_told(rewards: Any, ids: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        dual(rewards, ids, **options)


def test_misuse_of_tokens_is_told() -> None:
    with pytest.raises(UsageError, match="token 2 of rollout 1 belongs to turn 2, for which there is no advantage"):
        to_tokens([[1, 2, 3], [4, 5]], [[0], [0, 1, 2]])
    with pytest.raises(UsageError, match="for the 1 rollouts of turn_of_token"):
        to_tokens(np.ones((2, 2)), np.zeros((1, 5), dtype=int))
    with pytest.raises(UsageError, match="turn_of_token must be integers"):
        to_tokens(np.ones((1, 2)), np.zeros((1, 5)))


def test_the_registry() -> None:
    assert set(ESTIMATORS) == {
        *("grpo", "dr_grpo", "rloo", "turn", "dual", "dual_loo", "mt_grpo", "gtpo", "gigpo", "steps_gae", "tree"),
        "tool_tokens",
    }
    assert get_estimator("dual") is dual
    assert {name: needs(name) for name in ESTIMATORS if needs(name)} == {
        "gigpo": ("state_keys",),
        "steps_gae": ("values",),
        "tree": ("parents", "forked_at"),
        "tool_tokens": ("call_mask",),
    }
    with pytest.raises(UsageError, match=r"no advantage estimator 'ppo'; choose one of grpo, .*dual"):
        get_estimator("ppo")
