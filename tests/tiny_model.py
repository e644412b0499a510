"""Models of a few thousand parameters with random weights, and a Hugging Face tokenizer to go with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tiny_tokenizer import END, PAD, TinyTokenizer
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from tir_gym.agents.engines import HuggingFaceTokenizer

TEMPLATE = """{%- if tools %}<|im_start|>system
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<|im_end|>
{% endif %}{% for message in messages %}<|im_start|>{{ message.role }}
{% if message.role == 'tool' %}<tool_response>{{ message.content }}</tool_response>
{%- else %}{{ message.content }}{% endif %}{% for call in message.tool_calls or [] %}<tool_call>
{{ {'name': call.function.name, 'arguments': call.function.arguments} | tojson }}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def tiny_tokenizer() -> HuggingFaceTokenizer:
    own = TinyTokenizer()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=own.bpe, eos_token=END, pad_token=PAD)
    tokenizer.chat_template = TEMPLATE
    return HuggingFaceTokenizer(tokenizer)


def tiny_model(seed: int = 0, *, tied: bool = False, context: int = 256, **more: Any) -> Qwen3ForCausalLM:
    """Random weights, the last matrix larger than usual so that tokens differ in probability."""
    config = Qwen3Config(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=context,
        tie_word_embeddings=tied,
        eos_token_id=2,
        pad_token_id=0,
        bos_token_id=None,
        **more,
    )
    torch.manual_seed(seed)
    model = Qwen3ForCausalLM(config).eval()
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(4.0)
    return model


def save(folder: Path, model: Any) -> Path:
    model.save_pretrained(folder)
    tiny_tokenizer().tokenizer.save_pretrained(folder)
    return folder
