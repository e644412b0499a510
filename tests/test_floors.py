"""The contracts that hold the floors apart: kept as the tree stands, broken by an import that points up."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FLOORS = ("tir_gym", "agents", "envs", "sandboxes")


@pytest.fixture
def copied(checkout: Path, tmp_path: Path) -> Path:
    """The package alone, to be spoiled; its links lead to the copied folders."""
    for name in FLOORS:
        shutil.copytree(checkout / name, tmp_path / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(checkout / "pyproject.toml", tmp_path)
    return tmp_path


def test_imports_only_point_down(copied: Path) -> None:
    code, said = lint(copied)
    assert code == 0, said
    kept = re.search(r"Contracts: (\d+) kept, 0 broken", said)
    assert kept
    assert int(kept[1]) >= len(FLOORS)


@pytest.mark.parametrize(
    ("floor", "above"),
    [
        ("tir_gym/records.py", "tir_gym.sandboxes.state"),
        ("tir_gym/matching/hard.py", "tir_gym.envs.calculator"),
        ("tir_gym/__init__.py", "tir_gym.agents"),
        ("tir_gym/env.py", "tir_gym.cli"),
        ("sandboxes/state/ids.py", "tir_gym.envs"),
        ("envs/calculator/__init__.py", "tir_gym.agents"),
        ("agents/__init__.py", "tir_gym.cli"),
    ],
)
def test_an_import_that_points_up_breaks_a_contract(copied: Path, floor: str, above: str) -> None:
    spoiled = copied / floor
    spoiled.write_text(spoiled.read_text() + f"\n\ndef late() -> None:\n    import {above}\n")
    code, said = lint(copied)
    assert code != 0
    assert "BROKEN" in said
    assert above in said


def test_a_new_module_of_the_core_is_held_too(copied: Path) -> None:
    (copied / "tir_gym/upward.py").write_text("from tir_gym.agents import make_agent\n")
    code, said = lint(copied)
    assert code != 0
    assert "tir_gym.upward" in said


def lint(folder: Path) -> tuple[int, str]:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache", "--no-logo"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr
