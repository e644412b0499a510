"""The README's first lines: a task in words, one call, its result, its reward, and what the reward is for."""

import gymnasium as gym

import tir_gym

env = gym.make("tir_gym/Assistant-v0")
observation, info = env.reset(seed=7)
print(observation[-1]["content"])  # the request; info["tools"] has the tools
action = {"content": "", "tool_calls": [{"function": {"name": "GetReminders", "arguments": {}}}]}
observation, reward, terminated, truncated, info = env.step(action)
print(observation[0]["content"], reward, info["match"], sep="\n")
