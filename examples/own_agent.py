"""An agent of one's own: a class with `begin` and `act`, named on the command line.

    tir-gym eval tir_gym/Calculator-v0 --agent python:examples/own_agent.py:MyAgent --split train

It reads the bill by patterns and calls the tool that each part asks for. It knows the wordings of the train split only,
so `--split test`, the default, shows what a policy learnt by heart is worth.
"""

import re
from typing import Any

LINE = re.compile(r"(\d+) items at (\d+) each")
ENDINGS = {
    "subtract": re.compile(r"a discount of (\d+)"),
    "divide": re.compile(r"split between (\d+) people"),
}


class MyAgent:
    """Plays the Calculator by rules."""

    def begin(self, env_info: dict[str, Any]) -> None:
        """Get ready for an episode; `env_info` has the tools, the dialect's name and a seed."""
        self._request = ""
        self._numbers: list[float] = []
        self._done = False

    def act(self, observation: tuple[dict[str, Any], ...], info: dict[str, Any]) -> dict[str, Any]:
        """The next message: all products at once, then a sum a turn, then the ending, then the answer."""
        if not self._request:
            self._request = observation[-1]["content"]
            lines = LINE.findall(self._request)
            return calls(*(("multiply", int(count), int(price)) for count, price in lines))
        self._numbers += [float(message["content"]) for message in observation]  # one message per call
        if len(self._numbers) > 1:
            return calls(("add", self._numbers.pop(0), self._numbers.pop(0)))
        for name, pattern in ENDINGS.items():
            found = pattern.search(self._request)
            if found and self._numbers and not self._done:
                self._done = True
                return calls((name, self._numbers.pop(), int(found[1])))
        return {"content": f"The result is <answer>{self._numbers}</answer>."}


def calls(*wanted: tuple[str, float, float]) -> dict[str, Any]:
    """An assistant message in OpenAI's form that makes all these calls."""
    functions = [{"name": name, "arguments": {"a": a, "b": b}} for name, a, b in wanted]
    return {"content": "", "tool_calls": [{"function": function} for function in functions]}


if __name__ == "__main__":
    from tir_gym.episode import play_episode
    from tir_gym.making import make_env

    for split in ("train", "test"):
        env = make_env("tir_gym/Calculator-v0", split=split)
        played = [play_episode(env, MyAgent(), task=task).trace for task in env.task_ids(20)]
        print(f"{split}: {sum(bool(trace.success) for trace in played)} of {len(played)} solved")
