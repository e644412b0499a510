"""TRL's GRPOTrainer with an advantage for each turn, on a CPU: a few steps of a tiny policy that knows nothing yet.

    python examples/trainers/trl_turns.py [--policy FOLDER] [--steps 3] [--estimator dual] [--tasks 8]

Without a folder, a policy is made for the occasion. Needs `tir-gym[train]` and TRL; `make test-trainers` runs it.
"""

import argparse
import tempfile
from pathlib import Path

from trl import GRPOConfig

from tir_gym.agents.adapters.trl import TurnGRPOTrainer, TurnRollouts, task_rows
from tir_gym.agents.policies import make_policy

ENV = "tir_gym/Lookup-v0"
OPTIONS = {"hops": 1, "branches": 1, "distractors": 1, "max_turns": 4}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--policy", type=Path)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--estimator", default="dual")
    parser.add_argument("--tasks", type=int, default=8)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        policy = asked.policy or make_policy(Path(folder) / "policy", size="0.2M", envs=[ENV], conversations=50).folder
        trainer = TurnGRPOTrainer(
            str(policy),
            rollout_func=TurnRollouts(ENV, **OPTIONS),
            estimator=asked.estimator,
            train_dataset=task_rows(ENV, asked.tasks, **OPTIONS),
            args=GRPOConfig(
                output_dir=f"{folder}/run",
                max_steps=asked.steps,
                per_device_train_batch_size=8,
                num_generations=4,
                max_completion_length=24,  # of one turn
                learning_rate=2e-4,
                reward_weights=[1.0, 0.0],  # the return; success is logged only
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
            if "rewards/turn_return/mean" in line:
                print(
                    f"step {line['step']}: return {line['rewards/turn_return/mean']:.3f}, "
                    f"success {line['rewards/success/mean']:.3f}, gradient {line['grad_norm']:.3g}"
                )


if __name__ == "__main__":
    main()
