"""The model's forward pass over rows of a cache: one token of each row, or many tokens of a few.

Where a token's result must not depend on what is computed beside it, the libraries' own habits are used: matrix
products treat each row alike from a few rows on, and attention at even widths. So such steps have `_FEWEST` rows at
least, and all see widths in multiples of `_WIDTH`. On CUDA the one-token step is recorded as a graph for each shape and
played back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from tir_gym.agents.engines.key_values import KeyValues
from tir_gym.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_FEWEST = 8
_WIDTH = 32
_GRAPH_WIDTH = 256


class Decoder:
    """A model and the keys and values of what it reads.

    Args:
        model: Any causal language model of transformers whose layers attend to the whole past or a window of it.
        invariant: Compute a row of the one-token step alike whatever the other rows are; see `demand_invariance`.
        compile: Let `torch.compile` make the one-token step.
        cuda_graphs: Record and play back the one-token step; on CUDA only.

    Raises:
        UsageError: The model's layers are of another kind, or graphs are asked for without CUDA.
    """

    def __init__(
        self, model: PreTrainedModel, *, invariant: bool = False, compile: bool = False, cuda_graphs: bool = False
    ) -> None:
        self.model = model
        self.device = torch.device(model.device)
        if cuda_graphs and self.device.type != "cuda":
            raise UsageError(f"cuda_graphs=True: the model is on {self.device}; move it to CUDA, or leave them out")
        self.cache = KeyValues()
        self._fewest = _FEWEST if invariant else 1
        config = model.config.get_text_config()
        self.context = int(getattr(config, "max_position_embeddings", 1 << 20))
        """Tokens that a sequence can have."""
        weight: Any = model.get_input_embeddings().weight
        self.vocabulary = int(weight.shape[0])
        """Tokens that the model can read."""
        self._kinds = _kinds(model)
        self._several_masks = "sliding_attention" in self._kinds and bool(getattr(config, "layer_types", None))
        self._window = getattr(config, "sliding_window", None) or 0
        self._forward: Any = torch.compile(model, dynamic=True) if compile else model
        self._graphs: dict[tuple[int, int], _Graph] | None = {} if cuda_graphs else None
        self._pool = torch.cuda.graph_pool_handle() if cuda_graphs else None

    @torch.no_grad()
    def step(self, ids: NDArray[np.int64], positions: NDArray[np.int64], width: int) -> torch.Tensor:
        """One token of each of the first n rows.

        Args:
            ids: `[n]`.
            positions: `[n]`: where each stands; nothing at or after it is seen.
            width: Columns that count at most: more than the largest position.

        Returns:
            Logits `[n, V]` after each token.
        """
        n = len(ids)
        size = self._padded(n)
        if size > n:
            ids, positions = _pad(ids, size, 0), _pad(positions, size, self.cache.columns - 1)
        self._evaluate()
        on_device = (torch.from_numpy(ids).to(self.device), torch.from_numpy(positions).to(self.device))
        if self._graphs is None:
            return self._one_token(*on_device, self._wide(width, _WIDTH))[:n]
        shape = (size, self._wide(width, _GRAPH_WIDTH))
        graph = self._graphs.get(shape)
        if graph is None:
            graph = self._graphs[shape] = _Graph(self._one_token, *on_device, shape[1], self._pool)
        return graph.play(*on_device)[:n]

    @torch.no_grad()
    def read(
        self,
        rows: NDArray[np.int64],
        ids: NDArray[np.int64],
        starts: NDArray[np.int64],
        counts: NDArray[np.int64],
        *,
        all_logits: bool = False,
    ) -> torch.Tensor:
        """Many tokens of some rows.

        Args:
            rows: `[n]`: which.
            ids: `[n, T]`: their tokens; what goes beyond a row's count is padding.
            starts: `[n]`: the position of each first token.
            counts: `[n]`: how many are no padding, 1 to T.
            all_logits: Whether those of each token are wanted.

        Returns:
            Logits `[n, T, V]` after each token, worthless for padding; of the last one only, `[n, 1, V]`, where not all
            are wanted.
        """
        offsets = np.arange(ids.shape[1])
        scratch = self.cache.columns - 1
        positions = np.where(offsets < counts[:, None], starts[:, None] + offsets, scratch)
        at = torch.from_numpy(positions).to(self.device)
        width = self._wide(int((starts + counts).max()), _WIDTH)
        self.cache.aim(at, width, rows=torch.from_numpy(rows).to(self.device))
        self._evaluate()
        seen = torch.arange(width, device=self.device) <= at[:, :, None]
        logits: torch.Tensor = self.model(
            input_ids=torch.from_numpy(ids).to(self.device),
            attention_mask=self._masks(seen, at),
            position_ids=at.clamp(max=self._last_position()),
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=0 if all_logits else 1,
        ).logits
        return logits

    def room(self, rows: int, columns: int) -> None:
        """See to it that the cache has this many rows and columns that count."""
        rows = self._padded(rows)
        columns += 1  # the scratch one
        if rows > self.cache.rows or columns > self.cache.columns:
            wide = self._wide(columns, _WIDTH if self._graphs is None else _GRAPH_WIDTH, limit=False)
            self.cache.grow(rows, wide)
            if self._graphs is not None:
                self._graphs.clear()  # they write to tensors that are no more

    def demand_invariance(self) -> None:
        """Try out whether a row's result depends on the rows beside it or on how far they look.

        Raises:
            UsageError: It does.
        """
        if self.device.type != "cpu" or self.model.dtype != torch.float32:
            raise UsageError(
                f"deterministic=True: the model is {self.model.dtype} on {self.device}; only float32 on a CPU is "
                "deterministic whatever is sampled beside"
            )
        length = 40
        self.room(45, 2 * length)
        tokens = np.random.default_rng(0).integers(self.vocabulary, size=(45, length))
        few = [self.step(tokens[40:, at], np.full(5, at), at + 1) for at in range(length)]
        many = []
        for at in range(length):
            # The same five as the last rows; the others stand further on.
            positions = np.append(np.full(40, at + length - 1), np.full(5, at))
            many.append(self.step(tokens[:, at], positions, at + length)[40:])
        if not torch.equal(torch.stack(few), torch.stack(many)):
            raise UsageError(
                "deterministic=True: the matrix products of this machine's torch give a row other results beside other "
                "rows; leave deterministic out, or set torch to one thread"
            )

    def _evaluate(self) -> None:
        if self.model.training:  # asked first: setting it visits every module
            self.model.train(False)

    def _one_token(self, ids: torch.Tensor, positions: torch.Tensor, width: int) -> torch.Tensor:
        self.cache.aim(positions, width)
        seen = torch.arange(width, device=self.device) <= positions[:, None, None]
        logits: torch.Tensor = self._forward(
            input_ids=ids[:, None],
            attention_mask=self._masks(seen, positions[:, None]),
            position_ids=positions.clamp(max=self._last_position())[:, None],
            past_key_values=self.cache,
            use_cache=True,
        ).logits
        return logits[:, -1]

    def _masks(self, seen: torch.Tensor, positions: torch.Tensor) -> Any:
        """What is added to attention's scores, `[n, 1, T, width]`; by kind of layer where there are several."""
        whole = self._additive(seen)
        if self._kinds == {"full_attention"}:
            return whole
        columns = torch.arange(seen.shape[-1], device=self.device)
        window = self._additive(seen & (columns > positions[:, :, None] - self._window))
        return {"full_attention": whole, "sliding_attention": window} if self._several_masks else window

    def _last_position(self) -> int:
        """What padding is said to be at: a position that the model knows."""
        return min(self.cache.columns - 2, self.context - 1)

    def _additive(self, seen: torch.Tensor) -> torch.Tensor:
        dtype = self.model.dtype
        mask = torch.zeros(seen.shape, dtype=dtype, device=self.device)
        return mask.masked_fill_(~seen, torch.finfo(dtype).min)[:, None]

    def _padded(self, n: int) -> int:
        """Rows of a step: on CUDA in powers of two, so that there are few graphs."""
        if self._graphs is not None:
            return 1 << (n - 1).bit_length()
        return max(self._fewest, n)

    def _wide(self, columns: int, multiple: int, *, limit: bool = True) -> int:
        wide = -(-columns // multiple) * multiple
        return min(wide, self.cache.columns) if limit else wide


class _Graph:
    """One recorded step of one shape."""

    def __init__(self, run: Any, ids: torch.Tensor, positions: torch.Tensor, width: int, pool: Any) -> None:
        self._ids, self._positions = ids.clone(), positions.clone()
        # What is made lazily (tensors of the cache, workspaces of libraries) must exist before a graph is recorded.
        side: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                run(self._ids, self._positions, width)
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
            self._logits: torch.Tensor = run(self._ids, self._positions, width)

    def play(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """The logits; overwritten by the next call."""
        self._ids.copy_(ids)
        self._positions.copy_(positions)
        self._graph.replay()
        return self._logits


def _kinds(model: PreTrainedModel) -> set[str]:
    """Which kinds of attention the layers have."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    if not kinds:
        window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
        kinds = {"sliding_attention" if window else "full_attention"}
    if strange := kinds - {"full_attention", "sliding_attention"}:
        raise UsageError(
            f"{type(model).__name__} has layers of kind {', '.join(sorted(strange))}; the local engine knows full and "
            "sliding attention only: use vLLM or a server"
        )
    return kinds


def _pad(values: NDArray[np.int64], size: int, filler: int) -> NDArray[np.int64]:
    return np.concatenate((values, np.full(size - len(values), filler, dtype=np.int64)))
