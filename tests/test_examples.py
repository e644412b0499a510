"""The examples, run as a reader would run them, and the example agent named on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).resolve().parent.parent / "examples").glob("*.py"))

SAYS = {
    "branching.py": ("'multiply'", "turns played after going back and forth: 1"),
    "hello.py": ("Match(",),
    "own_agent.py": ("train: 20 of 20 solved", "test: 0 of 20 solved"),
    "vector.py": ("sync: over [True, False", "async: over [True, False"),
}


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_example_runs_and_says_what_it_is_for(example: Path, tmp_path: Path) -> None:
    said = run(sys.executable, str(example), cwd=tmp_path)
    assert SAYS[example.name], "say here what the example prints"
    assert not [words for words in SAYS[example.name] if words not in said], said


def test_the_example_agent_is_evaluated_by_name(checkout: Path, tmp_path: Path) -> None:
    agent = f"python:{checkout / 'examples/own_agent.py'}:MyAgent"
    tir_gym = str(Path(sys.executable).parent / "tir-gym")
    command = (tir_gym, "eval", "tir_gym/Calculator-v0", "--agent", agent, "-n", "5", "--json")
    solved = {
        split: json.loads(run(*command, "--split", split, cwd=tmp_path))["success"] for split in ("train", "test")
    }
    assert solved == {"train": 1.0, "test": 0.0}
