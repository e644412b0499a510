"""`tir-gym play ID`: one episode, by hand or by an agent, every turn shown with what it was paid for."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tir_gym.cli import exits
from tir_gym.cli.options import (
    AgentArgs,
    AsJson,
    DataDir,
    Dialect,
    EnvArgs,
    EnvId,
    MaxTurns,
    Reward,
    Split,
    env_options,
    key_values,
)
from tir_gym.cli.printing import heading, note, number, print_json, say
from tir_gym.cli.walking import call_text, lines_of, walk_turn

if TYPE_CHECKING:
    from tir_gym.env import ToolEnv
    from tir_gym.records import ToolCall, Trace


def command(
    id: EnvId,
    agent: Annotated[str, typer.Option("--agent", metavar="NAME", help="Who plays; you, if not given.")] = "human",
    task: Annotated[str | None, typer.Option("--task", metavar="TASK", help="Play this task.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Draws the task, and the agent's randomness.")] = 0,
    split: Split = "train",
    reward: Reward = "default",
    dialect: Dialect = "openai",
    max_turns: MaxTurns = None,
    data_dir: DataDir = None,
    env_arg: EnvArgs = None,
    agent_arg: AgentArgs = None,
    as_json: AsJson = False,
) -> None:
    """Play one episode and see why each call was paid.

    By hand: type `help` when asked; input may be piped in. With --agent, watch. At the end come the checks, the
    return, and the gold calls.
    """
    from tir_gym.agents import make_agent
    from tir_gym.episode import play_episode
    from tir_gym.making import make_env

    env = make_env(
        id,
        **env_options(
            split=split, dialect=dialect, reward=reward, max_turns=max_turns, data_dir=data_dir, env_args=env_arg
        ),
    )
    agent_options = key_values(agent_arg, "--agent-arg")
    by_hand = agent == "human"
    if by_hand and as_json:
        agent_options["screen"] = sys.stderr  # stdout is for the document
    player = make_agent(agent, **agent_options)
    watcher = _Watcher(env, silent=as_json, by_hand=by_hand)
    try:
        _, info = env.reset(seed=seed, options=None if task is None else {"task": task})
        gold = info["oracle"].calls
        watcher.opening()
        played = play_episode(env, player, task=info["task_id"], agent_seed=seed, name=agent, on_turn=watcher.turn)
    finally:
        getattr(player, "close", lambda: None)()
        env.close()
    if as_json:
        print_json(_document(played.trace, watcher.explained, gold))
    else:
        _print_end(played.trace, gold)
    failed = played.trace.infra_error is not None
    raise typer.Exit(exits.INFRASTRUCTURE if failed and not by_hand else exits.OK)


class _Watcher:
    """Shows each turn as it was played."""

    def __init__(self, env: ToolEnv, *, silent: bool, by_hand: bool) -> None:
        self._env = env
        self._silent = silent
        self._by_hand = by_hand
        self.explained: list[dict[str, Any]] = []

    def opening(self) -> None:
        """What the agent sees first; a human is shown it by the agent itself."""
        if self._silent or self._by_hand:
            return
        heading(f"{self._env.task.id}: {len(self._env.task.gold.calls)} gold calls")
        for message in self._env.task.messages:
            say(f"[{message['role']}] {message.get('content') or ''}")

    def turn(self, info: dict[str, Any]) -> None:
        match = info.get("match")
        if match is not None:
            self.explained.append(match.to_dict())
        if self._silent:
            return
        trace = self._env.trace()
        walked = walk_turn(trace.turns[-1], len(trace.turns) - 1, match if match is not None else trace)
        if not self._by_hand:
            say()
        for line in lines_of(walked, answers=not self._by_hand):
            say(line)


def _print_end(trace: Trace, gold: tuple[ToolCall, ...]) -> None:
    say()
    if trace.infra_error is not None:
        note(f"not scored: {trace.infra_error['message']}")
    else:
        heading("done" if trace.success else "not done")
        checks = ", ".join(f"{name} {'holds' if held else 'fails'}" for name, held in trace.checks.items())
        say(f"ending {trace.ending}; checks: {checks or 'not reached'}")
        total = sum(turn.reward for turn in trace.turns)
        say(f"return {number(total)} in {len(trace.turns)} turns")
    if gold:
        say("gold calls:")
        for i, call in enumerate(gold, start=1):
            say(f"  {i}. {call_text(call)}")


def _document(trace: Trace, explained: list[dict[str, Any]], gold: tuple[ToolCall, ...]) -> dict[str, Any]:
    return {
        "task_id": trace.provenance.task_id,
        "success": trace.success,
        "return": sum(turn.reward for turn in trace.turns),
        "ending": trace.ending,
        "checks": trace.checks,
        "infra_error": trace.infra_error,
        "gold_calls": [{"name": call.name, "arguments": call.arguments} for call in gold],
        "matches": explained,
        "trace": trace.model_dump(),
    }
