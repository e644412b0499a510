"""What samples the tokens of a policy, behind `tir_gym.rollout.Policy`: a model in this process, vLLM, a server.

    from tir_gym.agents.engines import HuggingFaceTokenizer, LocalEngine

    tokenizer = HuggingFaceTokenizer.load("outputs/policy")
    engine = LocalEngine.load("outputs/policy")
    output = await engine.generate(prompt_ids, SamplingParams(stop_ids=tuple(tokenizer.stop_ids)), key="rollout 7")

| engine | runs | extra |
|---|---|---|
| `LocalEngine` | any causal language model of transformers, in this process | `train` |
| `VllmEngine` | vLLM, in this process | `vllm` |
| `ServerEngine` | elsewhere, behind `/v1/completions` with token ids, as vLLM's server has it | none |

New weights reach an engine by `update`, and `check_parity` holds it against the model they came from. Nothing heavy is
imported before one of these names is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tir_gym.agents.engines.engine import Engine
    from tir_gym.agents.engines.local import LocalEngine
    from tir_gym.agents.engines.parity import ParityError, ParityReport, check_parity
    from tir_gym.agents.engines.server import ServerEngine
    from tir_gym.agents.engines.tokenizer import HuggingFaceTokenizer
    from tir_gym.agents.engines.vllm import VllmEngine

_MODULES = {
    "Engine": "engine",
    "HuggingFaceTokenizer": "tokenizer",
    "LocalEngine": "local",
    "ParityError": "parity",
    "ParityReport": "parity",
    "ServerEngine": "server",
    "VllmEngine": "vllm",
    "check_parity": "parity",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


__all__ = [
    "Engine",
    "HuggingFaceTokenizer",
    "LocalEngine",
    "ParityError",
    "ParityReport",
    "ServerEngine",
    "VllmEngine",
    "check_parity",
]
