"""Environments by name: registered ids in all their forms, classes of the user's own, and errors that help."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tir_gym.envs.calculator import CalculatorEnv
from tir_gym.errors import UsageError
from tir_gym.making import is_registered, make_env


@pytest.mark.parametrize("id", ["tir_gym/Calculator-v0", "Calculator-v0", "tir_gym:Calculator-v0"])
def test_every_form_of_a_registered_id(id: str) -> None:
    env = make_env(id, split="test", max_turns=3)
    assert type(env) is CalculatorEnv
    assert (env.split, env.max_turns) == ("test", 3)
    assert env.spec is not None
    assert env.spec.id == "tir_gym/Calculator-v0"
    assert env.spec.kwargs == {"split": "test", "max_turns": 3}


def test_a_class_that_is_not_registered_and_traces_that_name_it() -> None:
    env = make_env("tir_gym.envs.calculator:CalculatorEnv", split="test")
    env.reset(seed=1)
    assert env.trace().provenance.env_id == "tir_gym.envs.calculator:CalculatorEnv"
    assert env.trace().provenance.env_kwargs == {"split": "test"}
    assert not is_registered("tir_gym.envs.calculator:CalculatorEnv")


@pytest.mark.parametrize(
    ("id", "message"),
    [
        ("tir_gym/Calculater-v0", "did you mean tir_gym/Calculator-v0"),
        ("calculator", "did you mean tir_gym/Calculator-v0"),
        ("zzz", "there are .*tir_gym/Calculator-v0"),
        ("no_such_module:Env", "there is no module 'no_such_module'"),
        ("tir_gym.nothing:Env", "there is no module 'tir_gym.nothing'"),
        ("tir_gym.env:NoClass", "tir_gym.env has no class 'NoClass'"),
        ("tir_gym.records:Task", "has no class 'Task' that extends ToolEnv"),
        ("CartPole-v1", "CartPoleEnv, which is no ToolEnv"),
        ("", "no environment ''"),
    ],
)
def test_a_wrong_name_says_what_to_do(id: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_env(id)


def test_an_option_that_is_not_taken_is_named() -> None:
    with pytest.raises(UsageError, match=r"has no option 'colour'; it has dialect, max_turns, .*split, task$"):
        make_env("tir_gym/Calculator-v0", colour="red")


def test_a_module_that_lacks_something_itself_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lacking_env.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        make_env("lacking_env:Env")
    assert "lacking_env" not in sys.modules
