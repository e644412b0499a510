"""The policy as something to learn with: loaded, on its device, sharded or adapted, with its optimiser and reference.

What GRPO is stands in `grpo.py`; in here is what a model needs whatever is trained: bfloat16, activation
checkpointing, LoRA, FSDP2 over the processes that torchrun started, weights as engines want them, and its own state.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from tir_gym.agents.engines.loading import chosen_device, load_causal_lm, no_bars
from tir_gym.agents.grpo.batches import MicroBatch, token_logprobs
from tir_gym.agents.grpo.config import GrpoConfig, ModelConfig
from tir_gym.errors import MissingExtra, UsageError


class Learner:
    """A causal LM that learns.

    Args:
        config: The run.
        checkpoint: Folder to take weights and optimiser from, instead of the policy's.

    Attributes:
        rank: Of this process among those of the learner.
        world: How many there are.

    Raises:
        UsageError: The policy cannot be loaded, or is asked to do what it cannot.
        MissingExtra: LoRA is wanted without peft.
    """

    def __init__(self, config: GrpoConfig, checkpoint: Path | None = None) -> None:
        self.config = config
        self.world, self.rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
        self.device = _device(config.device)
        if self.world > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo")
        self._half = config.model.precision == "bf16"
        self._lora = config.model.lora.r > 0
        if self._lora and self.world > 1:
            raise UsageError("model.lora.r and several learner processes do not go together yet; use one process")
        torch.manual_seed(config.seed)  # of adapters' first weights
        saved = None if checkpoint is None else checkpoint / "policy"
        base = torch.bfloat16 if self._lora and self._half else torch.float32
        source = config.policy if saved is None or self._lora else saved
        self.model = self._placed(load_causal_lm(source, dtype=base, attn_implementation=config.model.attention))
        if self._lora:
            self.model = _with_adapters(self.model, config.model, saved)
        if config.model.checkpoint_activations:
            newer = getattr(self.model, "activation_checkpointing_enable", None)
            (newer or self.model.gradient_checkpointing_enable)({"use_reentrant": False})
            self.model.train()  # transformers checkpoints in training mode only
            for module in self.model.modules():
                if isinstance(module, torch.nn.Dropout):
                    module.p = 0.0  # what is trained is what has sampled
        else:
            self.model.eval()
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        optim = config.optim
        self.optimizer = torch.optim.AdamW(
            self.trained, lr=optim.lr, betas=optim.betas, weight_decay=optim.weight_decay
        )
        self._reference: Any = None
        if config.loss.kl and not self._lora:
            dtype = torch.bfloat16 if self._half and self.world == 1 else torch.float32
            self._reference = (
                self._placed(load_causal_lm(config.policy, dtype=dtype, attn_implementation=config.model.attention))
                .eval()
                .requires_grad_(False)
            )

    # What a loss is made of.

    def logprobs(self, batch: MicroBatch, *, entropy: bool) -> tuple[Tensor, Tensor]:
        """See `token_logprobs`."""
        with self._autocast():
            return token_logprobs(self.model, batch, self.config.rollout.temperature, entropy=entropy)

    def reference_logprobs(self, batch: MicroBatch) -> Tensor | None:
        """`[K]`: under the policy that training began with; `None` where no divergence from it is wanted."""
        if not self.config.loss.kl:
            return None
        before = self.model.disable_adapter() if self._lora else nullcontext()
        with torch.no_grad(), self._autocast(), before:
            model = self.model if self._lora else self._reference
            return token_logprobs(model, batch, self.config.rollout.temperature)[0]

    def backward(self, loss: Tensor) -> None:
        """Add to the gradients. Losses of all processes add up."""
        torch.autograd.backward(loss * self.world)  # FSDP takes the mean over processes

    def step(self, lr: float) -> float:
        """One step of the optimiser with gradients clipped. Returns their norm before that."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        norm: Any = torch.nn.utils.clip_grad_norm_(self.trained, self.config.optim.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)

    # Between processes.

    def total(self, values: Sequence[float]) -> list[float]:
        """Sums over all processes."""
        return self._reduced(values, dist.ReduceOp.SUM)

    def totals(self, figures: dict[str, float]) -> dict[str, float]:
        """Sums by name over all processes, which give the same names."""
        return dict(zip(figures, self.total([*figures.values()]), strict=True))

    def most(self, value: float) -> float:
        """The largest of all processes'."""
        return self._reduced([value], dist.ReduceOp.MAX)[0]

    def _reduced(self, values: Sequence[float], how: Any) -> list[float]:
        if self.world == 1:
            return list(map(float, values))
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor, how)
        return list(map(float, tensor.tolist()))

    # Weights for others.

    def weights(self) -> dict[str, Tensor]:
        """All parameters by the names of the model's own `state_dict`, whole, adapters added in."""
        return dict(self._whole())

    def save_policy(self, folder: Path, weights: dict[str, Tensor]) -> None:
        """Write the policy in Hugging Face's format; with LoRA the adapters, in peft's.

        Args:
            folder: Where to.
            weights: As `weights` gives them.
        """
        with no_bars():
            self.model.save_pretrained(folder, state_dict=None if self._lora else weights)

    def publish(self, folder: Path, weights: dict[str, Tensor]) -> None:
        """As `save_policy`, but whole also with LoRA."""
        model = self.model.get_base_model() if self._lora else self.model
        with no_bars():
            model.save_pretrained(folder, state_dict=weights)

    def _whole(self) -> Iterator[tuple[str, Tensor]]:
        if not self._lora:
            for name, value in self.model.state_dict().items():
                yield name, value.full_tensor() if hasattr(value, "full_tensor") else value.detach()
            return
        # Added up beside the model: merging adapters into it and taking them out again would not give it back exactly.
        changed = {
            f"{name}.base_layer.weight": module.get_delta_weight("default")
            for name, module in self.model.named_modules()
            if hasattr(module, "get_delta_weight") and "default" in getattr(module, "lora_A", {})
        }
        for name, value in self.model.state_dict().items():
            if ".lora_" not in name:
                plain = name.removeprefix("base_model.model.").replace(".base_layer.", ".")
                yield plain, (value + changed[name].to(value.dtype) if name in changed else value).detach()

    # Its own state, beside the policy's.

    def tensors(self) -> dict[str, Any]:
        """What a resumed run needs beside the weights. All processes must call it."""
        if self.world == 1:
            optimizer: Any = self.optimizer.state_dict()
        else:
            from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict

            self.model.reshard()  # the probe's pass left the outermost parameters whole, which the optimiser's are not
            options = StateDictOptions(full_state_dict=True, cpu_offload=True)
            optimizer = get_optimizer_state_dict(self.model, self.optimizer, options=options)
        return {"optimizer": optimizer, "rng": torch.get_rng_state()}

    def load_tensors(self, tensors: dict[str, Any]) -> None:
        """Go on from what `tensors` gave."""
        if self.world == 1:
            self.optimizer.load_state_dict(tensors["optimizer"])
        else:
            from torch.distributed.checkpoint.state_dict import StateDictOptions, set_optimizer_state_dict

            options = StateDictOptions(full_state_dict=True)
            set_optimizer_state_dict(self.model, self.optimizer, tensors["optimizer"], options=options)
        torch.set_rng_state(tensors["rng"])

    def _autocast(self) -> AbstractContextManager[Any]:
        if not self._half or self.world > 1:  # FSDP has a way of its own
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def _placed(self, model: Any) -> Any:
        """On its device, sharded where there are several processes: one layer's parameters together at a time."""
        model = model.to(self.device)
        if self.world == 1:
            return model
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        mesh = init_device_mesh(self.device.type, (self.world,))
        half = torch.bfloat16 if self._half else None
        policy = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=torch.float32)
        layers = set(model._no_split_modules or ())
        for module in list(model.modules()):
            if type(module).__name__ in layers:
                fully_shard(module, mesh=mesh, mp_policy=policy)
        return fully_shard(model, mesh=mesh, mp_policy=policy)


def _device(name: str) -> torch.device:
    if name == "auto" and torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return chosen_device("cpu" if name == "auto" else name)


def _with_adapters(model: Any, config: ModelConfig, saved: Path | None) -> Any:
    try:
        from peft import LoraConfig, PeftModel, get_peft_model
    except ImportError as error:
        raise MissingExtra("model.lora.r needs peft: pip install 'tir-gym[train]'") from error
    if saved is not None:
        return PeftModel.from_pretrained(model, str(saved), is_trainable=True)
    lora = config.lora
    settings = LoraConfig(r=lora.r, lora_alpha=lora.alpha, target_modules=lora.targets, task_type="CAUSAL_LM")
    return get_peft_model(model, settings)
