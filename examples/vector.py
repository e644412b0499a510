"""Eight episodes at once, in this process and in worker processes.

Actions and observations are tuples, one entry per environment. Rewards and ends are arrays. Messages have no fixed
size, so the asynchronous mode needs `shared_memory=False`.
"""

import gymnasium as gym

import tir_gym

ENVIRONMENTS = 8


def play(mode: str, options: dict[str, bool]) -> None:
    vector = gym.make_vec(
        "tir_gym/Calculator-v0",
        num_envs=ENVIRONMENTS,
        vectorization_mode=mode,
        vector_kwargs=options,
        dialect="json",
    )
    observations, infos = vector.reset(seed=0)
    print(f"{mode}: {observations[0][-1]['content']}")
    actions = ('{"name": "add", "arguments": {"a": 1, "b": 2}}',) * ENVIRONMENTS
    observations, rewards, terminated, truncated, infos = vector.step(actions)
    print(f"{mode}: {observations[0][-1]['content']}, rewards {rewards.round(2).tolist()}")
    # An answer ends an episode. The next step begins a new one there, whatever its action; the others go on.
    answers = ("<answer>3</answer>", *actions[1:])
    observations, rewards, terminated, truncated, infos = vector.step(answers)
    print(f"{mode}: over {(terminated | truncated).tolist()}, success of the first: {bool(infos['success'][0])}")
    vector.close()


if __name__ == "__main__":  # worker processes import this file
    play("sync", {})
    play("async", {"shared_memory": False})
