"""Who is unbiased, and by how much the others are off, on a process whose policy gradient is known exactly."""

import numpy as np
import pytest

from tir_gym.advantages import ESTIMATORS
from tir_gym.advantages.bias import CASES, GROUP, GROUPS, SEED, Case, deviation, measure, monte_carlo
from tir_gym.advantages.process import LOGITS, STATES, Process
from tir_gym.advantages.samples import drawn_forked_groups, drawn_groups, every_forked_group, every_group

PROCESS = Process(LOGITS)
CLAIMS = [case for case in CASES if case.target is not None]
OTHERS = [case for case in CASES if case.target is None]


def name(case: Case) -> str:
    return case.name


def test_the_process_is_what_it_says() -> None:
    assert PROCESS.probability.sum() == pytest.approx(1.0)
    assert {len(path) for path in PROCESS.paths} == {1, 2, 3}
    # The mean return by trajectories and by dynamic programming.
    assert PROCESS.probability @ PROCESS.rewards.sum(axis=1) == pytest.approx(PROCESS.values[0])
    assert set(PROCESS.state[PROCESS.exists]) == set(range(len(STATES)))


def test_the_exact_gradient_is_the_derivative_of_the_expected_return() -> None:
    """Two independent ways: score functions over trajectories, and differences of the value of the first state."""
    step, differences = 1e-5, np.zeros(LOGITS.size)
    for k in range(LOGITS.size):
        moved = [LOGITS.copy(), LOGITS.copy()]
        moved[0].flat[k] += step
        moved[1].flat[k] -= step
        differences[k] = (Process(moved[0]).values[0] - Process(moved[1]).values[0]) / (2 * step)
    np.testing.assert_allclose(PROCESS.gradient(), differences, atol=1e-9)


def test_every_group_is_there_with_its_probability() -> None:
    """Enumerated and drawn groups agree in how often each trajectory comes up, alone and twice."""
    for every, drawn in (
        (every_group(PROCESS, 3), drawn_groups(PROCESS, 50_000, 3)),
        (every_forked_group(PROCESS), drawn_forked_groups(PROCESS, 50_000)),
    ):
        assert every.weight.sum() == pytest.approx(1.0)
        for sample in (every, drawn):
            share = np.bincount(sample.index.reshape(-1), weights=np.repeat(sample.weight, sample.index.shape[1]))
            np.testing.assert_allclose(share / sample.index.shape[1], PROCESS.probability, atol=5e-3)
        # And in how many pairs of a group are one trajectory twice.
        pairs = [(i, j) for i in range(every.index.shape[1]) for j in range(i)]
        alike = [sum(s.weight @ (s.index[:, i] == s.index[:, j]) for i, j in pairs) for s in (every, drawn)]
        assert alike[0] == pytest.approx(alike[1], abs=0.02)


@pytest.mark.parametrize("case", CLAIMS, ids=name)
def test_who_claims_to_be_unbiased_is(case: Case) -> None:
    assert case.target is not None
    np.testing.assert_allclose(measure(case, PROCESS).expected, case.target(PROCESS), atol=1e-9)


@pytest.mark.parametrize("case", CLAIMS, ids=name)
def test_drawn_groups_agree_with_the_exact_gradient(case: Case) -> None:
    """Within 3 standard errors in each of 15 components, at 200,000 groups."""
    assert case.target is not None
    assert deviation(*monte_carlo(case, GROUPS, SEED, PROCESS), case.target(PROCESS)) < 3.0


@pytest.mark.parametrize("case", OTHERS, ids=name)
def test_drawn_groups_agree_with_the_enumerated_bias(case: Case) -> None:
    found = measure(case, PROCESS)
    mean, error = monte_carlo(case, 20_000, SEED, PROCESS)
    assert deviation(mean, error, found.expected) < 4.5
    # Who claims nothing has nothing to claim: it is off by what no factor mends.
    assert found.angle > 0.5


def test_every_estimator_is_measured() -> None:
    assert {case.estimator for case in CASES} == set(ESTIMATORS)


def test_leave_one_out_is_unbiased_in_groups_of_any_size() -> None:
    """Also where nobody else is left to compare with, which in groups of two happens all the time."""
    for size in (1, 2, 3):
        for case in (Case("rloo"), Case("dual_loo", {"gamma": 1.0, "combine": "mean"})):
            np.testing.assert_allclose(measure(case, PROCESS, size).expected, PROCESS.gradient(), atol=1e-9)
        if size > 1:
            found = measure(Case("dr_grpo"), PROCESS, size).expected
            np.testing.assert_allclose(found, (1 - 1 / size) * PROCESS.gradient(), atol=1e-9)


def test_leave_one_out_is_unbiased_under_other_policies() -> None:
    """One that nearly always stops at once, and one that hardly ever does."""
    for answer in (3.0, -3.0):
        logits = LOGITS.copy()
        logits[:, 2] += answer
        process = Process(logits)
        case = Case("dual_loo", {"gamma": 1.0, "combine": "mean"})
        np.testing.assert_allclose(measure(case, process, 3).expected, process.gradient(), atol=1e-9)


def test_normalising_per_turn_index_pushes_at_stopping() -> None:
    """The known defect is there to be seen: baselines with the own return shrink late turns more than early ones."""
    pushes = {case.name: measure(case, PROCESS).stopping for case in CASES if case.estimator in ("turn", "dual_loo")}
    assert pushes["`turn`, gamma=1.0"] > 0.05
    assert abs(pushes["`dual_loo`, gamma=1.0"]) < 1e-9
    assert GROUP == 4
