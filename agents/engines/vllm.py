"""vLLM in this process: its asynchronous engine as a policy.

vLLM batches, pages and caches prefixes itself. Tokens go in and out as ids, its tokenizer is not asked. Its
log-probabilities are those of what was sampled from (`processed_logprobs`), so `top_p` must be 1.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tir_gym.agents.engines.engine import Weights
from tir_gym.agents.engines.orphans import Keeper
from tir_gym.agents.engines.server import check_logprobs
from tir_gym.agents.engines.turnstile import Turnstile
from tir_gym.errors import ContextFull, InfrastructureError, MissingExtra, UsageError
from tir_gym.rollout import SamplingParams, TokenOutput


class VllmEngine:
    """A model in vLLM. For one event loop.

    Args:
        folder: A model in Hugging Face's format, or its name on the hub. Untied embeddings where it runs on a CPU:
            with tied ones vLLM keeps the old output matrix through every `update`, which `check_parity` finds.
        send_seed: Whether turns' seeds are given to vLLM. On a CPU it dies of them.
        weight_version: Of the weights in the folder.
        options: Of vLLM's `AsyncEngineArgs`, such as `dtype`, `max_model_len`, `gpu_memory_utilization`,
            `tensor_parallel_size`.

    Raises:
        MissingExtra: vLLM is not installed.
        UsageError: vLLM refuses the model or an option.
        InfrastructureError: It does not start.
    """

    deterministic = False
    """What is batched together changes its last bits."""

    def __init__(self, folder: str | Path, *, send_seed: bool = True, weight_version: int = 0, **options: Any) -> None:
        # What vLLM tells of itself is a hundred lines, on the stream where our callers print what is asked of them.
        os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
        try:
            from vllm import AsyncEngineArgs
            from vllm.v1.engine.async_llm import AsyncLLM
        except ImportError as error:
            raise MissingExtra("the engine 'vllm' needs vLLM: pip install 'tir-gym[vllm]'") from error
        self._keeper = Keeper()
        try:
            quiet = {"use_tqdm_on_load": False, **options}  # a bar for every update
            arguments = AsyncEngineArgs(model=str(folder), logprobs_mode="processed_logprobs", **quiet)
            with self._keeper.children():
                self._engine: Any = AsyncLLM.from_engine_args(arguments)
        except BaseException as error:
            self._keeper.close()
            if isinstance(error, TypeError | ValueError | OSError):
                raise UsageError(f"vLLM cannot run {folder} so: {error}") from error
            if isinstance(error, RuntimeError):  # its processes have said why
                raise InfrastructureError(f"vLLM did not start: {error}", kind="engine_broke") from error
            raise
        self.weight_version = weight_version
        self._send_seed = send_seed
        self._context = int(self._engine.model_config.max_model_len)
        self._turnstile = Turnstile()
        self._numbers = itertools.count()

    async def generate(
        self, prompt_ids: Sequence[int] | NDArray[np.int32], params: SamplingParams, *, key: str | None = None
    ) -> TokenOutput:
        """Sample one turn; see `Policy.generate`. vLLM's prefix cache finds what it has of the prompt."""
        check_logprobs(params, processed=True)
        prompt = self._checked(prompt_ids)
        asked = {
            "max_tokens": min(params.max_tokens, self._context - len(prompt)),
            "temperature": params.temperature,
            "top_p": params.top_p,
            "stop_token_ids": list(params.stop_ids),
            "seed": params.seed if self._send_seed else None,
            "logprobs": 0,
            "ignore_eos": True,  # the model's own idea of the end is not the caller's
        }
        async with self._turnstile.turn():
            answer = (await self._run(prompt, asked)).outputs[0]
            version = self.weight_version
        ids = list(answer.token_ids)
        if not ids:
            raise InfrastructureError(f"vLLM gave no token: {answer.finish_reason}", kind="engine_broke")
        return TokenOutput(
            ids=np.array(ids, dtype=np.int32),
            logprobs=np.array(
                [entry[id].logprob for entry, id in zip(answer.logprobs, ids, strict=True)], dtype=np.float32
            ),
            finish=answer.finish_reason if answer.finish_reason in ("stop", "length") else "abort",
            weight_version=version,
        )

    def release(self, key: str) -> None:
        """Nothing is kept here."""

    async def logprobs(self, ids: Sequence[int] | NDArray[np.int32]) -> NDArray[np.float32]:
        """Score given tokens; see `Engine.logprobs`. The context must hold one token more."""
        prompt = self._checked(ids)
        asked = {"max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0, "ignore_eos": True}
        async with self._turnstile.turn():
            told = (await self._run(prompt, asked)).prompt_logprobs
        rest = [entry[id].logprob for entry, id in zip(told[1:], prompt[1:], strict=True)]
        return np.array([0.0, *rest], dtype=np.float32)

    async def update(self, weights: str | Path | Weights | None, version: int) -> None:
        """Load other weights, when the turns under way have ended; new turns wait.

        Args:
            weights: A folder in Hugging Face's format; or parameters by the names of the model's `state_dict`, which
                go through a file, for vLLM's workers are other processes. None where vLLM has got them already.
            version: See `Engine.update`.

        Raises:
            InfrastructureError: vLLM could not load them.
        """
        async with self._turnstile.update():
            if isinstance(weights, str | Path):
                await self._reload(weights)
            elif weights is not None:
                with tempfile.TemporaryDirectory(prefix="tir-gym-weights-") as folder:
                    _save(weights, Path(folder))
                    await self._reload(folder)
            self.weight_version = version

    async def close(self) -> None:
        """End vLLM's processes."""
        engine, self._engine = self._engine, None  # else it would end itself once more, after Python's own modules
        if engine is not None:
            engine.shutdown()
            self._keeper.close()

    async def __aenter__(self) -> VllmEngine:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _checked(self, ids: Sequence[int] | NDArray[np.int32]) -> list[int]:
        prompt: list[int] = np.asarray(ids).tolist()
        if not 1 <= len(prompt) < self._context:
            raise (ContextFull if prompt else UsageError)(
                f"{len(prompt)} tokens: there must be 1 to {self._context - 1}, for vLLM's context"
            )
        return prompt

    async def _run(self, prompt: list[int], asked: Mapping[str, Any]) -> Any:
        from vllm import SamplingParams as VllmParams
        from vllm.sampling_params import RequestOutputKind

        engine = self._opened()
        params = VllmParams(detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY, **asked)
        name = f"tir-gym-{next(self._numbers)}"
        try:
            last = None
            async for output in engine.generate({"prompt_token_ids": prompt}, params, name):
                last = output
        except ValueError as error:
            raise UsageError(f"vLLM refuses the turn: {error}") from error
        except Exception as error:
            raise InfrastructureError(f"vLLM broke: {error}", kind="engine_broke") from error
        if last is None:
            raise InfrastructureError("vLLM ended a turn without an answer", kind="engine_broke")
        return last

    async def _reload(self, folder: str | Path) -> None:
        engine = self._opened()
        try:
            await engine.collective_rpc("reload_weights", kwargs={"weights_path": str(folder)})
            await engine.reset_prefix_cache()
        except Exception as error:
            raise InfrastructureError(f"vLLM could not load new weights: {error}", kind="engine_broke") from error

    def _opened(self) -> Any:
        if self._engine is None:
            raise InfrastructureError("the engine is closed", kind="engine_closed")
        return self._engine


def _save(weights: Weights, folder: Path) -> None:
    from safetensors.torch import save_file

    given = dict(weights.items() if isinstance(weights, Mapping) else weights)
    save_file({name: tensor.detach().cpu().clone() for name, tensor in given.items()}, folder / "model.safetensors")
