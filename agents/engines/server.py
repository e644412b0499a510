"""A server that takes token ids on `/v1/completions` and gives token ids back, as vLLM's does.

What is asked of it: `prompt` as a list of ids, `return_token_ids`, `logprobs`, `stop_token_ids`, `ignore_eos`; and for
scoring `prompt_logprobs`. New weights reach vLLM's own server by a folder that it can read, through the development
routes that `VLLM_SERVER_DEV_MODE=1` opens (never towards a network that is not yours).

Sent again, with exponential backoff or as `Retry-After` says: a turn whose connection could not be made or broke, and
408, 409, 429, 5xx. Nothing of such a turn was seen, so sampling it again changes no distribution. Not sent again: a
turn that took longer than the time limit, for it may still be running there; an answer that makes no sense; new
weights. What remains is a `ServerError` whose `kind` is `server_unreachable`, `server_busy`, `server_error`, `timeout`
or `bad_response`.

Several servers are the scheduler's business: each is an engine of its own.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tir_gym.agents.engines.turnstile import Turnstile
from tir_gym.errors import ContextFull, InfrastructureError, UsageError
from tir_gym.rollout import SamplingParams, TokenOutput

if TYPE_CHECKING:
    import openai

_LONGEST_WAIT = 30.0
"""Seconds between two attempts."""
_RETRIED = frozenset({"server_unreachable", "server_busy", "server_error"})


class ServerError(InfrastructureError):
    """The server did not answer, or not sensibly."""

    def __init__(self, message: str, *, kind: str, status: int | None = None, wait: float | None = None) -> None:
        super().__init__(message, kind=kind)
        self.status = status
        """Of HTTP, where there was an answer."""
        self.wait = wait
        """Seconds that the server asks to wait."""


class ServerEngine:
    """One model of one server. For one event loop.

    Args:
        model: Its name there.
        base_url: Such as `http://localhost:8000/v1`.
        processed_logprobs: Whether the server's log-probabilities are of what was sampled from, as vLLM's are after
            `--logprobs-mode processed_logprobs`, or of the model's plain logits. The former are right where `top_p` is
            1, the latter where the temperature is 1 or 0; other turns are refused.
        send_seed: Whether turns' seeds are sent. vLLM on a CPU dies of them.
        timeout: Seconds for one turn.
        max_retries: Attempts after the first.
        backoff: Seconds before the first retry; doubled for each further one.
        api_key_env: Environment variable that holds the key; `OPENAI_API_KEY` if it is set, else no key.
        weight_version: Of the weights that it has.

    Raises:
        UsageError: `api_key_env` names a variable that is not set.
    """

    deterministic = False
    """What is batched together is the server's business."""

    def __init__(
        self,
        model: str,
        base_url: str,
        *,
        processed_logprobs: bool = False,
        send_seed: bool = True,
        timeout: float = 600.0,
        max_retries: int = 4,
        backoff: float = 0.5,
        api_key_env: str | None = None,
        weight_version: int = 0,
    ) -> None:
        self.model = model
        self.base_url = base_url.rstrip("/")
        self.weight_version = weight_version
        self.retries = 0
        """Attempts after the first, so far."""
        self._processed = processed_logprobs
        self._send_seed = send_seed
        self._timeout = timeout
        self._max_retries = max_retries
        self._backoff = backoff
        self._key_name = api_key_env or "OPENAI_API_KEY"
        self._key = os.environ.get(self._key_name)
        if api_key_env and not self._key:
            raise UsageError(f"api_key_env={api_key_env!r}: that environment variable is not set; export it")
        self._jitter = random.Random(base_url)
        self._turnstile = Turnstile()
        self._opened: openai.AsyncOpenAI | None = None
        self._context: int | None = None
        self._closed = False

    async def generate(
        self, prompt_ids: Sequence[int] | NDArray[np.int32], params: SamplingParams, *, key: str | None = None
    ) -> TokenOutput:
        """Sample one turn; see `Policy.generate`. The server's own prefix cache finds what it has of the prompt."""
        check_logprobs(params, processed=self._processed)
        prompt = await self._checked(prompt_ids)
        room = params.max_tokens if self._context is None else min(params.max_tokens, self._context - len(prompt))
        request = {
            "prompt": prompt,
            "max_tokens": room,
            "temperature": params.temperature,
            "top_p": params.top_p,
            "logprobs": 0,
            **({"seed": params.seed} if self._send_seed and params.seed is not None else {}),
            "stop_token_ids": list(params.stop_ids),
            "ignore_eos": True,  # the model's own idea of the end is not the caller's
        }
        async with self._turnstile.turn():
            choice = await self._completion(request)
            version = self.weight_version
        ids, logprobs = (
            _numbers(choice.get("token_ids")),
            _numbers((choice.get("logprobs") or {}).get("token_logprobs")),
        )
        if not 0 < len(ids) == len(logprobs):
            raise self._nonsense("no token_ids with a log-probability each; it must know return_token_ids and logprobs")
        if choice.get("prompt_token_ids") not in (None, prompt):
            raise self._nonsense("another prompt than was sent: it must take token ids as they are")
        why = choice.get("finish_reason")
        return TokenOutput(
            ids=np.array(ids, dtype=np.int32),
            logprobs=np.array(logprobs, dtype=np.float32),
            finish=why if why in ("stop", "length") else "abort",
            weight_version=version,
        )

    def release(self, key: str) -> None:
        """Nothing is kept here."""

    async def logprobs(self, ids: Sequence[int] | NDArray[np.int32]) -> NDArray[np.float32]:
        """Score given tokens; see `Engine.logprobs`. The context must hold one token more."""
        prompt = await self._checked(ids)
        request = {"prompt": prompt, "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}
        async with self._turnstile.turn():
            choice = await self._completion(request)
        told = choice.get("prompt_logprobs")
        if not isinstance(told, list) or len(told) != len(prompt):
            raise self._nonsense("no prompt_logprobs for each token")
        try:
            rest = [float(entry[str(id)]["logprob"]) for entry, id in zip(told[1:], prompt[1:], strict=True)]
        except (KeyError, TypeError, ValueError) as error:
            raise self._nonsense(f"prompt_logprobs of another form: {error!r}") from error
        return np.array([0.0, *rest], dtype=np.float32)

    async def update(self, weights: str | Path | None, version: int) -> None:
        """Let the server load other weights, when the turns under way have ended; new turns wait.

        Args:
            weights: A folder in Hugging Face's format, as the server's machine sees it. None where the server has got
                them in another way.
            version: See `Engine.update`.

        Raises:
            UsageError: The server has no route for it, or refuses.
        """
        async with self._turnstile.update():
            if weights is not None:
                order = {"method": "reload_weights", "kwargs": {"weights_path": str(weights)}}
                await self._order("collective_rpc", order)
                await self._order("reset_prefix_cache", {})
            self.weight_version = version

    async def close(self) -> None:
        """Close the connections. The server goes on."""
        self._closed = True
        if self._opened is not None:
            await self._opened.close()

    async def __aenter__(self) -> ServerEngine:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def _client(self) -> openai.AsyncOpenAI:
        import openai  # heavy, and only engines elsewhere need it

        if self._closed:
            raise InfrastructureError("the engine is closed", kind="engine_closed")
        if self._opened is None:
            # Its own retries are off: they would neither be counted nor tell what is safe to repeat.
            self._opened = openai.AsyncOpenAI(
                api_key=self._key or "none", base_url=self.base_url, timeout=self._timeout, max_retries=0
            )
        return self._opened

    async def _checked(self, ids: Sequence[int] | NDArray[np.int32]) -> list[int]:
        if self._context is None:
            self._context = await self._told_context()
        prompt: list[int] = np.asarray(ids).tolist()
        if not prompt or (self._context is not None and len(prompt) >= self._context):
            most = "" if self._context is None else f" to {self._context - 1}, for its context is {self._context}"
            raise (ContextFull if prompt else UsageError)(f"{len(prompt)} tokens: {self.model} takes 1{most}")
        return prompt

    async def _told_context(self) -> int | None:
        """The model's context, where the server tells it; and whether it has the model at all."""
        served = (await self._sent("get", "/models", None)).get("data") or []
        models = {entry.get("id"): entry for entry in served if isinstance(entry, dict)}
        if self.model not in models:
            raise UsageError(f"{self.base_url} has no model {self.model!r}; it has: {', '.join(map(str, models))}")
        told = models[self.model].get("max_model_len")
        return told if isinstance(told, int) else None

    async def _completion(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The first choice of a completion."""
        body = {"model": self.model, **request, "return_token_ids": True, "add_special_tokens": False}
        choices = (await self._sent("post", "/completions", body)).get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            raise self._nonsense("no choices")
        return choices[0]

    async def _order(self, route: str, body: Mapping[str, Any]) -> None:
        """One of vLLM's development routes, which stand beside `/v1`. Never sent twice."""
        root = self.base_url.removesuffix("/v1")
        try:
            await self._attempt("post", f"{root}/{route}", body)
        except UsageError as error:
            hint = "a vLLM server has this route when it is started with VLLM_SERVER_DEV_MODE=1"
            raise UsageError(f"{error}; {hint}") from error

    async def _sent(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        for attempt in range(self._max_retries + 1):
            try:
                answer = await self._attempt(method, path, body)
                if not isinstance(answer, dict):
                    raise self._nonsense("no JSON object")
                return answer
            except ServerError as error:
                if error.kind not in _RETRIED or attempt == self._max_retries:
                    raise
                wait = self._backoff * 2.0**attempt * (0.75 + 0.5 * self._jitter.random())
                wait = min(_LONGEST_WAIT, wait if error.wait is None else error.wait)
            self.retries += 1
            await asyncio.sleep(wait)
        raise AssertionError("unreachable")

    async def _attempt(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        import openai

        client = self._client
        try:
            if method == "get":
                return await client.get(path, cast_to=object)
            return await client.post(path, body=body, cast_to=object)
        except openai.APITimeoutError as error:
            raise ServerError(f"{self.base_url}: no answer within {self._timeout:g} s", kind="timeout") from error
        except openai.APIConnectionError as error:
            said = f"{self.base_url}: {error.__cause__ or error}; is the server running there?"
            raise ServerError(said, kind="server_unreachable") from error
        except openai.APIStatusError as error:
            raise self._refused(error) from error
        except ValueError as error:  # a body that is no JSON
            raise self._nonsense(str(error)) from error

    def _refused(self, error: openai.APIStatusError) -> Exception:
        status = error.status_code
        said = f"{self.base_url}: {status} {str(error.body or error)[:300]}"
        if status in (401, 403):
            return UsageError(f"{said}; set the environment variable {self._key_name}, or name another by api_key_env")
        if status in (408, 409, 429) or status >= 500:
            kind = "server_busy" if status in (429, 503) else "server_error"
            return ServerError(said, kind=kind, status=status, wait=_seconds(error.response.headers.get("retry-after")))
        return UsageError(said)

    def _nonsense(self, what: str) -> ServerError:
        return ServerError(f"{self.base_url} answered with {what}", kind="bad_response")


def check_logprobs(params: SamplingParams, *, processed: bool) -> None:
    """Whether vLLM's log-probabilities are those that `TokenOutput` promises.

    Args:
        params: How a turn is to be sampled.
        processed: Whether they are computed after temperature and `top_p`, or before.

    Raises:
        UsageError: They are not.
    """
    if processed and params.top_p < 1:
        raise UsageError(
            f"top_p={params.top_p}: processed log-probabilities leave out what top_p leaves out; use top_p=1, or raw "
            "log-probabilities (vLLM's default) with temperature 1 or 0"
        )
    if not processed and params.temperature not in (0, 1):
        raise UsageError(
            f"temperature={params.temperature}: raw log-probabilities do not know it; start vLLM with "
            "--logprobs-mode processed_logprobs and say processed_logprobs=True, or use temperature 1 or 0"
        )


def _numbers(values: object) -> list[Any]:
    """The list, if it is one of numbers; else an empty one."""
    return values if isinstance(values, list) and all(isinstance(value, int | float) for value in values) else []


def _seconds(retry_after: str | None) -> float | None:
    try:
        return max(0.0, float(retry_after)) if retry_after else None
    except ValueError:  # a date; our own backoff will do
        return None
