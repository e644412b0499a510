"""What a policy was given and what it said, as tokens: the record of a rollout that a trainer learns from.

An environment speaks in messages, a policy in tokens, and text is no way from the one to the other and back:
`encode(decode(ids))` is often not `ids`. So the tokens that were sampled are kept as they were sampled. History is only
ever appended to, never rendered or tokenized again:

    prompt, recording = ChatPrompt(tokenizer, info["tools"]), Recording(info["task_id"], group_id)
    context = prompt.begin(observation)
    while not over:
        output = policy.generate(recording.extend(context))
        observation, reward, terminated, truncated, info = env.step(prompt.text(output.ids))
        recording.add(output.ids, output.logprobs, reward=reward, parts=info["match"].parts)
        over = terminated or truncated
        if not over:
            context = prompt.grow(output.ids, observation)
    trajectory = recording.finish(success=info["success"], ending=info["ending"], truncated=truncated)

`Trajectory.flats()` gives the arrays of a training batch, and `turn_of_token` in them leads from the advantage of a
turn to that of a token:

    flats = [(i, flat) for i, trajectory in enumerate(trajectories) for flat in trajectory.flats()]
    advantages = dual([t.turn_rewards for t in trajectories], [t.group_id for t in trajectories])
    by_token = to_tokens([advantages[i] for i, _ in flats], [flat.turn_of_token for _, flat in flats])

`Scheduler` is that loop for many rollouts at a time, with budgets, retries and forks.

Nothing in here runs a model, and no tokenizer is imported: `ChatTokenizer` says what one must be able to do.
"""

from tir_gym.rollout.balancing import Balanced
from tir_gym.rollout.branching import Branching, tree_arguments
from tir_gym.rollout.flat import Flat
from tir_gym.rollout.idle import IdleMeter
from tir_gym.rollout.playing import Finished, Request
from tir_gym.rollout.policy import Policy, SamplingParams, TokenOutput
from tir_gym.rollout.prompt import ChatPrompt, ChatTokenizer, Context
from tir_gym.rollout.recording import Recording
from tir_gym.rollout.scheduler import Scheduler, collect
from tir_gym.rollout.trajectory import TokenTurn, Trajectory
from tir_gym.rollout.workers import EnvironmentWorkers, ThreadWorkers

__all__ = [
    "Balanced",
    "Branching",
    "ChatPrompt",
    "ChatTokenizer",
    "Context",
    "EnvironmentWorkers",
    "Finished",
    "Flat",
    "IdleMeter",
    "Policy",
    "Recording",
    "Request",
    "SamplingParams",
    "Scheduler",
    "ThreadWorkers",
    "TokenOutput",
    "TokenTurn",
    "Trajectory",
    "collect",
    "tree_arguments",
]
