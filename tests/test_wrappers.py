"""The whole conversation as one text, in every dialect and through a template of one's own."""

from __future__ import annotations

import json

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env
from notebook import NotebookEnv

import tir_gym
from tir_gym.errors import UsageError
from tir_gym.wrappers import TextSpace, WholeHistory


def played(dialect: str) -> tuple[str, str]:
    env = WholeHistory(NotebookEnv(task="count", dialect=dialect))
    first, info = env.reset()
    text, calls = info["oracle"].script()[0]
    return first, env.step(env.unwrapped.dialect.render(text, calls))[0]


@pytest.mark.parametrize("dialect", ["openai", "hermes", "json"])
def test_the_text_grows_by_what_was_said(dialect: str) -> None:
    first, second = played(dialect)
    assert first.endswith("[user]\nPlease count.\n\n[assistant]\n")
    assert second.startswith(first)
    assert "[tool]" in second
    assert "bread" in second
    assert second.endswith("[assistant]\n")
    assert ("list_notes" in first) is (dialect != "openai")
    assert "list_notes" in second.removeprefix(first)


def test_calls_stand_in_the_text_as_the_dialect_has_them() -> None:
    assert '<tool_call>\n{"name": "list_notes"' in played("hermes")[1]
    assert '[assistant]\n{"name": "list_notes"' in played("json")[1]


def test_a_template_of_ones_own() -> None:
    env = WholeHistory(NotebookEnv(task="count"), lambda messages, tools: json.dumps([len(messages), len(tools)]))
    assert env.reset()[0] == "[2, 5]"
    assert env.step("<answer>2</answer>")[0] == "[3, 5]"


@pytest.mark.filterwarnings("ignore:.*is different from the unwrapped version")
def test_it_is_a_gymnasium_environment() -> None:
    check_env(WholeHistory(gym.make("tir_gym/Calculator-v0")), skip_render_check=True)
    vector = gym.make_vec("tir_gym/Calculator-v0", 2, "sync", wrappers=[WholeHistory])
    observations, _ = vector.reset(seed=1)
    assert all(isinstance(text, str) and "[user]" in text for text in observations)
    vector.close()
    assert TextSpace() == TextSpace()
    assert "x" * 10_000_000 in TextSpace()


def test_it_wraps_tool_environments_only() -> None:
    with pytest.raises(UsageError, match="CartPole"):
        WholeHistory(gym.make("CartPole-v1"))
    assert tir_gym.ToolEnv
