"""A model of 0.1 M parameters with random weights, and rows of random tokens to learn from."""

import numpy as np
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from tir_gym.agents.grpo.batches import Row

WORDS = 64


def write_model(folder, *, seed=0):
    """A model in Hugging Face's format; its folder as text."""
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=WORDS,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=256,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)
    return str(folder)


def random_rows(count, *, seed=0, longest=40, alike=0):
    """Rows of several turns with tool output between them. The first `alike` tokens are the same in all of them."""
    rng = np.random.default_rng(seed)
    beginning = rng.integers(2, WORDS, alike)
    rows = []
    for _ in range(count):
        turn = [-1] * (alike + int(rng.integers(2, 8)))
        for number in range(int(rng.integers(1, 4))):
            turn += [number] * int(rng.integers(1, longest // 8)) + [-1] * int(rng.integers(0, 5))
        turns = np.array(turn)
        mask = turns >= 0
        rows.append(
            Row(
                ids=np.concatenate([beginning, rng.integers(2, WORDS, len(turns) - alike)]),
                mask=mask,
                logprobs=np.where(mask, rng.uniform(-5, -3, len(turns)), 0).astype(np.float32),
                advantages=np.where(mask, rng.normal(size=4)[turns], 0).astype(np.float32),
                turn=turns,
            )
        )
    return rows
