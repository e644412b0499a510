"""What `import tir_gym` does not import: whatever only some users need, and the families themselves.

No seconds are asserted here, for they are the machine's; `docs/benchmarks.md` has them.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {"openai", "psycopg", "rich", "scipy", "sqlalchemy", "torch", "typer"}


def loaded_by(code: str) -> set[str]:
    """All modules that are loaded once a fresh interpreter has run the code."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_package_alone_is_light() -> None:
    loaded = loaded_by("import tir_gym")
    assert "tir_gym.env" in loaded
    assert loaded & HEAVY == set()


def test_no_family_is_imported_before_it_is_made() -> None:
    loaded = loaded_by("import tir_gym")
    assert not [name for name in loaded if name.startswith(("tir_gym.envs.", "tir_gym.agents", "tir_gym.cli"))]
    made = loaded_by("import gymnasium as gym, tir_gym; gym.make('tir_gym/Calculator-v0').reset(seed=0)")
    families = {name.split(".")[2] for name in made if name.startswith("tir_gym.envs.")}
    assert families == {"calculator"}


@pytest.mark.parametrize(
    ("code", "needed"),
    [
        ("import tir_gym.agents; tir_gym.agents.make_agent('oracle')", set()),
        ("import tir_gym.cli", {"typer"}),
    ],
)
def test_each_part_imports_only_what_it_needs(code: str, needed: set[str]) -> None:
    assert loaded_by(code) & (HEAVY - needed) == set()
