"""The tokenizer of a policy made here: a byte-level BPE, trained on conversations of our own environments.

What a tiny policy must do is copy: an id from a result into a call. So text is cut into pieces before bytes are merged,
such that the same thing is the same token wherever it stands: a digit and the letter of an id stand alone, without the
blank before them, and each half of the frame of a call (`{"name": "`, `", "arguments": {"of": "`) is one piece. A call
of Lookup is ten tokens, the one that ends the turn included.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files
from itertools import islice
from typing import TYPE_CHECKING

from tir_gym.agents.policies.demonstrations import demonstrations
from tir_gym.env import ToolEnv
from tir_gym.errors import MissingExtra

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

START, END, PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
SPECIAL = (PAD, START, END)
MARKS = ("<tool_call>", "</tool_call>")
"""Tokens of their own that are part of what is said, so they are not left out where special tokens are."""

_PIECES = "|".join(
    (
        r'\n?\{"name": "',  # the frame of a call, in three pieces, the second with the first argument's name
        r'", "arguments": \{(?:"[A-Za-z_]+": ["\[]?)?',
        r'["\]]?\}+\n?',
        r'"[A-Za-z_]+": ["\[]?',  # a key of JSON and what opens its value
        r"\([a-z_]*(?:\)\n?)?",  # what a tool takes, where it is one argument or none
        r"[A-Z](?=[0-9])",  # the letter of an id
        r"[0-9]",  # digits one by one: ten things to learn to copy, and not ninety
        r"[A-Za-z_]+[ \n]?",  # a word with the blank behind it
        r" ?[^A-Za-z0-9_\s]+[ \n]?",
        r"\s+",
    )
)


def train_tokenizer(envs: Iterable[ToolEnv], *, size: int, conversations: int, seed: int) -> PreTrainedTokenizerFast:
    """A tokenizer with the chat template of this package.

    Args:
        envs: Where the conversations come from; those of the train split.
        size: Number of tokens at most, 261 or more: all bytes, and five that mark messages and calls. Fewer where the
            conversations hold fewer pieces that come twice.
        conversations: Of each environment.
        seed: Which conversations. The same arguments give the same tokenizer, byte by byte.

    Raises:
        MissingExtra: tokenizers or transformers are not installed.
    """
    try:
        from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
        from transformers import PreTrainedTokenizerFast
    except ImportError as error:
        raise MissingExtra("making a policy needs transformers: pip install 'tir-gym[train]'") from error
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[
            *(AddedToken(text, special=True, normalized=False) for text in SPECIAL),
            *(AddedToken(text, special=False, normalized=False) for text in MARKS),
        ],
    )
    backend.train_from_iterator(_texts(envs, conversations, seed), trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[START],
        chat_template=chat_template(),
        clean_up_tokenization_spaces=False,
    )


@cache
def chat_template() -> str:
    """The template: tools by name and types, then the conversation; calls in the dialect `hermes`."""
    return files(__package__).joinpath("chat_template.jinja").read_text(encoding="utf-8").removesuffix("\n")


def _texts(envs: Iterable[ToolEnv], conversations: int, seed: int) -> Iterator[str]:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    from tir_gym.agents.engines import HuggingFaceTokenizer

    bare = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), eos_token=END)  # type: ignore[no-untyped-call]
    bare.chat_template = chat_template()
    renderer = HuggingFaceTokenizer(bare, stop_ids=(0,))
    marks = re.compile("|".join(map(re.escape, (*SPECIAL, *MARKS))))  # tokens already, so none of their bytes is merged
    for env in envs:
        for shown in islice(demonstrations(env, seed=seed), conversations):
            text = renderer.render(shown.messages(), shown.tools, reply=False)
            yield from filter(None, marks.split(text))
