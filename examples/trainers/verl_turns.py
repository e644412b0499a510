"""verl's own classes on our environments, on a CPU: rollouts, batch, advantages per turn, policy loss, one update.

    python examples/trainers/verl_turns.py --policy FOLDER [--estimator dual] [--tasks 2] [--rollouts 4]

What verl does with Ray, vLLM and GPUs is left out: a client samples from the model in this process, and the update is
one step of AdamW by verl's loss. Everything between is verl's: its configuration, worker, agent loop registry, batch
and estimator registry. `make test-trainers` runs it.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import verl
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from transformers import AutoModelForCausalLM
from verl import DataProto
from verl.experimental.agent_loop.agent_loop import AgentLoopWorker, get_trajectory_info
from verl.trainer.ppo.core_algos import get_policy_loss_fn
from verl.trainer.ppo.v1.utils import compute_advantage_for_multi_trajectories
from verl.utils.config import omega_conf_to_dataclass
from verl.utils.tensordict_utils import list_of_dict_to_tensordict
from verl.workers.rollout.llm_server import LLMServerClient
from verl.workers.rollout.replica import TokenOutput

from tir_gym.agents.adapters.verl import TurnOutput
from tir_gym.agents.engines import LocalEngine
from tir_gym.making import make_env
from tir_gym.rollout import SamplingParams

ENV = "tir_gym/Lookup-v0"
OPTIONS: dict[str, Any] = {"hops": 1, "branches": 1, "distractors": 1, "max_turns": 3}


class LocalClient(LLMServerClient):
    """Samples from a model in this process."""

    def __init__(self, config: DictConfig, engine: LocalEngine, stop_id: int) -> None:
        super().__init__(config)
        self._engine, self._stop_id = engine, stop_id

    async def generate(
        self, request_id: str, *, prompt_ids: list[int], sampling_params: dict[str, Any], **_: Any
    ) -> TokenOutput:
        params = SamplingParams(
            max_tokens=sampling_params["max_tokens"],
            temperature=sampling_params["temperature"],
            stop_ids=(self._stop_id,),
        )
        output = await self._engine.generate(prompt_ids, params, key=request_id)
        return TokenOutput(
            token_ids=output.ids.tolist(),
            log_probs=output.logprobs.tolist(),
            stop_reason="completed",
            extra_fields={"global_steps": output.weight_version},
        )


class TurnWorker(AgentLoopWorker):
    """Gives the outputs themselves, as verl's worker for TransferQueue has them before it writes them there."""

    async def _agent_loop_postprocess(self, output: TurnOutput, validate: bool, **_: Any) -> TurnOutput:
        return output


def configuration(policy: Path, folder: Path, estimator: str) -> DictConfig:
    """verl's configuration, with our agent loop and estimator in it."""
    loops = folder / "agent.yaml"
    loop = {"name": "tir_gym", "_target_": "tir_gym.agents.adapters.verl.ToolEnvLoop", "env": ENV}
    OmegaConf.save(OmegaConf.create([{**loop, "env_options": OPTIONS, "max_turn_tokens": 24}]), loops)
    with initialize_config_dir(str(Path(verl.__file__).parent / "trainer/config"), version_base=None):
        return compose(
            "ppo_trainer",
            [
                f"actor_rollout_ref.model.path={policy}",
                "actor_rollout_ref.rollout.name=vllm",
                "actor_rollout_ref.rollout.prompt_length=256",
                "actor_rollout_ref.rollout.response_length=128",
                "actor_rollout_ref.rollout.calculate_log_probs=True",
                "actor_rollout_ref.rollout.agent.default_agent_loop=tir_gym",
                f"actor_rollout_ref.rollout.agent.agent_loop_config_path={loops}",
                f"algorithm.adv_estimator=tir_gym_{estimator}",
                "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=1",
                "algorithm.gamma=0.9",
            ],
        )


async def roll_out(config: DictConfig, model: Any, tasks: list[str], rollouts: int) -> list[TurnOutput]:
    """Each task so many times, all at once."""
    engine = LocalEngine(model, max_slots=8)
    worker = TurnWorker(config, LocalClient(config, engine, model.generation_config.eos_token_id))
    rows = [task for task in tasks for _ in range(rollouts)]
    info = await get_trajectory_info(0, [tasks.index(task) for task in rows], False)
    sampling = {"temperature": 1.0, "top_p": 1.0, "top_k": -1, "repetition_penalty": 1.0, "logprobs": True}
    try:
        return await asyncio.gather(
            *(
                worker._run_agent_loop(
                    sampling, row, agent_name="tir_gym", raw_prompt=[], extra_info={"task": task}, uid=task
                )
                for task, row in zip(rows, info, strict=True)
            )
        )
    finally:
        await engine.close()


def batch_of(config: DictConfig, outputs: list[TurnOutput], uids: list[str]) -> DataProto:
    """A batch with advantages, made as verl's trainer makes it (`PPOTrainer._compute_advantage`)."""
    fields = [output.as_dict() for output in outputs]
    names = ("prompts", "responses", "response_mask", "rollout_log_probs", "rm_scores")
    tensors = list_of_dict_to_tensordict([{name: field[name] for name in names} for field in fields])
    data = DataProto(batch=tensors.to_padded_tensor())
    data.non_tensor_batch["uid"] = np.array(uids, dtype=object)
    data.batch["token_level_rewards"] = data.batch["rm_scores"]
    return compute_advantage_for_multi_trajectories(
        data,
        batch_keys=[f"{uid}_{i}_0" for i, uid in enumerate(uids)],
        adv_estimator=config.algorithm.adv_estimator,
        gamma=config.algorithm.gamma,
        config=config.algorithm,
    )


def update(config: DictConfig, model: Any, outputs: list[TurnOutput], data: DataProto, lr: float) -> float:
    """One step down verl's clipped loss; gives the loss."""
    rows = []
    for output in outputs:
        ids = torch.tensor([output.prompt_ids + output.response_ids])
        logits = model(ids).logits[0, len(output.prompt_ids) - 1 : -1].float().log_softmax(-1)
        rows.append(logits.gather(1, torch.tensor(output.response_ids)[:, None])[:, 0])
    width = data.batch["advantages"].shape[1]
    log_probs = torch.stack([torch.nn.functional.pad(row, (0, width - len(row))) for row in rows])
    loss, _ = get_policy_loss_fn("vanilla")(
        old_log_prob=data.batch["rollout_log_probs"].float(),
        log_prob=log_probs,
        advantages=data.batch["advantages"],
        response_mask=data.batch["response_mask"],
        loss_agg_mode="token-mean",
        config=omega_conf_to_dataclass(config.actor_rollout_ref.actor),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    loss.backward()
    optimizer.step()
    return loss.item()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--policy", type=Path, required=True)
    parser.add_argument("--estimator", default="dual")
    parser.add_argument("--tasks", type=int, default=2)
    parser.add_argument("--rollouts", type=int, default=4)
    asked = parser.parse_args()
    model = AutoModelForCausalLM.from_pretrained(asked.policy)
    tasks = make_env(ENV, **OPTIONS).task_ids(asked.tasks)
    with tempfile.TemporaryDirectory() as folder:
        config = configuration(asked.policy.resolve(), Path(folder), asked.estimator)
        outputs = asyncio.run(roll_out(config, model, tasks, asked.rollouts))
    uids = [task for task in tasks for _ in range(asked.rollouts)]
    data = batch_of(config, outputs, uids)
    for uid, output, row in zip(uids, outputs, data.batch["advantages"], strict=True):
        print(
            uid, "rewards", output.turn_rewards, "advantages", [round(row[end].item(), 3) for end in output.turn_ends]
        )
    print(f"loss {update(config, model, outputs, data, lr=1e-4):.4f}")


if __name__ == "__main__":
    main()
