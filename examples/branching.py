"""Try several continuations of one episode without playing its beginning again.

`fork()` gives an independent environment in the same state. `snapshot()` and `restore()` go back in the same one. Both
cost what the episode has changed, not the size of its world, so trees of rollouts are cheap.
"""

import re
from typing import Any

import gymnasium as gym

from tir_gym import ToolEnv


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"content": "", "tool_calls": [{"function": {"name": name, "arguments": arguments}}]}


env = gym.make("tir_gym/Calculator-v0").unwrapped
assert isinstance(env, ToolEnv)  # wrappers have no fork(); the environment itself does
observation, info = env.reset(seed=2)
print(observation[-1]["content"])

# One child per candidate for the first call: what would each of them pay?
first, second, *_ = map(int, re.findall(r"\d+", observation[-1]["content"]))
candidates = [call(name, a=first, b=second) for name in ("add", "subtract", "multiply", "divide")]
candidates.append(call("multiply", a=first, b=second + 1))
for action in candidates:
    child = env.fork()
    reward = child.step(action)[1]
    print(f"{action['tool_calls'][0]['function']}: {reward:+.2f}")
    child.close()

# Going back: the same environment, the same state, the same reward again.
before = env.snapshot()
once = env.step(candidates[0])
env.restore(before)
again = env.step(candidates[0])
assert once[:4] == again[:4]
print(f"turns played after going back and forth: {len(env.trace().turns)}")
