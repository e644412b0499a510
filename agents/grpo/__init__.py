"""GRPO and its kin on our environments: `tir-gym train`, or

    from tir_gym.agents.grpo import load_config, train

    train(load_config(preset="quick-cpu", given={"policy": "outputs/policy"}, overrides=["optim.lr=1e-4"]))

`grpo.py` is the algorithm from top to bottom. Formulas, options and presets are told in `docs/training.md`. torch is
imported when `train` is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tir_gym.agents.grpo.config import PRESETS, GrpoConfig, load_config, to_toml
from tir_gym.errors import MissingExtra

if TYPE_CHECKING:
    from tir_gym.agents.grpo.grpo import train


def __getattr__(name: str) -> Any:
    if name != "train":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        raise MissingExtra("training needs torch and transformers: pip install 'tir-gym[train]'") from error
    from tir_gym.agents.grpo.grpo import train

    return train


__all__ = ["PRESETS", "GrpoConfig", "load_config", "to_toml", "train"]
