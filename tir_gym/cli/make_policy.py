"""`tir-gym make-policy OUT --size 1M`: write a language model of random weights with a tokenizer of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tir_gym.cli.options import AsJson, EnvArgs, key_values
from tir_gym.cli.printing import print_json, say


def command(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write, new or empty.")],
    size: Annotated[
        str, typer.Option("--size", metavar="SIZE", help="0.2M, 1M, 4M, 10M, 25M, 60M or 150M parameters, about.")
    ] = "1M",
    env: Annotated[
        list[str] | None,
        typer.Option("--env", metavar="ID", help="Train the tokenizer on this environment; may be repeated."),
    ] = None,
    env_arg: EnvArgs = None,
    conversations: Annotated[int, typer.Option("--conversations", min=1, help="Episodes of each environment.")] = 200,
    vocabulary: Annotated[
        int | None, typer.Option("--vocabulary", help="Number of tokens at most, instead of the size's.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of weights and episodes.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Make a policy from nothing.

    A Qwen3 model of random weights, and a byte-level BPE tokenizer trained on episodes of our own environments, with a
    chat template for tools; in Hugging Face's format. Nothing is downloaded, and the same seed gives the same bytes.
    """
    from tir_gym.agents.policies import FAMILIES, make_policy

    made = make_policy(
        out,
        size=size,
        envs=env or FAMILIES,
        env_options=key_values(env_arg, "--env-arg"),
        conversations=conversations,
        vocabulary=vocabulary,
        seed=seed,
    )
    if as_json:
        print_json({"folder": str(made.folder), "parameters": made.parameters, "vocabulary": made.vocabulary})
    else:
        say(f"{made.folder}: {made.parameters:,} parameters, {made.vocabulary} tokens")
