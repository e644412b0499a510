"""The Lookup family: chains that can only be followed, facts that cannot be remembered, few words, disjoint splits."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import cache, partial
from typing import Any

import gymnasium as gym
import pytest

from tir_gym import ToolCall, UsageError
from tir_gym.agents import PROBE_BOUND, PROBES, make_agent, probe_tasks
from tir_gym.dialects import get_dialect
from tir_gym.env import SPLITS, Split
from tir_gym.envs.lookup import RELATIONS, SYSTEM, TOOLS, LookupEnv, split_of
from tir_gym.episode import play_episode
from tir_gym.gold import faults, refs
from tir_gym.records import AnswerCheck, Task

SEEDS = 500

render = get_dialect("openai").render


@cache
def tasks(split: Split) -> list[Task]:
    env = LookupEnv()
    return [env.make_task(split, number) for number in range(SEEDS)]


def asked(task: Task) -> list[tuple[list[str], str]]:
    """Of each chain, as the request says it: its tools in the order of calling, and the id it starts from."""
    *_, question = str(task.messages[1]["content"]).split(". ")
    words = [part.split(" of ") for part in question.removesuffix("?").split(" and ")]
    return [(list(reversed(part[:-1])), part[-1]) for part in words]


def old(task: Task) -> list[tuple[str, str, str]]:
    """Relation, id and value of each old fact, as the request says it."""
    found = re.match(r"old: (.*?)\. ", str(task.messages[1]["content"]))
    parts = [re.fullmatch(r"(\w+) of (\w+) = (\w+)", part) for part in found[1].split(", ")] if found else []
    return [(part[1], part[2], part[3]) for part in parts if part]


def answer(task: Task) -> list[str]:
    (check,) = task.gold.checks
    assert isinstance(check, AnswerCheck)
    return list(check.value)


def starts_and_chains(task: Task) -> set[str]:
    """The ids that right calls ask for or give."""
    facts = task.state["facts"]
    found = set()
    for chain, here in asked(task):
        found.add(here)
        for relation in chain:
            here = facts[here][relation]
            found.add(here)
    return found


# Tasks.


@pytest.mark.parametrize("split", SPLITS)
def test_the_oracle_succeeds_and_earns_all_there_is(split: Split) -> None:
    env = gym.make("tir_gym/Lookup-v0", split=split)
    for seed in range(SEEDS):
        _, info = env.reset(seed=seed)
        task, total = info["oracle"].task, 0.0
        for text, calls in info["oracle"].script():
            _, reward, terminated, truncated, info = env.step(render(text, calls))
            total += float(reward)
        assert (terminated, truncated, info["success"]) == (True, False, True), task.id
        assert total == pytest.approx(len(task.gold.calls) + 1)


@pytest.mark.parametrize("split", SPLITS)
def test_golds_have_no_faults_and_tasks_differ(split: Split) -> None:
    env = LookupEnv()
    for task in tasks(split):
        assert faults(task, env.make_sandbox(task)) == [], task.id
        assert Task.model_validate_json(task.model_dump_json()) == task
    assert len({str(task.messages[1]) for task in tasks(split)}) == SEEDS


def test_the_request_says_what_the_answer_is() -> None:
    for task in (*tasks("train"), *tasks("test")):
        ends = []
        for chain, here in asked(task):
            for relation in chain:
                here = task.state["facts"][here][relation]
            ends.append(here)
        assert ends == answer(task)
        assert sorted(call.name for call in task.gold.calls) == sorted(r for chain, _ in asked(task) for r in chain)


def test_calls_depend_on_the_one_before_and_chains_not_on_each_other() -> None:
    for task in tasks("train"):
        lengths = [len(chain) for chain, _ in asked(task)]
        env = LookupEnv(task=task)
        _, info = env.reset()
        sent = [len(calls) for _, calls in info["oracle"].script()]
        assert sent == [sum(length > level for length in lengths) for level in range(max(lengths))] + [0]
        literal = [call for call in task.gold.calls if not list(refs(call.arguments))]
        assert [call.arguments["of"] for call in literal] == [start for _, start in asked(task)]


def test_all_lengths_come_and_one_or_two_chains() -> None:
    lengths = {len(chain) for task in tasks("train") for chain, _ in asked(task)}
    assert lengths == set(range(1, 11))
    assert {len(asked(task)) for task in tasks("train")} == {1, 2}


def test_facts_are_new_in_every_task() -> None:
    """What one task says of an id, another does not: who answers from memory is right as often as who guesses."""
    known: dict[tuple[str, str], str] = {}
    same = seen = 0
    for task in tasks("train"):
        for id, facts in task.state["facts"].items():
            for relation, value in facts.items():
                seen += (id, relation) in known
                same += known.get((id, relation)) == value
                known[id, relation] = value
    assert seen > 50_000
    assert same / seen < 0.01


def test_the_answer_comes_from_the_last_right_call_alone() -> None:
    for split in SPLITS:
        for task in tasks(split)[:200]:
            rows = [(id, relation, value) for id, row in task.state["facts"].items() for relation, value in row.items()]
            right = starts_and_chains(task)
            starts = {start for _, start in asked(task)}
            shown = str(task.messages[1]["content"])
            for id in right - starts:
                assert [value for _, _, value in rows].count(id) == 1, "each link of a chain has one way to it"
                assert id not in shown
            assert not starts & {value for _, _, value in rows}
            # A wrong call leads to ids from which no way leads back.
            assert all(value not in right for id, _, value in rows if id not in right)


def test_every_tool_answers_on_every_id_and_on_nothing_else() -> None:
    task = tasks("train")[0]
    sandbox = LookupEnv().make_sandbox(task)
    for id, row in task.state["facts"].items():
        for relation in RELATIONS:
            assert sandbox.call(ToolCall(relation, {"of": id})).content == row[relation]
    unknown = sandbox.call(ToolCall("boss", {"of": "Z99"}))
    assert (unknown.error, unknown.error_kind) == ("unknown id", "refused")
    assert sandbox.call(ToolCall("boss", {"of": 7})).error_kind == "invalid_arguments"


def test_old_facts_are_about_the_first_steps_and_wrong() -> None:
    for task in tasks("train"):
        told = old(task)
        assert len(told) == 2
        for (chain, start), (relation, id, _) in zip(asked(task), told, strict=False):
            assert (relation, id) == (chain[0], start)
        for relation, id, value in told:
            assert task.state["facts"][id][relation] != value
            assert value not in starts_and_chains(task)


def test_old_facts_lead_to_a_wrong_answer_all_the_way() -> None:
    env = LookupEnv(hops=3, branches=1, distractors=3)
    for number in range(50):
        task = env.make_task("test", number)
        ((chain, here),) = asked(task)
        for relation, id, value in old(task):
            assert (relation, id) == (chain.pop(0), here)
            here = value
        assert chain == []
        _, _, terminated, _, info = played(task, (here, ()))
        assert terminated
        assert not info["success"]


def played(task: Task, *moves: tuple[str, tuple[ToolCall, ...]]) -> Any:
    env = LookupEnv(task=task)
    env.reset()
    for text, calls in moves:
        last = env.step(render(text, calls))
    return last


def test_words_are_few() -> None:
    env = LookupEnv(hops=3, branches=1)
    for number in range(100):
        task = env.make_task("train", number)
        assert task.messages[0] == {"role": "system", "content": SYSTEM}
        assert sum(len(message["content"]) for message in task.messages) < 190
    assert len(RELATIONS) == len(set(RELATIONS)) == 8
    assert len(json.dumps([spec.to_openai() for spec in TOOLS.specs])) < 1800


# Splits.


def test_splits_share_no_id_and_no_chain() -> None:
    ids = {split: {id for task in tasks(split) for id in task.state["facts"]} for split in SPLITS}
    assert min(map(len, ids.values())) > 200
    assert not ids["train"] & ids["test"]
    for split in SPLITS:
        chains = {tuple(chain) for task in tasks(split) for chain, _ in asked(task) if len(chain) > 1}
        assert {split_of(chain) for chain in chains} == {split}
        assert set(RELATIONS) == {relation for chain in chains for relation in chain}


def test_no_letter_or_number_is_new_in_the_test_split() -> None:
    parts = [
        {part for task in tasks(split) for id in task.state["facts"] for part in (id[0], id[1:])} for split in SPLITS
    ]
    assert parts[0] == parts[1]


def test_the_same_task_in_any_process() -> None:
    program = (
        "import hashlib; from tir_gym.envs.lookup import LookupEnv; "
        "envs = LookupEnv(), LookupEnv(hops=(1, 3), branches=(1, 4), distractors=5); "
        "names = [(s, n) for s in ('train', 'test') for n in range(20)]; "
        "text = ''.join(e.make_task(*name).model_dump_json() for e in envs for name in names); "
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


# What cheating pays.


def test_a_random_agent_does_next_to_nothing() -> None:
    env = LookupEnv()
    successes = [play_episode(env, make_agent("random"), task=task.id).trace.success for task in tasks("train")[:200]]
    assert sum(map(bool, successes)) < 0.1 * len(successes)


@pytest.mark.parametrize(
    ("options", "reward"),
    [
        ({}, "default"),
        ({}, "outcome"),
        ({}, "progress"),
        ({"hops": (1, 3)}, "progress"),
        ({"hops": 3, "branches": 1, "distractors": 0}, "default"),
        ({"hops": (1, 2), "branches": 3, "distractors": 3}, "default"),
        ({"hops": 1, "branches": 4, "distractors": 4}, "default"),
    ],
)
def test_probes_stay_below_their_bound(options: dict[str, Any], reward: str) -> None:
    for split in SPLITS:
        make = partial(LookupEnv, split=split, reward=reward, **options)
        probed = probe_tasks(make, make().task_ids(25))
        assert len(probed) >= 10
        assert max(task.share(probe) for task in probed for probe in PROBES) < PROBE_BOUND


def test_fewer_old_facts_than_chains_let_dumping_pay() -> None:
    """Which is why the class says so; a bound that all options kept would need no saying."""
    probed = probe_tasks(partial(LookupEnv, hops=(1, 2), branches=3, distractors=0), LookupEnv().task_ids(40))
    assert max(task.share("dump") for task in probed) >= PROBE_BOUND


def test_a_long_answer_states_nothing() -> None:
    for task in tasks("train")[:50]:
        *_, info = played(task, (", ".join(sorted(task.state["facts"])), ()))
        assert not info["success"]


def test_one_who_follows_the_chains_one_after_the_other_has_the_turns() -> None:
    for task in tasks("train")[:100]:
        env = LookupEnv(task=task)
        env.reset()
        for chain, here in asked(task):
            for relation in chain:
                (message,), _, _, truncated, _ = env.step(render("", (ToolCall(relation, {"of": here}),)))
                assert not truncated
                here = message["content"]
        *_, terminated, _, info = env.step(render(", ".join(reversed(answer(task))), ()))
        assert (terminated, info["success"]) == (True, True)


# Options.


def test_options_bound_what_is_drawn() -> None:
    env = LookupEnv(hops=(2, 3), branches=(2, 4), distractors=7)
    drawn = [env.make_task("train", number) for number in range(100)]
    assert {len(chain) for task in drawn for chain, _ in asked(task)} == {2, 3}
    assert {len(asked(task)) for task in drawn} == {2, 3, 4}
    assert {len(old(task)) for task in drawn} == {7}
    assert all(faults(task, env.make_sandbox(task)) == [] for task in drawn)
    assert old(LookupEnv(distractors=0).make_task("train", 0)) == []


def test_options_are_part_of_the_task_and_go_through_the_spec() -> None:
    env = gym.make("tir_gym/Lookup-v0", hops=(2, 2), branches=1)
    assert env.spec is not None
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    first, _ = env.reset(seed=3)
    assert again.reset(seed=3)[0] == first
    assert gym.make("tir_gym/Lookup-v0", hops=5).reset(seed=3)[0] != first


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"hops": 0}, "hops=0: 1 <= low <= high <= 10"),
        ({"hops": (1, 11)}, "high <= 10"),
        ({"hops": (3, 2)}, "low <= high"),
        ({"hops": (1, 2, 3)}, "a pair"),
        ({"hops": "many"}, "a pair"),
        ({"hops": True}, "a pair"),
        ({"hops": 2.0}, "a pair"),
        ({"branches": 5}, "branches=5: .* <= 4"),
        ({"distractors": 9}, "from 0 to 8"),
        ({"distractors": -1}, "from 0 to 8"),
        ({"distractors": None}, "from 0 to 8"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        LookupEnv(**options)
