"""TRL's GRPOTrainer on our environments, with an advantage for each turn.

    from tir_gym.agents.adapters.trl import TurnGRPOTrainer, TurnRollouts, task_rows

    trainer = TurnGRPOTrainer(
        "outputs/policy",
        rollout_func=TurnRollouts("tir_gym/Lookup-v0"),
        train_dataset=task_rows("tir_gym/Lookup-v0", 1000),
        estimator="dual",
        args=GRPOConfig(...),
    )

`TurnRollouts` plays episodes with the trainer's own engine, tokens in and tokens out, so nothing is tokenized twice.
TRL compares completions by one number each; `TurnGRPOTrainer` puts any estimator of `tir_gym.advantages` in the place
of that comparison and leaves the loss as it is. TRL's own tool loop is served by `trl_tools.py` beside this file.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from typing import Any

import numpy as np

from tir_gym.advantages import get_estimator
from tir_gym.agents.adapters.playing import Asked, playing
from tir_gym.agents.adapters.tokens import check_estimator
from tir_gym.agents.engines import HuggingFaceTokenizer
from tir_gym.env import ToolEnv
from tir_gym.errors import MissingExtra, UsageError
from tir_gym.making import make_env
from tir_gym.rollout import TokenOutput, Trajectory

try:
    import torch
    from accelerate.utils import gather_object
    from datasets import Dataset
    from trl import GRPOTrainer
except ImportError as error:
    raise MissingExtra("this adapter needs TRL: pip install 'trl>=1.16,<2' 'transformers>=5.2'") from error


def task_rows(env: str, n: int, *, first: int = 0, **options: Any) -> Dataset:
    """A data set of tasks for `TurnRollouts`: one column, `prompt`, with the id of a task.

    What the policy reads is made by the environment; the id stands in the prompt's place because it is all that TRL
    hands to a rollout function.

    Args:
        env: Environment id.
        n: Number of tasks.
        first: Number of the first.
        options: Of the environment, such as `split`.
    """
    made = make_env(env, **options)
    try:
        return Dataset.from_dict({"prompt": made.task_ids(n, first)})
    finally:
        made.close()


class TurnRollouts:
    """A `rollout_func`: plays one episode for each prompt it is given, all of them turn by turn.

    A turn's budget is the trainer's `max_completion_length`, and so is the engine: transformers, continuous batching or
    vLLM. An episode that the infrastructure breaks has no token that is trained, and no reward.

    Args:
        env: Environment id.
        max_context: Tokens of prompt and response together; by default as many as the model has positions.
        hindsight: Pay each turn when the episode has ended; see `playing`.
        options: Of the environment. Its `dialect` is the one in which the policy writes calls, `hermes` by default.
    """

    def __init__(self, env: str, *, max_context: int | None = None, hindsight: bool = False, **options: Any) -> None:
        self._make = partial(make_env, env, **{"dialect": "hermes", **options})
        self._max_context = max_context
        self._hindsight = hindsight
        self._envs: list[ToolEnv] = []
        self.trajectories: list[Trajectory] = []
        """Those of the last call, one per prompt. Rollouts of one `group_id` are compared."""

    def __call__(self, prompts: list[str], trainer: Any) -> dict[str, Any]:
        """Play.

        Args:
            prompts: Task ids, each as often as it is to be played.
            trainer: The trainer.

        Returns:
            What TRL asks for (`prompt_ids`, `completion_ids`, `logprobs`, `env_mask`), and for reward functions
            `turn_rewards`, `success`, `infra_error` and `task_id`.
        """
        if not all(isinstance(prompt, str) for prompt in prompts):
            raise UsageError("prompts: TurnRollouts reads the id of a task in each; make the data set with task_rows")
        while len(self._envs) < len(prompts):
            self._envs.append(self._make())
        tokenizer = HuggingFaceTokenizer(
            trainer.processing_class, stop_ids=trainer.eos_token_ids, template_options=trainer.chat_template_kwargs
        )
        size = trainer.num_generations if trainer.model.training else trainer.num_generations_eval
        first = trainer.accelerator.process_index * len(prompts)
        episodes = [
            playing(
                env,
                tokenizer,
                task=prompt,
                group_id=(first + i) // size,
                max_context=self._max_context or trainer.model.config.max_position_embeddings,
                hindsight=self._hindsight,
            )
            for i, (env, prompt) in enumerate(zip(self._envs, prompts, strict=False))
        ]
        sampler = _Sampler(trainer, frozenset(tokenizer.stop_ids))
        self.trajectories = _played(episodes, sampler)
        rows = [_row(trajectory, trainer.processing_class.eos_token_id) for trajectory in self.trajectories]
        return {
            "prompt_ids": [row[0] for row in rows],
            "completion_ids": [row[1] for row in rows],
            "env_mask": [row[2] for row in rows],
            "logprobs": [row[3] for row in rows] if sampler.tells_logprobs else None,
            "turn_rewards": [trajectory.turn_rewards for trajectory in self.trajectories],
            "success": [trajectory.success for trajectory in self.trajectories],
            "infra_error": [trajectory.infra_error for trajectory in self.trajectories],
            "task_id": [trajectory.task_id for trajectory in self.trajectories],
        }

    def close(self) -> None:
        """Give back the sandboxes of all environments."""
        while self._envs:
            self._envs.pop().close()


def turn_return(turn_rewards: list[list[float]], infra_error: list[Any], **_: Any) -> list[float | None]:
    """A reward function: the sum of an episode's turn rewards; none where the infrastructure broke it."""
    return [None if broken else sum(paid) for paid, broken in zip(turn_rewards, infra_error, strict=True)]


def success(success: list[bool | None], **_: Any) -> list[float | None]:
    """A reward function, to be logged with weight 0: whether the task was done."""
    return [None if done is None else float(done) for done in success]


class TurnGRPOTrainer(GRPOTrainer):  # type: ignore[misc]  # a class of a package that types are not read from
    """A `GRPOTrainer` whose advantages are those of `tir_gym.advantages`: one for each turn, at each of its tokens.

    Reward functions are for the log alone; what is learnt from are the turn rewards of `rollout_func`.

    Args:
        model: As `GRPOTrainer` has it.
        rollout_func: Plays the episodes.
        estimator: Name of an estimator that needs nothing but rewards and groups; for others override
            `turn_advantages`.
        estimator_options: For it, such as `{"gamma": 0.9}`.
        reward_funcs: By default the return and the success, to be looked at.
        options: As `GRPOTrainer` has them: `args`, `train_dataset`, `processing_class`, ...

    Raises:
        UsageError: No such estimator, or one that needs more.
    """

    def __init__(
        self,
        model: Any,
        *,
        rollout_func: TurnRollouts,
        estimator: str = "dual",
        estimator_options: dict[str, Any] | None = None,
        reward_funcs: Any = (turn_return, success),
        **options: Any,
    ) -> None:
        check_estimator(estimator)
        self._estimator = get_estimator(estimator)
        self._estimator_options = dict(estimator_options or {})
        super().__init__(model, reward_funcs=list(reward_funcs), rollout_func=rollout_func, **options)

    def turn_advantages(self, trajectories: Sequence[Trajectory]) -> Sequence[Sequence[float]]:
        """One advantage per turn of each trajectory; those of all processes, whole groups.

        Args:
            trajectories: Rollouts of one `group_id` are compared.
        """
        found: Sequence[Sequence[float]] = self._estimator(
            [trajectory.turn_rewards for trajectory in trajectories],
            [trajectory.group_id for trajectory in trajectories],
            infra=[trajectory.infra_error is not None for trajectory in trajectories],
            **self._estimator_options,
        )
        return found

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        mine = self.rollout_func.trajectories
        by_turn = self.turn_advantages(gather_object(mine))[self.accelerator.process_index * len(mine) :]
        advantages = torch.zeros(output["completion_ids"].shape, dtype=torch.float32)
        for i, (trajectory, values) in enumerate(zip(mine, by_turn, strict=False)):
            if trajectory.turns:
                turns = trajectory.flat().turn_of_token
                at_tokens = np.where(turns >= 0, np.asarray(values, dtype=np.float32)[turns], 0)
                advantages[i, : len(turns)] = torch.from_numpy(at_tokens)
        output["advantages"] = advantages.to(output["completion_ids"].device)  # the loss takes [B, T] as well as [B]
        return output


class _Sampler:
    """The trainer's own engine, for one turn of many episodes."""

    def __init__(self, trainer: Any, stop_ids: frozenset[int]) -> None:
        self._trainer = trainer
        self._stop_ids = stop_ids
        self.tells_logprobs = True

    def __call__(self, asked: Sequence[Asked]) -> list[TokenOutput]:
        prompts = [turn.prompt_ids.tolist() for turn in asked]
        # One per prompt: episodes of a group have gone different ways after their first turn.
        ids, logprobs = self._trainer._generate_single_turn(prompts, None, {}, num_generations=1)
        self.tells_logprobs = logprobs is not None  # transformers' generate does not; TRL computes them then
        version = self._trainer.state.global_step
        return [
            TokenOutput(
                ids=np.asarray(row, dtype=np.int32),
                logprobs=np.asarray(logprobs[i] if logprobs is not None else [0.0] * len(row), dtype=np.float32),
                finish="stop" if row[-1] in self._stop_ids else "length",
                weight_version=version,
            )
            for i, row in enumerate(ids)
        ]


def _played(episodes: Sequence[Generator[Asked, TokenOutput, Trajectory]], sampler: _Sampler) -> list[Trajectory]:
    found: dict[int, Trajectory] = {}
    asked: dict[int, Asked] = {}

    def advance(i: int, output: TokenOutput | None) -> None:
        try:
            asked[i] = next(episodes[i]) if output is None else episodes[i].send(output)
        except StopIteration as end:
            asked.pop(i, None)
            found[i] = end.value

    for i in range(len(episodes)):
        advance(i, None)
    while asked:
        due = list(asked)
        for i, output in zip(due, sampler([asked[i] for i in due]), strict=True):
            advance(i, output)
    return [found[i] for i in range(len(episodes))]


def _row(trajectory: Trajectory, filler: int) -> tuple[list[int], list[int], list[int], list[float]]:
    """Prompt, completion, mask and log-probabilities; TRL wants at least one token of each."""
    if not trajectory.turns:
        return [filler], [filler], [0], [0.0]
    flat = trajectory.flat()
    mask = flat.loss_mask if trajectory.infra_error is None else np.zeros_like(flat.loss_mask)
    return flat.prompt_ids.tolist(), flat.response_ids.tolist(), mask.tolist(), flat.logprobs.tolist()
