"""OpenEnv's own clients against our server; run by `tests/openenv.sh` where `openenv-core` is installed.

python tests/with_openenv.py URL
"""

import asyncio
import sys
from typing import Any

from openenv.core.generic_client import GenericEnvClient
from openenv.core.mcp_client import MCPToolClient

CALL = {"id": "c", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}


async def generic(url: str) -> None:
    async with GenericEnvClient(base_url=f"{url}/openenv/tir_gym/Calculator-v0") as env:
        first = await env.reset(seed=3, episode_id="mine")
        again = await env.reset(seed=3, episode_id="mine")
        assert first == again
        assert [message["role"] for message in first.observation["messages"]] == ["system", "user"]
        assert (first.reward, first.done) == (None, False)
        stepped = await env.step({"content": None, "tool_calls": [CALL]})
        assert stepped.observation["messages"][0]["content"] == "3.0"
        assert isinstance(stepped.reward, float)
        state = await env.state()
        assert (state["episode_id"], state["step_count"]) == ("mine", 1)
        ended = await env.step({"message": "I give up."})
        assert ended.done
        assert ended.observation["info"]["success"] is False
        assert not {"match", "oracle"} & ended.observation["info"].keys()
        await raises(env.step({"message": "more"}), "has ended")
    async with GenericEnvClient(base_url=f"{url}/openenv/none") as env:
        await raises(env.reset(), "not on this server")


async def tools(url: str) -> None:
    async with MCPToolClient(base_url=f"{url}/openenv/Calculator-v0") as env:
        await env.reset(seed=3)
        assert [tool.name for tool in await env.list_tools()] == ["add", "subtract", "multiply", "divide"]
        assert await env.call_tool("add", a=1, b=2) == 3.0
        assert "division by zero" in (await env.call_tool("divide", a=1, b=0))["error"]
        assert "no tool named" in (await env.call_tool("nope"))["error"]


async def beside_each_other(url: str) -> None:
    clients = [GenericEnvClient(base_url=f"{url}/openenv/tir_gym/Assistant-v0") for _ in range(8)]
    began = await asyncio.gather(*(client.reset(seed=seed) for seed, client in enumerate(clients)))
    assert len({str(result.observation["messages"]) for result in began}) == len(clients)
    await asyncio.gather(*(client.close() for client in clients))


def blocking(url: str) -> None:
    with GenericEnvClient(base_url=f"{url}/openenv/tir_gym/Calculator-v0").sync() as env:
        assert not env.reset(seed=1).done
        assert env.step({"message": "I give up."}).done


async def raises(call: Any, word: str) -> None:
    said = ""
    try:
        await call
    except RuntimeError as error:
        said = str(error)
    assert word in said, said or f"{word!r} was not said"


def main() -> None:
    url = sys.argv[1]
    for play in (generic, tools, beside_each_other):
        asyncio.run(play(url))
    blocking(url)
    print("openenv-core drives the server unchanged: generic, tools, beside each other, blocking")


if __name__ == "__main__":
    main()
