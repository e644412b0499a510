"""SkyRL's own classes on our environments, on a CPU: its generator, batch, advantages per turn and policy loss.

    python examples/trainers/skyrl_turns.py --policy FOLDER [--estimator dual] [--tasks 2] [--rollouts 4]

What SkyRL does with Ray, vLLM and GPUs is left out: a client samples from the model in this process, and the trainer is
not started, only asked for a batch and its advantages. `make test-trainers` runs it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import typing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import typing_extensions

if sys.version_info < (3, 12):  # SkyRL 0.3.0 gives pydantic the older one, which it refuses there
    typing.TypedDict = typing_extensions.TypedDict

from skyrl.backends.skyrl_train.utils.ppo_utils import PolicyLossRegistry
from skyrl.train.config import GeneratorConfig, SkyRLGymConfig, SkyRLTrainConfig
from skyrl.train.generators.skyrl_gym_generator import SkyRLGymGenerator
from transformers import AutoModelForCausalLM, AutoTokenizer

from tir_gym.agents.adapters.skyrl import register_env
from tir_gym.agents.adapters.skyrl_trainer import TurnPPOTrainer, register_estimators
from tir_gym.agents.engines import LocalEngine
from tir_gym.making import make_env
from tir_gym.rollout import SamplingParams

ENV = "tir_gym/Lookup-v0"
OPTIONS: dict[str, Any] = {"hops": 1, "branches": 1, "distractors": 1}


class LocalClient:
    """What the generator asks of an inference engine, from a model in this process."""

    def __init__(self, model: Any, tokenizer: Any, max_tokens: int) -> None:
        self.engine = LocalEngine(model, max_slots=8)
        self._tokenizer, self._max_tokens = tokenizer, max_tokens
        self.weight_version = 0

    async def generate(self, batch: dict[str, Any], model: str | None = None) -> dict[str, Any]:
        (prompt_ids,), (session,) = batch["prompt_token_ids"], batch["session_ids"]
        stop = self._tokenizer.eos_token_id
        params = SamplingParams(max_tokens=self._max_tokens, stop_ids=(stop,))
        output = await self.engine.generate(prompt_ids, params, key=session)
        ids = output.ids.tolist()
        text = self._tokenizer.decode(ids[:-1] if ids[-1] == stop else ids, skip_special_tokens=False)
        return {
            "responses": [text],
            "response_ids": [ids],
            "stop_reasons": [output.finish],
            "response_logprobs": [output.logprobs.tolist()],
        }

    async def finish_session(self, session: str) -> None:
        self.engine.release(session)


def roll_out(model: Any, tokenizer: Any, tasks: list[str], rollouts: int) -> tuple[dict[str, Any], list[str]]:
    """Each task so many times through SkyRL's generator, and the task of each rollout."""
    made = make_env(ENV, **OPTIONS)
    tools = made.reset(options={"task": tasks[0]})[1]["tools"]
    client = LocalClient(model, tokenizer, max_tokens=24)
    config = GeneratorConfig(max_turns=3, max_input_length=512, chat_template_kwargs={"tools": list(tools)})
    generator = SkyRLGymGenerator(config, SkyRLGymConfig(max_env_workers=0), client, tokenizer)
    rows = [task for task in tasks for _ in range(rollouts)]
    batch = {
        "prompts": [[] for _ in rows],  # the environment has its own
        "env_classes": ["lookup"] * len(rows),
        "env_extras": [{"task": task} for task in rows],
    }
    try:
        return asyncio.run(generator.generate(batch, disable_tqdm=True)), rows
    finally:
        asyncio.run(client.engine.close())


def batch_of(output: dict[str, Any], uids: list[str], tokenizer: Any, estimator: str, rollouts: int) -> Any:
    """The trainer's batch, with advantages, from the methods that its loop calls."""
    trainer = TurnPPOTrainer.__new__(TurnPPOTrainer)  # its constructor wants Ray's workers
    trainer.cfg = SkyRLTrainConfig()
    trainer.cfg.trainer.algorithm.advantage_estimator = f"tir_gym_{estimator}"
    trainer.cfg.trainer.algorithm.gamma = 0.9
    trainer.cfg.generator.n_samples_per_prompt = rollouts
    trainer.cfg.trainer.train_batch_size = trainer.cfg.trainer.policy_mini_batch_size = len(set(uids))
    trainer.tokenizer, trainer.all_metrics = tokenizer, {}
    trainer.dispatch = SimpleNamespace(get_lcm_dp_size=lambda: 1)
    data = trainer.convert_to_training_input(*trainer.postprocess_generator_output(output, uids))
    data["values"] = None
    return trainer.compute_advantages_and_returns(data)


def loss_of(model: Any, data: Any) -> Any:
    """SkyRL's clipped loss, summed over the sampled tokens."""
    sequences, mask = data["sequences"], data["loss_mask"]
    width = mask.shape[1]
    positions = (data["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    logits = model(sequences, attention_mask=data["attention_mask"], position_ids=positions).logits
    chosen = logits[:, -width - 1 : -1].log_softmax(-1).gather(-1, sequences[:, -width:, None])[..., 0]
    config = SkyRLTrainConfig().trainer.algorithm
    loss, _ = PolicyLossRegistry.get("regular")(
        chosen, data["rollout_logprobs"], data["advantages"], config, loss_mask=mask
    )
    return loss


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--policy", type=Path, required=True)
    parser.add_argument("--estimator", default="dual")
    parser.add_argument("--tasks", type=int, default=2)
    parser.add_argument("--rollouts", type=int, default=4)
    asked = parser.parse_args()
    register_env("lookup", ENV, tools_in_prompt=False, **OPTIONS)
    register_estimators()
    model, tokenizer = AutoModelForCausalLM.from_pretrained(asked.policy), AutoTokenizer.from_pretrained(asked.policy)
    tasks = make_env(ENV, **OPTIONS).task_ids(asked.tasks)
    output, uids = roll_out(model, tokenizer, tasks, asked.rollouts)
    data = batch_of(output, uids, tokenizer, asked.estimator, asked.rollouts)
    for uid, rewards, mask, row in zip(uids, output["rewards"], output["loss_masks"], data["advantages"], strict=True):
        aligned = row[len(row) - len(mask) :].tolist()
        ends = [i for i, own in enumerate(mask) if own and (i + 1 == len(mask) or not mask[i + 1])]
        print(uid, "rewards", [rewards[i] for i in ends], "advantages", [round(aligned[i], 3) for i in ends])
    loss = loss_of(model, data)
    loss.backward()
    print(f"loss {loss.item():.4f}")


if __name__ == "__main__":
    main()
