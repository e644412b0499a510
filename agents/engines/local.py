"""A causal language model of transformers, sampled in this process.

A thread of its own runs the model, step by step (`batch.py`); whoever awaits a turn is woken in the event loop it
called from. Calls may come from several event loops. Nothing runs before the first call.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tir_gym.agents.engines.engine import Weights
from tir_gym.agents.engines.loading import chosen_device, load_causal_lm
from tir_gym.errors import ContextFull, InfrastructureError, MissingExtra, UsageError
from tir_gym.rollout import SamplingParams, TokenOutput

try:
    import torch
    from transformers import PreTrainedModel
except ImportError as error:
    raise MissingExtra("the local engine needs torch and transformers: pip install 'tir-gym[train]'") from error

from tir_gym.agents.engines.batch import Batch, Turn, Usage
from tir_gym.agents.engines.decoding import Decoder

T = TypeVar("T")


class LocalEngine:
    """A model as a policy.

    The model is used as it is given, not copied: whoever trains it and passes `None` to `update` samples from the very
    same parameters, and must not change them while turns are under way. It is put into evaluation mode for each pass.

    Args:
        model: On the device and in the precision to sample with.
        max_slots: Turns sampled together; more wait in a queue, first come first served.
        kept: Rollouts between two turns whose keys and values stay, beyond the slots that are empty; as many as
            `max_slots` by default. The memory of the cache is bounded by (`max_slots` + `kept`) * `context` tokens, and
            grows to what rollouts need.
        context: Tokens of a sequence at most; by default what the model was made for.
        deterministic: Same prompt, parameters, seed and weights: the same tokens and log-probabilities, to the last
            bit, whatever is sampled beside. Prompts are then read token by token. Only in fp32 on a CPU, with matrix
            products that treat each row alike, which is tried out at once.
        chunk: Tokens of prompts read in one pass.
        compile: Let `torch.compile` make the one-token step.
        cuda_graphs: Play back the one-token step from recorded graphs; by default where the model is on CUDA.
        seed: Of the seeds of turns that come without one.

    Raises:
        UsageError: The model cannot be sampled here, or not as asked; the text says why.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        max_slots: int = 128,
        kept: int | None = None,
        context: int | None = None,
        deterministic: bool = False,
        chunk: int = 2048,
        compile: bool = False,
        cuda_graphs: bool | None = None,
        seed: int = 0,
    ) -> None:
        if max_slots < 1 or (kept is not None and kept < 0) or chunk < 1:
            raise UsageError(f"max_slots={max_slots}, kept={kept}, chunk={chunk}: at least 1, 0 and 1")
        on_cuda = model.device.type == "cuda"
        graphs = on_cuda and not compile if cuda_graphs is None else cuda_graphs
        decoder = Decoder(model, invariant=deterministic, compile=compile, cuda_graphs=graphs)
        self.model = model
        self.context = min(decoder.context, context or decoder.context)
        self.deterministic = deterministic
        """Whether a turn's tokens depend on its prompt, parameters, seed and the weights alone."""
        if deterministic:
            decoder.demand_invariance()
        self._batch = Batch(
            decoder,
            max_slots=max_slots,
            kept=max_slots if kept is None else kept,
            context=self.context,
            chunk=0 if deterministic else chunk,
        )
        self._decoder = decoder
        self._seeds = np.random.default_rng(seed)
        self._arrived = threading.Condition()
        self._queue: deque[Turn] = deque()
        self._orders: deque[Callable[[], None]] = deque()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._woken: dict[asyncio.AbstractEventLoop, list[Callable[[], None]]] = {}
        self._busy = self._idle = 0.0

    @classmethod
    def load(
        cls, folder: str | Path, *, device: str | None = None, dtype: str | None = None, **options: Any
    ) -> LocalEngine:
        """From a folder, or from the hub by name.

        Args:
            folder: In transformers' format.
            device: CUDA where there is one, by default.
            dtype: Such as `bfloat16`; as the model was saved, by default.
            options: Of the constructor.

        Raises:
            UsageError: There is no such model.
        """
        place = chosen_device(device)
        return cls(load_causal_lm(folder, dtype=dtype or "auto").to(place), **options)

    @property
    def weight_version(self) -> int:
        """Of the weights that sample now."""
        return self._batch.weight_version

    @property
    def usage(self) -> Usage:
        """What was computed so far."""
        return self._batch.usage

    @property
    def idle_fraction(self) -> float:
        """Of the time since the first call, how much the engine had nothing to do: wall-clock time, not to be
        reproduced."""
        return self._idle / max(self._idle + self._busy, 1e-9)

    @property
    def cache_bytes(self) -> int:
        """What keys and values take."""
        return self._decoder.cache.bytes

    async def generate(
        self, prompt_ids: Sequence[int] | NDArray[np.int32], params: SamplingParams, *, key: str | None = None
    ) -> TokenOutput:
        """Sample one turn; see `Policy.generate`."""
        ids = self._checked(prompt_ids, most=self.context - 1)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[TokenOutput] = loop.create_future()

        def finished(outcome: TokenOutput | BaseException) -> None:
            self._wake(loop, lambda: _settle(future, outcome))

        with self._arrived:
            seed = params.seed if params.seed is not None else int(self._seeds.integers(2**63))
            turn = Turn(ids, params, seed, key, finished)
            self._submit(self._queue, turn)
        try:
            return await future
        except asyncio.CancelledError:
            turn.cancelled = True
            raise

    def release(self, key: str) -> None:
        """Let go of what was kept for a rollout that has ended."""
        with self._arrived:
            if self._thread is not None and not self._closed:
                self._submit(self._orders, lambda: self._batch.forget(key))

    async def logprobs(self, ids: Sequence[int] | NDArray[np.int32]) -> NDArray[np.float32]:
        """Score given tokens as this engine computes them, through its cache; see `Engine.logprobs`."""
        checked = self._checked(ids, most=self.context)
        return await self._ordered(lambda: self._batch.score(checked))

    async def update(self, weights: Weights | None, version: int) -> None:
        """Sample with other weights from the next step on; turns under way go on with the keys and values they have.

        Args:
            weights: By the names of the model's `state_dict`, all of them; they are copied. None where the model's
                own parameters were changed in place.
            version: See `Engine.update`.

        Raises:
            UsageError: Names or shapes are not the model's, or two names of one tied tensor come with two values.
        """

        def order() -> None:
            if weights is not None:
                _load(self.model, weights)
            self._batch.new_weights(version)

        await self._ordered(order)

    async def close(self) -> None:
        """End the thread. Turns under way are broken off with an `InfrastructureError`."""
        with self._arrived:
            self._closed = True
            self._arrived.notify()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    async def __aenter__(self) -> LocalEngine:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _checked(self, ids: Sequence[int] | NDArray[np.int32], *, most: int) -> NDArray[np.int32]:
        array = np.array(ids, dtype=np.int32)
        if array.ndim != 1 or not 1 <= len(array) <= most:
            raise (ContextFull if array.ndim == 1 and len(array) else UsageError)(
                f"{len(array)} tokens: there must be 1 to {most}, for the model's context is {self.context}"
            )
        size = self._decoder.vocabulary
        if array.min() < 0 or array.max() >= size:
            raise UsageError(f"token {array.min() if array.min() < 0 else array.max()}: the model has {size} tokens")
        return array

    async def _ordered(self, order: Callable[[], T]) -> T:
        """Let the thread do something between two steps."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def run() -> None:
            outcome: Any
            try:
                outcome = order()
            except UsageError as error:
                outcome = error
            except Exception as error:
                outcome = _broken(error)
            self._wake(loop, lambda: _settle(future, outcome))

        with self._arrived:
            self._submit(self._orders, run)
        return await future

    def _submit(self, queue: deque[T], item: T) -> None:
        if self._closed:
            raise InfrastructureError("the engine is closed", kind="engine_closed")
        queue.append(item)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="tir-gym local engine", daemon=True)
            self._thread.start()
        self._arrived.notify()

    def _run(self) -> None:
        """The thread."""
        while True:
            began = perf_counter()
            with self._arrived:
                while not (self._closed or self._orders or self._queue or self._batch.at_work):
                    self._arrived.wait()
                closed, orders = self._closed, list(self._orders)
                self._orders.clear()
                turns = [] if orders else self._next_turns()  # an order goes before the turns that came after it
            awake = perf_counter()
            self._idle += awake - began
            if closed:
                self._fail(orders, InfrastructureError("the engine was closed", kind="engine_closed"))
                return
            try:
                for order in orders:
                    order()
                while turns:
                    self._batch.add(turns[0])
                    turns.pop(0)
                if self._batch.at_work:
                    self._batch.step()
            except Exception as error:
                with self._arrived:
                    self._queue.extendleft(reversed(turns))
                self._fail([], _broken(error))
            self._deliver()
            self._busy += perf_counter() - awake

    def _next_turns(self) -> list[Turn]:
        """Of the queue, as many as there are slots for."""
        turns: list[Turn] = []
        while self._queue and self._batch.at_work + len(turns) < self._batch.max_slots:
            turn = self._queue.popleft()
            if not turn.cancelled:
                turns.append(turn)
        return turns

    def _fail(self, orders: list[Callable[[], None]], error: InfrastructureError) -> None:
        """End all that anybody waits for."""
        self._batch.abandon(error)
        with self._arrived:
            waiting = list(self._queue)
            self._queue.clear()
        for turn in waiting:
            turn.finished(error)
        for order in orders:  # scoring and new weights: still done, so that nobody waits for ever
            order()
        self._deliver()

    def _wake(self, loop: asyncio.AbstractEventLoop, settle: Callable[[], None]) -> None:
        self._woken.setdefault(loop, []).append(settle)

    def _deliver(self) -> None:
        """Wake each event loop once for all that has ended in a step."""
        for loop, settles in self._woken.items():
            try:
                loop.call_soon_threadsafe(_each, settles)
            except RuntimeError:  # that loop is closed, and with it whoever waited
                continue
        self._woken = {}


def _each(settles: Iterable[Callable[[], None]]) -> None:
    for settle in settles:
        settle()


def _settle(future: asyncio.Future[T], outcome: T | BaseException) -> None:
    if future.done():  # cancelled meanwhile
        return
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def _broken(error: BaseException) -> InfrastructureError:
    failure = InfrastructureError(f"the local engine broke: {type(error).__name__}: {error}", kind="engine_broke")
    failure.__cause__ = error
    return failure


def _load(model: PreTrainedModel, weights: Weights) -> None:
    """Copy weights into the model's parameters, all or none."""
    own = model.state_dict()
    given = dict(weights.items() if isinstance(weights, Mapping) else weights)
    places: dict[int, str] = {}
    tied = {name: places.setdefault(tensor.data_ptr(), name) for name, tensor in own.items()}
    for name, first in tied.items():
        if name not in given and first in given:
            given[name] = given[first]
        elif name != first and name in given and first in given and not torch.equal(given[name], given[first]):
            raise UsageError(
                f"the engine's model ties {name} to {first} (tie_word_embeddings), and they come with different "
                "values; make it untied, as the model is that they come from"
            )
    if unlike := set(own) ^ set(given):
        raise UsageError(
            f"the weights' names are not the model's: {', '.join(sorted(unlike)[:4])} "
            f"({len(set(own) - set(given))} missing, {len(set(given) - set(own))} unknown)"
        )
    for name, tensor in own.items():
        if tensor.shape != given[name].shape:
            raise UsageError(f"{name} has shape {tuple(tensor.shape)}, and {tuple(given[name].shape)} was given")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(given[name])
