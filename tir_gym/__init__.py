"""tir-gym: Gymnasium environments for agents that use tools, with dense rewards by bipartite matching.

    import gymnasium as gym
    import tir_gym

    env = gym.make("tir_gym/Assistant-v0")
    observation, info = env.reset(seed=7)
    observation, reward, terminated, truncated, info = env.step(action)

Importing registers every environment.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("tir-gym")
except PackageNotFoundError:  # a source tree on the path, not installed
    __version__ = "0+unknown"

from tir_gym.env import ToolEnv
from tir_gym.errors import InfrastructureError, TirGymError, ToolError, UsageError
from tir_gym.records import GoldCall, GoldTrace, Task, ToolCall, ToolResult, ToolSpec, Trace, Turn
from tir_gym.registration import register_envs
from tir_gym.rewards import RewardSpec
from tir_gym.tool import Tool, Toolkit, tool

register_envs()

__all__ = [
    "GoldCall",
    "GoldTrace",
    "InfrastructureError",
    "RewardSpec",
    "Task",
    "TirGymError",
    "Tool",
    "ToolCall",
    "ToolEnv",
    "ToolError",
    "ToolResult",
    "ToolSpec",
    "Toolkit",
    "Trace",
    "Turn",
    "UsageError",
    "__version__",
    "tool",
]
