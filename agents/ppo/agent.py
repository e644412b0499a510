"""`ppo:DIR`: plays what `tir-gym train-ppo` has trained."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from tir_gym.agents.ppo.discretiser import Discretiser
from tir_gym.agents.ppo.training import POLICY_FILE, make_network, read_about
from tir_gym.agents.programmed import numbered
from tir_gym.dialects import get_dialect
from tir_gym.env import Action
from tir_gym.errors import UsageError
from tir_gym.messages import Observation


class PPOAgent:
    """Reads the conversation as `Discretiser` does, and takes the likeliest action that is not forbidden.

    Args:
        folder: What `tir-gym train-ppo` has written.
        greedy: Whether to take the likeliest action; if not, actions are drawn, with the episode's seed.

    Raises:
        UsageError: The folder holds no policy, or weights of another shape.
        MissingExtra: sb3-contrib is not installed.
    """

    needs_gold = False

    def __init__(self, folder: str, *, greedy: bool = True) -> None:
        path = Path(folder)
        about = read_about(path)
        config = about.config
        self._discretiser = Discretiser(
            about.tools, slots=config.slots, mentions=config.mentions, answer_values=config.answer_values
        )
        self._network = make_network(about, self._discretiser.n_features, self._discretiser.n_actions)
        import torch

        try:
            # Weights only: a folder from elsewhere runs nothing.
            self._network.load_state_dict(torch.load(path / POLICY_FILE, map_location="cpu", weights_only=True))
        except Exception as error:
            raise UsageError(f"{path / POLICY_FILE} cannot be loaded: {str(error).splitlines()[0]}") from error
        self._network.set_training_mode(False)
        self._greedy = greedy
        self._masked = config.masked
        self._env_id = about.env_id
        self._actions = self._invalid = 0

    @property
    def usage(self) -> dict[str, int]:
        """Counts since `begin`: `actions`, and `invalid_actions` among them; more than 0 only without masks."""
        return {"actions": self._actions, "invalid_actions": self._invalid}

    def begin(self, env_info: dict[str, Any]) -> None:
        self._dialect = get_dialect(env_info["dialect"])
        self._rng = random.Random(f"ppo/{env_info['seed']}/{env_info['task_id']}")
        self._offered = [entry["function"]["name"] for entry in env_info["tools"]]
        if not set(self._offered) & set(self._discretiser.tools):
            raise UsageError(
                f"the policy was trained for {self._env_id} and knows none of the tools of {env_info['env_id']}; "
                "train one with `tir-gym train-ppo`"
            )
        self._turn = self._actions = self._invalid = 0

    def act(self, observation: Observation, info: dict[str, Any]) -> Action:
        if self._turn == 0:
            self._discretiser.begin(observation, self._offered)
        else:
            self._discretiser.hear(observation)
        move = None
        while move is None:
            move = self._discretiser.choose(self._decide())
        text, calls = move
        action = self._dialect.render(text, numbered(calls, self._turn))
        self._turn += 1
        return action

    def _decide(self) -> int:
        import torch

        allowed = self._discretiser.mask()
        features = torch.from_numpy(self._discretiser.features())[None]
        with torch.no_grad():
            distribution = self._network.get_distribution(features, allowed if self._masked else None)
            probabilities = distribution.distribution.probs[0].double().tolist()
        if self._greedy:
            action = max(range(len(probabilities)), key=probabilities.__getitem__)
        else:
            (action,) = self._rng.choices(range(len(probabilities)), probabilities)
        self._actions += 1
        self._invalid += not allowed[action]
        return action
