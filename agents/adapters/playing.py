"""An episode that waits for its tokens: it says what the prompt of the next turn is, and is told what was sampled.

Trainers differ in who calls whom: one wants all episodes of a batch turn by turn, another awaits a server in each. So
an episode is a generator here, with no engine and no loop in it:

    episode = playing(env, tokenizer, task="train/7", group_id=0)
    asked = next(episode)
    try:
        while True:
            asked = episode.send(sampled(asked.prompt_ids, asked.room))
    except StopIteration as end:
        trajectory = end.value
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tir_gym.env import ToolEnv
from tir_gym.errors import InfrastructureError
from tir_gym.rollout import ChatPrompt, ChatTokenizer, Recording, TokenOutput, Trajectory


@dataclass(frozen=True, eq=False)
class Asked:
    """A turn that is due."""

    prompt_ids: NDArray[np.int32]
    """`[P]`: everything before it."""
    room: int | None
    """Tokens that it may have; more are cut off. `None` for no limit."""


def playing(
    env: ToolEnv,
    tokenizer: ChatTokenizer,
    *,
    task: str,
    group_id: str | int,
    max_context: int | None = None,
    max_response: int | None = None,
    hindsight: bool = False,
) -> Generator[Asked, TokenOutput, Trajectory]:
    """Play a task; the trajectory is one segment, see `ChatPrompt` on `append_always`.

    Args:
        env: Its dialect must be the one in which the policy writes calls.
        tokenizer: The policy's.
        task: Task id.
        group_id: Which rollouts this one is compared with.
        max_context: Tokens of prompt and response together, at least 1.
        max_response: Tokens after the first prompt, tool results included, at least 1.
        hindsight: Pay each turn when the episode has ended (`info["turn_rewards"]`). An episode that runs out of tokens
            has no such rewards; its turns are paid nothing then.

    Returns:
        The trajectory. Where there is no room for another token it is truncated, with the ending `max_tokens`. What
        the infrastructure breaks is told in `infra_error`, with the turns before it.
    """
    recording = Recording(task, group_id)
    try:
        observation, info = env.reset(options={"task": task})
    except InfrastructureError as error:
        broken = {"kind": error.kind, "tool": error.tool, "message": str(error)}
        return recording.finish(ending="infra_error", truncated=True, infra_error=broken)
    prompt = ChatPrompt(tokenizer, info["tools"], append_always=True)
    context = prompt.begin(observation)
    first = len(context.ids)
    while True:
        prompt_ids = recording.extend(context)
        room = _room(len(prompt_ids), first, max_context, max_response)
        if room is not None and room < 1:
            found = recording.finish(success=False, ending="max_tokens", truncated=True)
            return found.with_rewards([0.0] * len(found.turns)) if hindsight else found
        output = yield Asked(prompt_ids, room)
        ids, cut = output.ids[:room], room is not None and len(output.ids) > room
        observation, reward, terminated, truncated, info = env.step(prompt.text(ids))
        recording.add(
            ids,
            output.logprobs[:room],
            reward=reward,
            parts=info["match"].parts if "match" in info else {},
            weight_version=output.weight_version,
            finish="length" if cut else output.finish,
        )
        if terminated or truncated:
            found = recording.finish(
                success=info.get("success"),
                ending=info["ending"],
                truncated=truncated,
                infra_error=info.get("infra_error"),
            )
            return found.with_rewards(info["turn_rewards"]) if hindsight and "turn_rewards" in info else found
        context = prompt.grow(ids, observation)


def _room(now: int, first: int, max_context: int | None, max_response: int | None) -> int | None:
    rooms = [most - used for most, used in ((max_context, now), (max_response, now - first)) if most is not None]
    return min(rooms, default=None)
