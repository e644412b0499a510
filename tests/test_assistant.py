"""The Assistant family: sound tasks that can be done from what they say, of many kinds, in disjoint splits."""

from __future__ import annotations

import hashlib
import json
import os
import re
import string
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import gymnasium as gym
import pytest
from spoken import spoken_day, spoken_time

from tir_gym import ToolCall, ToolResult, UsageError
from tir_gym.agents import make_agent, measure_probes
from tir_gym.checks import same_changes
from tir_gym.dialects import get_dialect
from tir_gym.env import SPLITS, Split
from tir_gym.envs.assistant.env import AssistantEnv
from tir_gym.envs.assistant.generator import split_of
from tir_gym.envs.assistant.tools import TOOLKIT
from tir_gym.envs.assistant.vocabulary import VOCABULARY
from tir_gym.envs.assistant.wordings import LEAST, WORDINGS
from tir_gym.episode import play_episode
from tir_gym.gold import faults, follow, refs, replay
from tir_gym.records import AnswerCheck, AskedCheck, GoldTrace, RefusedCheck, StateCheck, Task, UnchangedCheck
from tir_gym.user import Conversation, hear

SEEDS = 300
"""Tasks per split that the tests look at."""

ENV = AssistantEnv()


@cache
def tasks(split: Split) -> list[Task]:
    return [ENV.make_task(split, number) for number in range(SEEDS)]


def all_tasks() -> Iterator[Task]:
    for split in SPLITS:
        yield from tasks(split)


def tools_of(task: Task) -> frozenset[str]:
    return frozenset(call.name for call in task.gold.calls)


def words_of(task: Task) -> str:
    """All that an agent is told in words."""
    said = [str(message["content"]) for message in task.messages]
    return "\n".join([*said, *(reply.text for reply in task.user.replies)])


def of_kind(task: Task, kind: type[Any]) -> list[Any]:
    return [check for check in task.gold.checks if isinstance(check, kind)]


# Tasks.


def test_golds_have_no_faults() -> None:
    for task in all_tasks():
        assert faults(task, ENV.make_sandbox(task)) == [], task.id


@pytest.mark.parametrize("split", SPLITS)
def test_the_oracle_succeeds_and_earns_all_there_is(split: Split) -> None:
    env = gym.make("tir_gym/Assistant-v0", split=split).unwrapped
    render = get_dialect("openai").render
    for seed in range(150):
        _, info = env.reset(seed=seed)
        task, total, terminated = info["oracle"].task, 0.0, False
        for text, calls in info["oracle"].script():
            assert not terminated
            _, reward, terminated, truncated, info = env.step(render(text, calls))
            total += float(reward)
            assert not truncated
        assert terminated
        assert info["success"], task.id
        assert total == pytest.approx(len(task.gold.calls) + 1)


def test_a_random_agent_does_next_to_nothing() -> None:
    successes = [play_episode(ENV, make_agent("random"), task=task.id).trace.success for task in tasks("train")[:100]]
    assert sum(map(bool, successes)) < 10


@pytest.mark.parametrize("split", SPLITS)
def test_probes_stay_below_their_bound(split: Split) -> None:
    best = measure_probes(lambda: AssistantEnv(split=split), [task.id for task in tasks(split)[:60]])
    assert best
    assert max(best.values()) < 0.35, best


def test_right_tools_alone_stay_below_a_third_on_every_long_task() -> None:
    for task in all_tasks():
        calls = len(task.gold.calls)
        if calls >= 3:
            gifts = sum(not call.arguments for call in task.gold.calls)
            assert (gifts + 0.1 * (calls - gifts)) / (calls + 1) < 0.33, task.id


def test_the_same_task_in_any_process() -> None:
    program = (
        "import hashlib; from tir_gym.envs.assistant.env import AssistantEnv; env = AssistantEnv(); "
        "large = AssistantEnv(world_size=30); names = [(s, n) for s in ('train', 'test') for n in range(8)]; "
        "text = ''.join(e.make_task(*name).model_dump_json() for e in (env, large) for name in names); "
        "print(hashlib.sha256(text.encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_a_task_goes_through_json_and_plays_the_same() -> None:
    task = tasks("train")[5]
    again = Task.model_validate_json(task.model_dump_json())
    assert again == task
    assert replay(again.gold, ENV.make_sandbox(again)).changes == replay(task.gold, ENV.make_sandbox(task)).changes


# Splits.


def test_splits_share_no_words_of_requests() -> None:
    for key, entry in WORDINGS.items():
        for split in SPLITS:
            assert len(set(entry[split])) == len(entry[split]) >= LEAST[split], key
    said = {split: {wording for entry in WORDINGS.values() for wording in entry[split]} for split in SPLITS}
    assert not said["train"] & said["test"]


def test_splits_share_no_people_places_or_subjects() -> None:
    lists = {split: VOCABULARY[split].model_dump() for split in SPLITS}
    for kind in lists["train"]:
        train, test = set(lists["train"][kind]), set(lists["test"][kind])
        assert train
        assert test
        assert not train & test, kind
    names = {
        split: {str(account["name"]) for task in tasks(split) for account in task.state["Account"].values()}
        for split in SPLITS
    }
    assert not names["train"] & names["test"]


def test_a_combination_of_tools_belongs_to_one_split() -> None:
    combinations = {split: {tools_of(task) for task in tasks(split)} - {frozenset()} for split in SPLITS}
    assert not combinations["train"] & combinations["test"]
    for split in SPLITS:
        assert {split_of(tools) for tools in combinations[split]} == {split}
        assert len(combinations[split]) > 100
        assert frozenset().union(*combinations[split]) == frozenset(TOOLKIT), "every tool is used"


def test_the_first_word_of_a_topic_names_it_alone() -> None:
    for split in SPLITS:
        first = [topic.split()[0] for topic in VOCABULARY[split].topics]
        assert all(sum(word in topic for topic in VOCABULARY[split].topics) == 1 for word in first)


def test_what_follows_a_request_is_a_command() -> None:
    """`Would you {command}?` and its like take no sentence of their own."""
    for task in all_tasks():
        said = words_of(task)
        assert not re.search(r"\b(Would you|Kindly|Please|need you to|want you to) I\b", said), (task.id, said)


def test_wordings_of_a_key_have_the_same_places_to_fill() -> None:
    for key, entry in WORDINGS.items():
        places = [
            frozenset(name.lower() for _, name, _, _ in string.Formatter().parse(wording) if name)
            for split in SPLITS
            for wording in entry[split]
        ]
        assert len(set(places)) == 1 or key == "no_tool", key
        assert not any('"' in wording for split in SPLITS for wording in entry[split]), key


# What kinds of tasks there are.


@pytest.mark.parametrize("split", SPLITS)
def test_tasks_are_of_many_lengths_and_shapes(split: Split) -> None:
    lengths = Counter(len(task.gold.calls) for task in tasks(split))
    assert all(lengths[length] >= SEEDS // 50 for length in range(1, 8)), lengths
    assert sum(n for length, n in lengths.items() if length >= 8) >= SEEDS // 30
    depths = Counter(depth_of(task.gold) for task in tasks(split))
    assert max(depths) >= 6
    assert sum(n for depth, n in depths.items() if depth >= 3) >= SEEDS // 5
    widths = [
        max((len(level) for level in replay(task.gold, ENV.make_sandbox(task)).levels()), default=0)
        for task in tasks(split)
    ]
    assert sum(width >= 3 for width in widths) >= SEEDS // 10, "calls that can go out together"
    assert len({task.tags[:-1] for task in tasks(split)}) >= 100, "templates"


@pytest.mark.parametrize("split", SPLITS)
def test_some_ask_some_refuse_some_answer(split: Split) -> None:
    asking = [task for task in tasks(split) if of_kind(task, AskedCheck)]
    refusing = [task for task in tasks(split) if of_kind(task, RefusedCheck)]
    blind = [task for task in refusing if not task.gold.calls]
    mixed = [task for task in tasks(split) if of_kind(task, AnswerCheck) and of_kind(task, StateCheck)]
    types = {check.type for task in tasks(split) for check in of_kind(task, AnswerCheck)}
    assert SEEDS // 20 < len(asking) < SEEDS // 3
    assert SEEDS // 25 < len(refusing) < SEEDS // 5
    assert len(blind) <= 0.04 * SEEDS
    assert len(mixed) > SEEDS // 20
    assert types == {"text", "number", "time", "date", "set"}
    assert all(task.gold.calls or task in blind for task in tasks(split))
    for task in tasks(split):
        assert bool(of_kind(task, UnchangedCheck)) != bool(of_kind(task, StateCheck))
        assert all(
            call.stage for call in task.gold.calls if TOOLKIT[call.name].spec.effect != "read"
        ) or not asking_last(task)


def asking_last(task: Task) -> bool:
    """Whether all that is to be done waits for what the user is asked."""
    return bool(task.user.replies) and len(task.tags) == 3


def depth_of(gold: GoldTrace) -> int:
    """Calls in the longest chain in which each takes a value that the one before has found."""
    depth: list[int] = []
    for call in gold.calls:
        depth.append(1 + max((depth[ref.call] for ref in refs(call.arguments)), default=0))
    return max(depth, default=0)


# What is asked can be done from what is said.


def test_every_value_that_no_call_finds_stands_in_the_words() -> None:
    for task in all_tasks():
        words = words_of(task)
        for call in task.gold.calls:
            for name, value in call.arguments.items():
                for part in value if isinstance(value, list) else [value]:
                    if not isinstance(part, dict):
                        assert is_said(name, part, words, task), f"{task.id}: {call.name}({name}={part!r})\n{words}"


def is_said(name: str, value: str, words: str, task: Task) -> bool:
    if name == "match_type":
        return value == "all" and bool(re.search("both|as well as|two words", words))
    if name == "query":
        return all(f'"{word}"' in words for word in value.split())
    if re.fullmatch(r"\d\d:\d\d:\d\d", value):
        return spoken_time(value) in words
    if re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", value):
        # Bounds of a day and due dates without a time of day follow from the day.
        of_day = value[11:] in ("00:00:00", "23:59:59")
        return is_said_day(value, words, task) and (of_day or spoken_time(value[11:]) in words)
    return value in words


def is_said_day(moment: str, words: str, task: Task) -> bool:
    ahead = (datetime.fromisoformat(moment).date() - datetime.fromisoformat(task.now).date()).days
    request = words.partition("text word for word.")[2]
    relative = {0: "today", 1: "tomorrow"}.get(ahead)
    return bool(re.search(rf"{spoken_day(moment)}\b", request)) or bool(relative and relative in request)


def test_no_request_tells_its_own_answer() -> None:
    for task in all_tasks():
        for check in of_kind(task, AnswerCheck):
            request = str(task.messages[1]["content"])
            if check.type == "date":
                assert (
                    not is_said_day(f"{check.value} 00:00:00", f"text word for word.{request}", task)
                    or len(task.tags) > 3
                )
            if check.type == "time" and len(task.tags) == 3:
                assert spoken_time(check.value) not in request, task.id
            if check.type == "text" and len(task.tags) == 3:
                assert check.value not in request, task.id


def test_answers_are_as_true_in_the_end_as_in_the_beginning() -> None:
    for task in all_tasks():
        for check in of_kind(task, AnswerCheck):
            sandbox = ENV.make_sandbox(task)
            gold = replay(task.gold, sandbox)
            for source in check.sources:
                shown = follow(source, gold.results)
                later = sandbox.call(gold.calls[source.call]).content
                if isinstance(shown, list):
                    assert follow(source, [*gold.results[: source.call], ToolResult(content=later)]) == shown, task.id
                else:
                    assert json.dumps(shown) in json.dumps(later), task.id
            if task.tags[-2] == "pending_tasks":
                pending = [one["task"] for one in later["reminders"] if one["status"] == "pending"]
                assert check.value == pending, task.id


# What counts as done.


def test_a_wrong_receiver_id_time_or_day_fails_and_a_comma_does_not() -> None:
    tried: Counter[str] = Counter()
    for task in all_tasks():
        (rules,) = [check.comparators for check in of_kind(task, StateCheck)] or [None]
        if rules is None:
            continue
        gold = replay(task.gold, ENV.make_sandbox(task))
        for place, call in enumerate(gold.calls):
            for name, value in call.arguments.items():
                wrong = _wrong(name, value, task)
                if wrong is not None and TOOLKIT[call.name].spec.effect != "read":
                    changes = _played(task, gold.calls, place, {**call.arguments, name: wrong})
                    assert not same_changes(changes, gold.changes, rules), f"{task.id}: {call.name}({name}={wrong!r})"
                    tried[f"{call.name}.{name}"] += 1
                if name in ("message", "body") and "folded" not in rules.values():
                    changes = _played(task, gold.calls, place, {**call.arguments, name: f"{value},"})
                    assert same_changes(changes, gold.changes, rules), f"{task.id}: {call.name}({name}={value!r},)"
    for argument in (
        "SendMessage.receiver",
        "SendEmail.to",
        "AddAlarm.time",
        "AddReminder.due_date",
        "DeleteEvent.event_id",
    ):
        assert tried[argument] >= 5, argument


def _wrong(name: str, value: Any, task: Task) -> Any:
    """Another value of the same kind, for those arguments where being right is all that counts."""
    accounts = list(task.state["Account"].values())
    if name == "receiver":
        return next(account["username"] for account in accounts if account["username"] != value)
    if name in ("to", "attendees", "new_attendees"):
        others = [account["email" if name == "to" else "username"] for account in accounts]
        return [*value[1:], next(other for other in others if other not in value)]
    if name in ("start_time", "due_date"):
        return str(datetime.fromisoformat(value) - timedelta(days=1))
    if name == "time":
        return f"{value[:5]}:30"
    if name.endswith("_id"):
        return f"{value[:-1]}{'0' if value[-1] != '0' else '1'}"
    if name in ("message", "body", "subject", "task", "new_location", "new_phone_number", "new_email"):
        return (
            "555-555-5555" if "phone" in name else "someone.else@example.org" if "email" in name else "Something else."
        )
    return None


def _played(task: Task, calls: tuple[ToolCall, ...], place: int, arguments: dict[str, Any]) -> Any:
    sandbox = ENV.make_sandbox(task)
    for i, call in enumerate(calls):
        sandbox.call(ToolCall(call.name, arguments) if i == place else call)
    return sandbox.diff()


# Large worlds.


def test_tasks_of_a_large_world_share_it() -> None:
    env = AssistantEnv(world_size=60)
    first, second = env.make_task("train", 1), env.make_task("train", 2)
    assert first.state["Email"] is second.state["Email"]
    assert len(first.state["Account"]) == 60
    assert (first.messages, first.now) != (second.messages, first.now)
    assert first.now == second.now
    assert faults(first, env.make_sandbox(first)) == []
    assert env.make_task("test", 1).state["Account"].keys().isdisjoint(first.state["Account"])
    small = AssistantEnv().make_task("train", 1)
    assert small.state["Account"].keys() != first.state["Account"].keys()


def test_an_environment_of_a_three_megabyte_world_costs_little() -> None:
    large = gym.make("tir_gym/Assistant-v0", world_size=450)
    large.reset(seed=0)
    assert len(json.dumps(large.unwrapped.task.state)) > 2_800_000
    tracemalloc.start()
    try:
        envs = [gym.make("tir_gym/Assistant-v0", world_size=450) for _ in range(10)]
        for seed, env in enumerate(envs):
            env.reset(seed=seed + 1)
        each = tracemalloc.get_traced_memory()[0] / len(envs)
    finally:
        tracemalloc.stop()
    assert each < 200_000


@pytest.mark.parametrize("size", [0, 6, "many", 10.5, True])
def test_a_world_size_that_cannot_be_is_refused(size: Any) -> None:
    with pytest.raises(UsageError, match="world_size"):
        AssistantEnv(world_size=size)


def test_making_a_task_is_quick(capsys: pytest.CaptureFixture[str]) -> None:
    start = time.perf_counter()
    made = [ENV.make_task(split, 10_000 + number) for split in SPLITS for number in range(25)]
    each = (time.perf_counter() - start) / len(made)
    with capsys.disabled():
        print(f"\nmaking an Assistant task, gold verified: {1000 * each:.1f} ms")
    assert len({hashlib.sha256(task.model_dump_json().encode()).digest() for task in made}) == len(made)


QUESTIONS = {
    "time": ["At what time?", "When should it be?", "Could you specify the start and the end?"],
    "place": ["Where should it be?", "Which venue would you like?", "To which room or address does it move?"],
    "number": ["What is your new phone number?", "Could you give me the digits?"],
    "verification code": ["What does the code say?", "Could you share the six digits with me?"],
    "task": ["What should I remind you of?", "What is the reminder about?"],
    "receiver": ["Who should get it?", "Which contact do you mean?", "To which person?", "What is the username?"],
    "message": ["What should it say?", "What would you like to tell them?"],
    "text": ["What should the body be?", "What would you like to tell them?"],
}


def test_one_asks_in_ones_own_words() -> None:
    seen = set()
    for task in all_tasks():
        for slot in (reply.slot for reply in task.user.replies if reply.slot) if task.user else ():
            seen.add(slot)
            for question in QUESTIONS[slot]:
                reply, _ = hear(task.user, Conversation(), question)
                assert reply is not None, question
                assert reply.slot == slot, question
    assert seen == set(QUESTIONS)
