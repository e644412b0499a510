"""`docs/advantages.md` is computed, not told: its blocks run, and its table of biases is what the code measures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tir_gym.advantages import ESTIMATORS, needs
from tir_gym.advantages.bias import CASES, GROUPS, SEED, Case, deviation, measure, monte_carlo
from tir_gym.advantages.process import LOGITS, Process

PAGE = Path(__file__).resolve().parent.parent / "docs" / "advantages.md"
TEXT = PAGE.read_text(encoding="utf-8")
ROWS = {
    name: (claim, [float(cell) for cell in cells])
    for name, claim, *cells in (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in TEXT.partition("--bias -->\n")[2].partition("\n<!-- end")[0].splitlines()[2:]
    )
}
PROCESS = Process(LOGITS)


def test_every_number_worked_by_hand_is_what_the_code_gives() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    script = "".join(blocks)
    assert script.count("assert ") >= 15
    exec(compile(script, str(PAGE), "exec"), {"__name__": "advantages_page"})


def test_the_table_has_every_case_and_every_estimator() -> None:
    assert list(ROWS) == [case.name for case in CASES]
    for name in ESTIMATORS:
        row = re.search(rf"^\| \**`{name}`\** \|.*\| *([^|]*?) *\|$", TEXT, re.MULTILINE)
        assert row, f"{name} is not in the page's first table"
        assert tuple(re.findall(r"`(\w+)`", row[1])) == needs(name)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_biases_are_those_that_the_code_measures(case: Case) -> None:
    claim, (along, angle, stopping, noise, _) = ROWS[case.name]
    found = measure(case, PROCESS)
    assert claim == (case.claim or "-")
    # Three decimals are printed.
    assert found.along == pytest.approx(along, abs=6e-4)
    assert found.angle == pytest.approx(angle, abs=6e-4)
    assert found.stopping == pytest.approx(stopping, abs=6e-4)
    assert found.noise == pytest.approx(noise, abs=6e-4)


@pytest.mark.parametrize("case", CASES[:3], ids=lambda case: case.name)
def test_the_draws_are_those_of_the_page(case: Case) -> None:
    """A few of them: all are drawn in `test_advantage_bias.py`, which holds them to the claims."""
    assert case.target is not None
    drawn = deviation(*monte_carlo(case, GROUPS, SEED, PROCESS), case.target(PROCESS))
    assert drawn == pytest.approx(ROWS[case.name][1][-1], abs=0.01)
