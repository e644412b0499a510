"""What `python -m tir_gym.sandboxes.mcp mcp_assistant:make` serves in the tests: the world of the task in `$TASK`."""

from __future__ import annotations

import os

import gymnasium as gym

import tir_gym  # noqa: F401  registers the environments
from tir_gym.env import ToolEnv
from tir_gym.records import Task
from tir_gym.sandbox import Sandbox


def family() -> ToolEnv:
    env = gym.make("tir_gym/Assistant-v0").unwrapped
    assert isinstance(env, ToolEnv)
    return env


def task() -> Task:
    return family().task_named(os.environ.get("TASK", "test/0"))


def make() -> Sandbox:
    return family().make_sandbox(task())


def no_sandbox() -> str:
    return "nothing"
