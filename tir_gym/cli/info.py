"""`tir-gym info ID`: one environment, its reward, its tools, an example task, and what cheating pays in it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tir_gym.cli.options import AsJson, DataDir, EnvArgs, EnvId, Reward, Split, env_options
from tir_gym.cli.printing import heading, number, print_json, print_table, say
from tir_gym.errors import UsageError
from tir_gym.registration import Card, cards

if TYPE_CHECKING:
    from tir_gym.env import ToolEnv


def command(
    id: EnvId,
    split: Split = "train",
    reward: Reward = "default",
    data_dir: DataDir = None,
    env_arg: EnvArgs = None,
    as_json: AsJson = False,
) -> None:
    """Describe an environment: card, reward, tools, an example task, and the published returns of the probes."""
    from tir_gym.making import make_env

    card = card_of(id)
    document: dict[str, Any] = {"id": id} if card is None else card.model_dump(mode="json", exclude={"entry_point"})
    try:
        env = make_env(id, **env_options(split=split, reward=reward, data_dir=data_dir, env_args=env_arg))
    except UsageError as error:
        if card is None or not card.needs:
            raise
        document["unavailable"] = str(error)  # a card can be read without the data that the environment needs
    else:
        try:
            document |= _inside(env)
        finally:
            env.close()
    if as_json:
        print_json(document)
    else:
        _print(document)


def card_of(id: str) -> Card | None:
    """The card of an id in any of its forms; `None` for an environment of the user's own."""
    name = id.removeprefix("tir_gym:").removeprefix("tir_gym/")
    return cards().get(f"tir_gym/{name}")


def _inside(env: ToolEnv) -> dict[str, Any]:
    """What only the environment itself can tell."""
    env.reset(options={"task": env.task_ids(1)[0]})
    task = env.task
    return {
        "reward": env.reward.describe(),
        "tools": [spec.model_dump(mode="json") for spec in task.tools],
        "example": {
            "task_id": task.id,
            "messages": list(task.messages),
            "gold_calls": len(task.gold.calls),
            "checks": [check.kind for check in task.gold.checks],
            "max_turns": env.max_turns or task.limits.max_turns,
            "tags": list(task.tags),
        },
    }


def _print(document: dict[str, Any]) -> None:
    heading(" · ".join(filter(None, (document["id"], document.get("title")))))
    if document.get("summary"):
        say(document["summary"])
    if "unavailable" in document:
        say(f"\nTools and tasks cannot be shown: {document['unavailable']}")
    else:
        say(f"\nReward  {document['reward']}")
        say()
        print_table(
            ("tool", "effect", "arguments", "description"),
            [
                (tool["name"], tool["effect"], _signature(tool["parameters"]), tool["description"])
                for tool in document["tools"]
            ],
        )
        example = document["example"]
        say(
            f"\nExample {example['task_id']}: {example['gold_calls']} gold calls, "
            f"checks {', '.join(example['checks'])}, at most {example['max_turns']} turns"
        )
        for message in example["messages"]:
            say(f"  [{message['role']}] {message.get('content') or ''}")
    if document.get("probes"):
        say()
        print_table(
            ("probe", "share of the oracle's return"),
            [(name, number(share)) for name, share in sorted(document["probes"].items())],
        )
        say(document["probes_measured"])
    elif "probes" in document:
        say("\nNo probe has been measured yet: tir-gym validate ID --publish")


def _signature(schema: dict[str, Any]) -> str:
    """The arguments of a tool on one line; optional ones have a question mark."""
    required = schema.get("required", ())
    return ", ".join(
        f"{name}{'' if name in required else '?'}: {_type_of(part)}"
        for name, part in schema.get("properties", {}).items()
    )


def _type_of(part: dict[str, Any]) -> str:
    if "enum" in part:
        return " | ".join(json.dumps(value) for value in part["enum"])
    if "anyOf" in part:
        return " | ".join(_type_of(option) for option in part["anyOf"])
    if part.get("type") == "array":
        return f"list of {_type_of(part.get('items', {}))}"
    kind = part.get("type", "any")
    return " | ".join(kind) if isinstance(kind, list) else str(kind)
