"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from tir_gym.errors import UsageError
from tir_gym.rewards import PRESETS

EnvId = Annotated[str, typer.Argument(metavar="ID", help="Environment id (see `list`), or `module:Class` of your own.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Split = Annotated[str, typer.Option("--split", metavar="SPLIT", help="train or test.")]
Dialect = Annotated[str, typer.Option("--dialect", help="How calls stand in text: openai, hermes or json.")]
Reward = Annotated[str, typer.Option("--reward", help=f"A preset ({', '.join(PRESETS)}), or a JSON object.")]
MaxTurns = Annotated[int | None, typer.Option("--max-turns", min=1, help="Turn budget instead of the task's own.")]
DataDir = Annotated[str | None, typer.Option("--data-dir", metavar="DIR", help="Data folder, where one is needed.")]
Url = Annotated[str | None, typer.Option("--url", metavar="URL", help="Server of an environment that runs elsewhere.")]
EnvArgs = Annotated[
    list[str] | None, typer.Option("--env-arg", metavar="KEY=JSON", help="Another option of the environment.")
]
AgentArgs = Annotated[list[str] | None, typer.Option("--agent-arg", metavar="KEY=JSON", help="Option of the agent.")]
Store = Annotated[str, typer.Option("--store", metavar="PATH_OR_URL", help="Trace store: a file, or a database URL.")]

DEFAULT_STORE = "outputs/tir-gym.db"


def env_options(
    *,
    split: str | None = None,
    dialect: str | None = None,
    reward: str | None = None,
    max_turns: int | None = None,
    data_dir: str | None = None,
    url: str | None = None,
    env_args: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Options for the environment's constructor: those that were given, `--env-arg` last.

    Raises:
        UsageError: A value that cannot be read.
    """
    given = {
        "split": split,
        "dialect": dialect,
        "reward": None if reward is None else read_reward(reward),
        "max_turns": max_turns,
        "data_dir": data_dir,
        "url": url,
    }
    return {name: value for name, value in given.items() if value is not None} | key_values(env_args, "--env-arg")


def key_values(pairs: Sequence[str] | None, option: str) -> dict[str, Any]:
    """`KEY=JSON` pairs as a dict.

    Raises:
        UsageError: A pair without `=`, or a value that is no JSON.
    """
    values = {}
    for pair in pairs or ():
        key, equals, text = pair.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"{option} {pair!r}: write KEY=JSON, such as {option} temperature=0.2")
        try:
            values[key] = json.loads(text)
        except ValueError:
            raise UsageError(
                f"{option} {pair!r}: {text!r} is no JSON; text needs its quotes, such as {option} '{key}=\"text\"'"
            ) from None
    return values


def read_reward(text: str) -> str | dict[str, Any]:
    """A preset's name as it is, or a JSON object read.

    Raises:
        UsageError: It begins like an object and is none.
    """
    if not text.lstrip().startswith("{"):
        return text
    try:
        fields: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise UsageError(f"--reward {text!r} is no JSON object: {error}") from None
    return fields
