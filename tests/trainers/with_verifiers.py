"""Our tasks in verifiers: its own agent, harness, tool server and trace; a scripted model behind real HTTP.

Run by `make test-trainers` in an environment of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import verifiers.v1 as vf
from verifiers.v1.harnesses.null import NullHarnessConfig
from verifiers.v1.runtimes import SubprocessConfig

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / "tests"))

# ruff: noqa: E402

from openai_server import OpenAIServer, Reply, completion, oracle_model

from tir_gym.advantages import dual
from tir_gym.agents.adapters.verifiers import ToolEnvTaskset, ToolEnvTasksetConfig, assign_turn_advantages
from tir_gym.making import make_env

LOOKUP = ("tir_gym/Lookup-v0", {"hops": (1, 2), "branches": 2, "split": "test"})
ASSISTANT = ("tir_gym/Assistant-v0", {"split": "test"})
"""Tools with many arguments, some of them optional, and messages with several calls."""


def taskset(env: str, options: dict[str, Any], tasks: int = 2) -> ToolEnvTaskset:
    return ToolEnvTaskset(ToolEnvTasksetConfig(env=env, options=options, tasks=tasks))


def model(env: str, options: dict[str, Any], tasks: int, quits: set[int]) -> Any:
    """The oracle of whichever task a request is about; conversations whose number is in `quits` get no tool call."""
    made = make_env(env, **options)
    oracles = {}
    for task in made.task_ids(tasks):
        request = next(told["content"] for told in made.reset(options={"task": task})[0] if told["role"] == "user")
        oracles[request] = oracle_model(made, task)
    begun = 0

    def answer(request: dict[str, Any], number: int) -> Reply:
        reply = said(request, number)
        return streamed(reply) if request.get("stream") else reply

    def said(request: dict[str, Any], number: int) -> Reply:
        nonlocal begun
        if not any(message["role"] == "assistant" for message in request["messages"]):
            begun += 1
            if begun - 1 in quits:
                return completion({"content": "I do not know.", "refusal": None})
        asked = next(message["content"] for message in request["messages"] if message["role"] == "user")
        return oracles[asked](request, number)

    return answer


def streamed(reply: Reply) -> Reply:
    """The same completion as one event of a stream, and its end."""
    (choice,) = reply.body["choices"]
    message = choice["message"]
    calls = [{**call, "index": i} for i, call in enumerate(message.get("tool_calls") or [])]
    delta = {"role": "assistant", "content": message.get("content"), **({"tool_calls": calls} if calls else {})}
    chunk = {**reply.body, "object": "chat.completion.chunk"}
    chunk["choices"] = [{"index": 0, "delta": delta, "finish_reason": choice["finish_reason"]}]
    body = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode()
    return Reply(body, headers={"Content-Type": "text/event-stream"})


async def play(tasks: ToolEnvTaskset, base_url: str, rollouts: int) -> list[list[Any]]:
    config = vf.AgentConfig(
        harness=NullHarnessConfig(id="null"),
        runtime=SubprocessConfig(),
        model="scripted",
        client=vf.EvalClientConfig(base_url=base_url),
    )
    agent = vf.Agent(config)
    return [[await agent.run(task) for _ in range(rollouts)] for task in tasks]


@pytest.mark.parametrize(("env", "options"), [LOOKUP, ASSISTANT], ids=["lookup", "assistant"])
def test_the_oracle_is_paid_as_in_the_environment_itself(env: str, options: dict[str, Any]) -> None:
    with OpenAIServer(model(env, options, 1, quits=set())) as server:
        (((trace),),) = asyncio.run(play(taskset(env, options, tasks=1), server.base_url, 1))
    assert not trace.errors
    assert trace.ok
    made = make_env(env, **options)
    _, info = made.reset(options={"task": trace.task.data.task_id})
    paid = []
    for text, calls in info["oracle"].script():
        _, reward, terminated, _, info = made.step(made.dialect.render(text, calls))
        paid.append(reward)
    assert terminated
    assert info["success"]
    assert trace.info["turn_rewards"] == pytest.approx(paid)
    assert trace.reward == pytest.approx(sum(paid))
    assert trace.metrics["success"] == 1.0
    told = {tool.name for tool in trace.tools}
    assert told == {tool["function"]["name"] for tool in made.reset(options={"task": made.task_ids(1)[0]})[1]["tools"]}


def test_credit_goes_to_the_tokens_of_each_turn() -> None:
    env, options = LOOKUP
    with OpenAIServer(model(env, options, 1, quits={1})) as server:
        (traces,) = asyncio.run(play(taskset(env, options, tasks=1), server.base_url, 3))
    assert [trace.metrics["success"] for trace in traces] == [1.0, 0.0, 1.0]
    for trace in traces:  # as a training client leaves them: some tokens of the template, then the sampled ones
        for i, node in enumerate(node for node in trace.nodes if node.sampled):
            node.token_ids, node.mask = list(range(5 + i)), [False] * 2 + [True] * (3 + i)
    assigned = assign_turn_advantages(traces, gamma=0.8)
    rewards = [trace.info["turn_rewards"] for trace in traces]
    assert [len(row) for row in rewards] == [trace.num_turns for trace in traces]
    assert assigned == dual(rewards, ["group"] * 3, gamma=0.8)
    for trace, turns in zip(traces, assigned, strict=True):
        (branch,) = trace.branches
        expected: list[float] = []
        for i, value in enumerate(turns):
            expected += [0.0, 0.0] + [value] * (3 + i)
        assert branch.advantages == expected
    assert assigned[1][0] < 0 < assigned[0][0]


def test_the_example_runs() -> None:
    env, options = "tir_gym/Lookup-v0", {"hops": (1, 2), "split": "test"}
    with OpenAIServer(model(env, options, 1, quits={1})) as server:
        command = [sys.executable, str(CHECKOUT / "examples/trainers/verifiers_lookup.py")]
        command += ["--base-url", server.base_url, "--model", "scripted", "--tasks", "1"]
        done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert not [words for words in ("success 1.0", "success 0.0", "advantages:") if words not in done.stdout]
