"""`policy:FOLDER`: a language model in this process, sampled token by token as in training.

What `tir-gym train` and `tir-gym sft` write is benchmarked by the same command as every other agent. The prompt grows
as in a rollout (`ChatPrompt`): what the policy said is never tokenized again. Agents of one folder share one engine, so
episodes that are played at the same time (`-c 64`) are sampled together.
"""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tir_gym.agent import AgentFailure
from tir_gym.env import Action
from tir_gym.errors import ContextFull, InfrastructureError, UsageError
from tir_gym.messages import Observation
from tir_gym.rollout import ChatPrompt, Recording, SamplingParams

if TYPE_CHECKING:
    from tir_gym.agents.engines import HuggingFaceTokenizer, LocalEngine


class LocalPolicyAgent:
    """Plays with the policy in a folder. The environment's dialect must be the text that the policy writes: `hermes`.

    Args:
        folder: In Hugging Face's format.
        temperature: 0 takes the likeliest token.
        top_p: See `SamplingParams`.
        max_tokens: Of one turn.
        device: Such as `cuda:0`; a GPU if there is one.
        deterministic: Make a turn depend on nothing that is sampled beside it; see `LocalEngine`.

    Raises:
        UsageError: There is no such folder, or a number cannot be. When the first episode begins, also: there is no
            policy in it.
        MissingExtra: Likewise, torch or transformers are not installed.
    """

    needs_gold = False

    def __init__(
        self,
        folder: str,
        *,
        temperature: float = 0.0,
        top_p: float = 1.0,
        max_tokens: int = 256,
        device: str | None = None,
        deterministic: bool = False,
    ) -> None:
        try:
            self._params = SamplingParams(max_tokens=max_tokens, temperature=temperature, top_p=top_p)
        except ValueError as error:
            raise UsageError(str(error)) from None
        if not Path(folder).is_dir():
            raise UsageError(f"policy:{folder}: there is no such folder; `tir-gym make-policy` and `train` write one")
        self._name = (str(Path(folder).resolve()), device, deterministic)
        self._shared: _Shared | None = None  # loaded when the first episode begins
        self._episode = 0
        self._counts = {"prompt_tokens": 0, "completion_tokens": 0, "context_overflows": 0}

    @property
    def _key(self) -> str:
        """Names the episode to the engine; no two episodes have the same."""
        return f"agent {id(self)}, episode {self._episode}"

    @property
    def usage(self) -> dict[str, int]:
        """Counts since `begin`: `prompt_tokens` (of all turns), `completion_tokens`, `context_overflows`."""
        return dict(self._counts)

    def begin(self, env_info: dict[str, Any]) -> None:
        if env_info["dialect"] == "openai":
            raise UsageError(
                "a policy writes its calls as text, and in dialect 'openai' text holds none: make the environment with "
                "dialect='hermes' (--dialect hermes)"
            )
        if self._shared is None:
            self._shared = _Shared.of(*self._name)
            self._tokenizer, self._engine = self._shared.tokenizer, self._shared.engine
        self._engine.release(self._key)
        self._episode += 1
        self._counts = dict.fromkeys(self._counts, 0)
        self._prompt = ChatPrompt(self._tokenizer, env_info["tools"])
        self._recording = Recording(env_info["task_id"], env_info["task_id"])
        self._seed = f"{env_info['seed']}/{env_info['task_id']}"
        self._said: Any = None
        self._over = False
        self._turn = 0

    def act(self, observation: Observation, info: dict[str, Any]) -> Action:
        if self._over:
            return ""
        prompt = self._prompt
        context = prompt.begin(observation) if self._said is None else prompt.grow(self._said, observation)
        prompt_ids = self._recording.extend(context)
        seed = int.from_bytes(sha256(f"{self._seed}/{self._turn}".encode()).digest()[:8]) >> 1
        params = SamplingParams(
            max_tokens=self._params.max_tokens,
            temperature=self._params.temperature,
            top_p=self._params.top_p,
            stop_ids=tuple(sorted(self._tokenizer.stop_ids)),
            seed=seed,
        )
        try:
            output = asyncio.run(self._engine.generate(prompt_ids, params, key=self._key))
        except ContextFull as error:
            if not self._turn:
                raise AgentFailure(f"the task's opening does not fit: {error}") from error
            self._counts["context_overflows"] += 1  # the conversation has outgrown the context: it says nothing more
            self._over = True
            return ""
        except InfrastructureError as error:
            raise AgentFailure(str(error)) from error
        self._recording.add(output.ids, output.logprobs, reward=0.0, finish=output.finish)
        self._counts["prompt_tokens"] += len(prompt_ids)
        self._counts["completion_tokens"] += len(output.ids)
        self._said = output.ids
        self._turn += 1
        return prompt.text(output.ids)

    def close(self) -> None:
        """Let go of the engine; the last agent of a folder ends it. Safe to call twice."""
        shared, self._shared = self._shared, None
        if shared is not None:
            self._engine.release(self._key)
            shared.let_go()


@dataclass
class _Shared:
    """An engine and how many agents use it."""

    name: tuple[str, str | None, bool]
    tokenizer: HuggingFaceTokenizer
    engine: LocalEngine
    users: int = 0

    @classmethod
    def of(cls, folder: str, device: str | None, deterministic: bool) -> _Shared:
        from tir_gym.agents.engines import HuggingFaceTokenizer, LocalEngine

        name = (folder, device, deterministic)
        with _lock:
            if name not in _engines:
                engine = LocalEngine.load(folder, device=device, deterministic=deterministic)
                _engines[name] = cls(name, HuggingFaceTokenizer.load(folder), engine)
            _engines[name].users += 1
            return _engines[name]

    def let_go(self) -> None:
        with _lock:
            self.users -= 1
            if self.users:
                return
            del _engines[self.name]
        asyncio.run(self.engine.close())


_lock = threading.Lock()
_engines: dict[tuple[str, str | None, bool], _Shared] = {}
