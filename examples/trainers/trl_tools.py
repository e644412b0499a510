"""TRL's own tool loop on our environments, on a CPU: their tools as methods, their return as the reward.

    python examples/trainers/trl_tools.py [--policy FOLDER] [--steps 3] [--tasks 8]

Without a folder, a policy is made for the occasion. Needs `tir-gym[train]` and TRL; `make test-trainers` runs it.
"""

import argparse
import tempfile
from pathlib import Path

from transformers import AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from tir_gym.agents.adapters.trl_tools import HERMES, environment_class, success, task_rows
from tir_gym.agents.policies import make_policy

ENV = "tir_gym/Lookup-v0"
OPTIONS = {"hops": 1, "branches": 1, "distractors": 1, "max_turns": 4}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--policy", type=Path)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=8)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        policy = asked.policy or make_policy(Path(folder) / "policy", size="0.2M", envs=[ENV], conversations=50).folder
        tokenizer = AutoTokenizer.from_pretrained(policy)
        tokenizer.response_template = dict(HERMES)
        trainer = GRPOTrainer(
            str(policy),
            processing_class=tokenizer,
            environment_factory=environment_class(ENV, **OPTIONS),
            reward_funcs=[success],
            train_dataset=task_rows(ENV, asked.tasks, **OPTIONS),
            args=GRPOConfig(
                output_dir=f"{folder}/run",
                max_steps=asked.steps,
                per_device_train_batch_size=8,
                num_generations=4,
                max_completion_length=128,  # of all turns together
                learning_rate=2e-4,
                reward_weights=[0.0],  # success is logged only; the environment's return has weight 1
                logging_steps=1,
                use_cpu=True,
                bf16=False,
                report_to="none",
                save_strategy="no",
                disable_tqdm=True,
            ),
        )
        trainer.train()
        for line in trainer.state.log_history:
            if "rewards/success/mean" in line:
                print(
                    f"step {line['step']}: return {line['rewards/LookupEnvTools/mean']:.3f}, "
                    f"success {line['rewards/success/mean']:.3f}, calls {line['tools/call_frequency']:.2f}, "
                    f"gradient {line['grad_norm']:.3g}"
                )


if __name__ == "__main__":
    main()
