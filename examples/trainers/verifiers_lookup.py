"""Our environments as a taskset of verifiers, played by a model behind an OpenAI-compatible endpoint.

    python examples/trainers/verifiers_lookup.py --base-url http://localhost:8000/v1 --model qwen3-8b [--tasks 2]

The model runs in verifiers' own `null` harness, which needs `uv` on the path. `make test-trainers` runs it.
"""

import argparse
import asyncio

import verifiers.v1 as vf
from verifiers.v1.harnesses.null import NullHarnessConfig
from verifiers.v1.runtimes import SubprocessConfig

from tir_gym.agents.adapters.verifiers import ToolEnvTaskset, ToolEnvTasksetConfig, assign_turn_advantages

ENV = "tir_gym/Lookup-v0"
OPTIONS = {"hops": (1, 2), "split": "test"}


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--tasks", type=int, default=2)
    parser.add_argument("--rollouts", type=int, default=2)
    asked = parser.parse_args()
    agent = vf.Agent(
        vf.AgentConfig(
            harness=NullHarnessConfig(id="null"),
            runtime=SubprocessConfig(),
            model=asked.model,
            client=vf.EvalClientConfig(base_url=asked.base_url),
        )
    )
    for task in ToolEnvTaskset(ToolEnvTasksetConfig(env=ENV, options=OPTIONS, tasks=asked.tasks)):
        traces = [await agent.run(task) for _ in range(asked.rollouts)]  # a group
        for trace in traces:
            for error in trace.errors:
                print(f"{error.type}: {error.message}")
            rewards = [round(reward, 3) for reward in trace.info.get("turn_rewards", [])]
            print(f"{task.key}: return {trace.reward:.3f} of turns {rewards}, success {trace.metrics['success']}")
        print("advantages:", [[round(value, 3) for value in turns] for turns in assign_turn_advantages(traces)])


if __name__ == "__main__":
    asyncio.run(main())
