"""The ToolTalk benchmark: published dialogues with an assistant that has 28 tools, and the benchmark's own figures.

An episode is a dialogue. Each message without calls ends the assistant's turn, and the user says the next published
line, whatever was said. As the benchmark prescribes, each of these turns begins in the state that the gold calls of
all earlier ones reach, new ids included, so that one turn's mistakes do not spoil the next. Success is the
benchmark's: every gold call matched and no bad action, see `scoring.py`.

The benchmark also shows the agent the published conversation in place of its own. Whenever the user has spoken (at
reset, and in the step that brings a `user` message), `info["history"]` holds that conversation up to the user's words:
OpenAI messages with the gold calls of earlier turns, their published results and the assistant's published words. An
agent that wants figures comparable with published ones puts them in the place of its transcript.

There is no training part: the dialogues are for evaluation, and `split` changes nothing.
"""

from __future__ import annotations

import json
import os
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from tir_gym.env import Split, ToolEnv
from tir_gym.envs.assistant.tools import TOOLKIT
from tir_gym.envs.tooltalk.dialogues import LEVELS, Dialogue, find_data, load
from tir_gym.envs.tooltalk.ids import PublishedIds
from tir_gym.envs.tooltalk.scoring import score
from tir_gym.errors import UsageError
from tir_gym.frozen import freeze
from tir_gym.messages import assistant_message
from tir_gym.records import (
    FigureCheck,
    GoldCall,
    GoldTrace,
    Message,
    Reply,
    ScriptedUser,
    Task,
    TaskLimits,
    ToolCall,
    ToolResult,
    Trace,
)
from tir_gym.registration import cards, register_tasks
from tir_gym.sandboxes.state import StateSandbox, World

SYSTEM = (
    "You are a personal assistant with tools for the user's account, alarms, calendar, email, messages and reminders, "
    "and for the weather. Use them to do what the user asks; ask for what you need to know and cannot look up. "
    "Answer in words, without a tool call, when your turn is done: then the user speaks again, or the conversation "
    "ends.\n\nThe user is in {location}. It is {now}. {session}"
)

_EFFECTS = {spec.name: spec.effect for spec in TOOLKIT.specs}


class ToolTalkEnv(ToolEnv):
    """The 78 dialogues of ToolTalk, as tasks by name: `AddAlarm-easy`, `golden_conversation_1`, ...

    Args:
        data_dir: Folder of the benchmark's repository, or the `data` in it. `$TIR_GYM_SHARED/data/tooltalk` where
            absent.
        options: As for `ToolEnv`. `split` has no effect: either holds all dialogues.

    Raises:
        UsageError: No data is found, or it is damaged.
    """

    env_id = "tir_gym/ToolTalk-v0"

    def __init__(self, *, data_dir: str | os.PathLike[str] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._folder = find_data(data_dir)
        self._benchmark = load(self._folder)
        self._names = list(self._benchmark.dialogues)

    def make_task(self, split: Split, number: int) -> Task:
        """The dialogue with that number in the order of names, in either split."""
        if not 0 <= number < len(self._names):
            raise UsageError(f"no dialogue number {number}; there are {len(self._names)}, counted from 0")
        return self.task_named(self._names[number])

    def task_named(self, name: str) -> Task:
        dialogue = self._benchmark.dialogues.get(name)
        if dialogue is None:
            raise UsageError(f"no dialogue {name!r} in {self._folder}; there are {', '.join(self._names[:3])}, ...")
        return self._task_of(dialogue)

    def draw_task(self) -> str:
        return self._names[int(self.np_random.integers(len(self._names)))]

    def task_ids(self, n: int | None = None, first: int = 0) -> list[str]:
        return self._names[first:] if n is None else self._names[first : first + n]

    def task_source(self) -> Any:
        return self._folder

    def make_sandbox(self, task: Task) -> StateSandbox:
        return StateSandbox(TOOLKIT, World(task.state), datetime.fromisoformat(task.now), PublishedIds())

    def metrics(self, trace: Trace) -> dict[str, float]:
        """The benchmark's figures, see `scoring.py`."""
        return score(
            [pair for turn in trace.turns for pair in zip(turn.calls, turn.results, strict=True)],
            self._gold_results(),
            effects=_EFFECTS,
            unread=sum(len(turn.malformed) for turn in trace.turns),
        )

    def user_turn_info(self, task: Task, stage: int) -> dict[str, Any]:
        dialogue = self._benchmark.dialogues.get(task.id)
        if dialogue is None:  # a task of the caller's own
            return {}
        transcript, user_turns = _transcript(self._folder, task.id)
        return {"history": [dict(message) for message in transcript[: user_turns[stage] + 1]]}

    def _gold_results(self) -> list[tuple[ToolCall, ToolResult]]:
        """The gold calls with the results that were published, or that replay gives for a task of the caller's own.

        The benchmark compares with what was published, which is less than what replay finds where the published
        databases have grown since: for a look-up, fewer ids to find.
        """
        gold = self._running().prepared.sides[0].gold
        dialogue = self._benchmark.dialogues.get(self.task.id)
        if dialogue is not None:
            published = [(made.call, made.result) for exchange in dialogue.exchanges for made in exchange.calls]
            if [call for call, _ in published] == list(gold.calls):
                return published
        return list(zip(gold.calls, gold.results, strict=True))

    def _task_of(self, dialogue: Dialogue) -> Task:
        calls = [
            GoldCall(name=made.call.name, arguments=made.call.arguments, stage=stage, refused=not made.result.ok)
            for stage, exchange in enumerate(dialogue.exchanges)
            for made in exchange.calls
        ]
        # The published calls of a turn are a list, and a list is a chain.
        chain = tuple((i, i + 1) for i in range(len(calls) - 1) if calls[i].stage == calls[i + 1].stage)
        return Task(
            id=dialogue.name,
            messages=(_system(dialogue), {"role": "user", "content": dialogue.exchanges[0].user}),
            tools=TOOLKIT.specs,
            state=self._state_of(dialogue),
            now=dialogue.now,
            gold=GoldTrace(
                calls=tuple(calls),
                after=chain,
                checks=(FigureCheck(figure="success"),),
                reply=dialogue.exchanges[-1].assistant,
            ),
            user=ScriptedUser(replies=tuple(Reply(text=exchange.user) for exchange in dialogue.exchanges[1:])),
            teacher_forced=True,
            limits=TaskLimits(max_turns=10 * len(dialogue.exchanges) + len(calls)),
            tags=("easy" if dialogue.level == LEVELS[0] else "full", *dialogue.plugins),
        )

    def _state_of(self, dialogue: Dialogue) -> dict[str, Any]:
        """The databases, with who is logged in and the verification code that the user holds."""
        state = dict(self._benchmark.databases)
        if dialogue.logged_in:
            state["Session"] = {"current": {"username": dialogue.username}}
        if dialogue.verification_code is not None:
            account = {**state["Account"][dialogue.username], "verification_code": dialogue.verification_code}
            state["Account"] = {**state["Account"], dialogue.username: account}
        return state


def register_tooltalk(data_dir: str | os.PathLike[str] | None = None) -> list[str]:
    """Register each dialogue with Gymnasium: `tir_gym/ToolTalk.golden_conversation_1-v0` and so on.

    Importing `tir_gym` does so where `$TIR_GYM_SHARED/data/tooltalk` exists; this is for data that lies elsewhere.

    Args:
        data_dir: As for `ToolTalkEnv`.

    Returns:
        The ids.

    Raises:
        UsageError: No data is found.
    """
    folder = find_data(data_dir)
    names = sorted(path.stem for level in LEVELS for path in (folder / level).glob("*.json"))
    options = {} if data_dir is None else {"data_dir": str(folder)}
    return register_tasks(cards()[ToolTalkEnv.env_id], names, **options)


def _system(dialogue: Dialogue) -> Message:
    session = f"{dialogue.username} is logged in." if dialogue.logged_in else "Nobody is logged in."
    return {
        "role": "system",
        "content": SYSTEM.format(location=dialogue.location, now=dialogue.now, session=session),
    }


@lru_cache(maxsize=256)
def _transcript(folder: Path, name: str) -> tuple[list[Message], list[int]]:
    """The published conversation as the benchmark shows it, one call per message, and where the user speaks in it."""
    dialogue = load(folder).dialogues[name]
    messages: list[Message] = [_system(dialogue)]
    user_turns = []
    for exchange in dialogue.exchanges:
        user_turns.append(len(messages))
        messages.append({"role": "user", "content": exchange.user})
        for made in exchange.calls:
            id = f"gold_{len(messages)}"
            content = made.result.content if made.result.ok else {"error": made.result.error}
            messages.append(assistant_message("", (ToolCall(made.call.name, made.call.arguments, id=id),)))
            text = json.dumps(content, ensure_ascii=False)
            messages.append({"role": "tool", "tool_call_id": id, "name": made.call.name, "content": text})
        messages.append({"role": "assistant", "content": exchange.assistant})
    return freeze(messages), user_turns
