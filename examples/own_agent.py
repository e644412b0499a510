"""An agent of one's own: a class with `begin` and `act`, named on the command line.

    tir-gym eval tir_gym/Calculator-v0 --agent python:examples/own_agent.py:MyAgent --split train

It reads the request clause by clause and calls the tool that each clause asks for. It knows the wordings of the train
split only, so `--split test`, the default, shows what a policy learnt by heart is worth.
"""

import re
from typing import Any

PATTERNS = {
    "add": r"add (\d+) to it",
    "subtract": r"subtract (\d+) from it",
    "multiply": r"multiply it by (\d+)",
    "divide": r"divide it by (\d+)",
}


class MyAgent:
    """Plays the Calculator by rules."""

    def begin(self, env_info: dict[str, Any]) -> None:
        """Get ready for an episode; `env_info` has the tools, the dialect's name and a seed."""
        self._steps: list[tuple[str, int]] = []

    def act(self, observation: tuple[dict[str, Any], ...], info: dict[str, Any]) -> dict[str, Any]:
        """The next message: a call while a clause is left, then the answer."""
        last = observation[-1]
        if last["role"] == "user":
            value = float(re.findall(r"\d+", last["content"])[0])
            self._steps = [step for clause in last["content"].split(", then ") for step in read(clause)]
        else:
            value = float(last["content"])
        if not self._steps:
            return {"content": f"The result is <answer>{value}</answer>."}
        name, operand = self._steps.pop(0)
        return {"content": "", "tool_calls": [{"function": {"name": name, "arguments": {"a": value, "b": operand}}}]}


def read(clause: str) -> list[tuple[str, int]]:
    """The operation that a clause asks for; none where it is worded in another way."""
    found = ((name, re.search(pattern, clause)) for name, pattern in PATTERNS.items())
    return [(name, int(match[1])) for name, match in found if match]


if __name__ == "__main__":
    from tir_gym.episode import play_episode
    from tir_gym.making import make_env

    for split in ("train", "test"):
        env = make_env("tir_gym/Calculator-v0", split=split)
        played = [play_episode(env, MyAgent(), task=task).trace for task in env.task_ids(20)]
        print(f"{split}: {sum(bool(trace.success) for trace in played)} of {len(played)} solved")
