"""The Files family: sound tasks that can be done from what they say, of many kinds, in disjoint splits."""

from __future__ import annotations

import gc
import json
import os
import re
import string
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

import gymnasium as gym
import pytest

from tir_gym import ToolCall
from tir_gym.agents import make_agent, probe_tasks
from tir_gym.agents.seen import SeenValues
from tir_gym.checks import same_changes
from tir_gym.dialects import get_dialect
from tir_gym.env import SPLITS, Split
from tir_gym.envs.files.env import FilesEnv
from tir_gym.envs.files.generator import COMPARATORS, make_sandbox
from tir_gym.envs.files.tools import TOOLKIT
from tir_gym.envs.files.vocabulary import VOCABULARY
from tir_gym.envs.files.wordings import LEAST, WORDINGS
from tir_gym.episode import play_episode
from tir_gym.gold import faults, follow, refs, replay
from tir_gym.records import AnswerCheck, AskedCheck, RefusedCheck, StateCheck, Task, UnchangedCheck
from tir_gym.sandbox import Sandbox
from tir_gym.sandboxes.jail.pool import slots
from tir_gym.user import Conversation, hear

SEEDS = 120
"""Tasks per split that the tests look at."""

ENV = FilesEnv()


@cache
def tasks(split: Split) -> list[Task]:
    return [ENV.make_task(split, number) for number in range(SEEDS)]


def all_tasks() -> Iterator[Task]:
    for split in SPLITS:
        yield from tasks(split)


def of_kind(task: Task, kind: type[Any]) -> list[Any]:
    return [check for check in task.gold.checks if isinstance(check, kind)]


def request(task: Task) -> str:
    return str(task.messages[1]["content"])


def words_of(task: Task) -> str:
    """All that an agent is told in words."""
    return "\n".join([request(task), *(reply.text for reply in task.user.replies)])


def runs(task: Task) -> bool:
    return any(call.name == "run" for call in task.gold.calls)


def do(sandbox: Sandbox, tool_name: str, /, **arguments: Any) -> Any:
    return sandbox.call(ToolCall(tool_name, arguments))


# Tasks.


def test_golds_have_no_faults() -> None:
    for task in [task for split in SPLITS for task in tasks(split)[:40]]:
        with ENV.make_sandbox(task) as sandbox, sandbox.holding():
            assert faults(task, sandbox) == [], task.id


@pytest.mark.parametrize("split", SPLITS)
def test_the_oracle_succeeds_and_earns_all_there_is(split: Split) -> None:
    env = gym.make("tir_gym/Files-v0", split=split).unwrapped
    render = get_dialect("openai").render
    for seed in range(60):
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
    env.close()


def test_a_random_agent_does_next_to_nothing() -> None:
    successes = [play_episode(ENV, make_agent("random"), task=task.id).trace.success for task in tasks("train")[:25]]
    assert sum(map(bool, successes)) < 3


@pytest.mark.parametrize("reward", ["default", "outcome", "progress"])
def test_probes_stay_below_their_bound(reward: str) -> None:
    chosen = [task.id for split in SPLITS for task in tasks(split)[:12]]
    probed = probe_tasks(lambda: FilesEnv(reward=reward), chosen)
    assert len(probed) > 10
    for task in probed:
        assert max(task.returns.values()) < 0.35 * task.oracle, (task.task_id, task.returns)


def test_the_same_task_in_any_process() -> None:
    program = (
        "import hashlib; from tir_gym.envs.files.env import FilesEnv; env = FilesEnv(); "
        "text = ''.join(env.make_task(s, n).model_dump_json() for s in ('train', 'test') for n in range(12)); "
        "print(hashlib.sha256(text.encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo"))
    }
    assert len(digests) == 1


@pytest.mark.usefixtures("own_root")
def test_a_played_episode_gives_the_same_bytes_in_any_process() -> None:
    program = (
        "import sys, gymnasium as gym, tir_gym; env = gym.make('tir_gym/Files-v0').unwrapped; "
        "env.reset(options={'task': 'train/3'}); render = env.dialect.render; call = tir_gym.ToolCall; "
        "[env.step(render('', [call('run', {'command': c})])) for c in "
        "('ls -lR', 'echo x > a; find .', 'stat -c %n,%s,%Y,%U *', 'mv README.md R; grep -rc a .', 'ls -lt; false')]; "
        "env.step('Done.'); sys.stdout.buffer.write(env.trace().canonical())"
    )
    played = [subprocess.run([sys.executable, "-c", program], capture_output=True, check=True) for _ in range(2)]
    assert b"README.md" in played[0].stdout
    assert played[0].stdout == played[1].stdout


def test_a_task_goes_through_json_and_plays_the_same() -> None:
    task = tasks("train")[4]
    again = Task.model_validate_json(task.model_dump_json())
    assert again == task
    assert replay(again.gold, ENV.make_sandbox(again)).changes == replay(task.gold, ENV.make_sandbox(task)).changes


def test_making_and_keeping_tasks_holds_no_process() -> None:
    gc.collect()  # what other tests let go of
    before = slots.live()
    made = [ENV.prepare(task.id) for task in [task for task in tasks("test") if runs(task)][:3]]
    assert len(made) == 3
    assert slots.live() == before


# Splits.


def test_splits_share_no_wording() -> None:
    for key, entry in WORDINGS.items():
        for split in SPLITS:
            assert len(set(entry[split])) == len(entry[split]) >= LEAST[split], key
    said = {split: {wording for entry in WORDINGS.values() for wording in entry[split]} for split in SPLITS}
    assert not said["train"] & said["test"]


def test_splits_share_no_project_folder_name_or_word() -> None:
    def leaves(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            for item in value.values():
                yield from leaves(item)
        elif isinstance(value, (list, tuple)):
            for item in value:
                yield from leaves(item)
        else:
            yield str(value)

    lists = {split: VOCABULARY[split].model_dump() for split in SPLITS}
    for kind in lists["train"]:
        train, test = set(leaves(lists["train"][kind])), set(leaves(lists["test"][kind]))
        assert train
        assert test
        assert not train & test, kind
    paths = {split: {path for task in tasks(split) for path in task.state["files"]} for split in SPLITS}
    assert paths["train"] & paths["test"] <= {"README.md", "CHANGELOG.md"}


def test_wordings_of_a_key_have_the_same_places_to_fill() -> None:
    for key, entry in WORDINGS.items():
        places = [
            frozenset(name.lower() for _, name, _, _ in string.Formatter().parse(wording) if name)
            for split in SPLITS
            for wording in entry[split]
        ]
        assert len(set(places)) == 1 or key == "no_tool", key
        assert not any('"' in wording for split in SPLITS for wording in entry[split]), key


def test_tasks_differ() -> None:
    assert len({request(task) for task in all_tasks()}) == 2 * SEEDS


# What kinds of tasks there are.


@pytest.mark.parametrize("split", SPLITS)
def test_tasks_are_of_many_lengths_and_shapes(split: Split) -> None:
    lengths = Counter(len(task.gold.calls) for task in tasks(split))
    assert all(lengths[length] >= SEEDS // 50 for length in range(1, 8)), lengths
    assert sum(n for length, n in lengths.items() if length >= 3) > 0.6 * SEEDS
    assert sum(n for length, n in lengths.items() if length >= 8) >= SEEDS // 20
    depths = Counter(depth_of(task) for task in tasks(split))
    assert sum(n for depth, n in depths.items() if depth >= 2) >= SEEDS // 3
    assert max(depths) >= 3
    assert len({task.tags[:-1] for task in tasks(split)}) >= 0.7 * SEEDS, "templates"
    used = {call.name for task in tasks(split) for call in task.gold.calls}
    assert used == set(TOOLKIT), "every tool is used"


@pytest.mark.parametrize("split", SPLITS)
def test_some_ask_some_refuse_some_answer_some_run_commands(split: Split) -> None:
    counts = Counter(kind for task in tasks(split) for kind in {type(check) for check in task.gold.checks})
    assert SEEDS // 20 < counts[AskedCheck] < SEEDS // 3
    assert SEEDS // 25 < counts[RefusedCheck] < SEEDS // 5
    assert SEEDS // 5 < counts[AnswerCheck] < SEEDS // 2
    assert counts[StateCheck] > SEEDS // 2
    assert SEEDS // 30 < sum(map(runs, tasks(split))) < SEEDS // 3
    assert {check.type for task in tasks(split) for check in of_kind(task, AnswerCheck)} == {
        *("text", "number", "time", "date", "set")
    }
    for task in tasks(split):
        assert bool(of_kind(task, UnchangedCheck)) != bool(of_kind(task, StateCheck))
        if of_kind(task, RefusedCheck):
            assert len(task.gold.calls) < 3, "who refuses without looking should not be right about much work"


def depth_of(task: Task) -> int:
    """Calls in the longest chain in which each takes a value that the one before has found."""
    depth: list[int] = []
    for call in task.gold.calls:
        depth.append(1 + max((depth[ref.call] for ref in refs(call.arguments)), default=0))
    return max(depth, default=0)


# What is asked can be done from what is said.


def test_every_value_that_no_call_finds_stands_in_the_words() -> None:
    for task in all_tasks():
        words = words_of(task)
        for call in task.gold.calls:
            for name, value in call.arguments.items():
                for part in value if isinstance(value, list) else [value]:
                    if isinstance(part, str):
                        assert is_said(call.name, name, part, words), (
                            f"{task.id}: {call.name}({name}={part!r})\n{words}"
                        )


def is_said(tool: str, name: str, value: str, words: str) -> bool:
    if f'"{value}"' in words or (value == "TODO" and "TODO" in words):
        return True
    if name == "folder":
        # The whole project, the changelog, or the folder of the project's layout that holds settings.
        return value in (".", "CHANGELOG.md") or f'"{value}' in words
    if name == "name":
        start, _, end = value.partition("*")
        kinds = {".py": "Python|.py", ".log": "log"}
        return f'"{start}"' in words or f'"{end}"' in words or bool(re.search(kinds.get(end, re.escape(end)), words))
    if tool == "move_file" and name == "destination":
        return f'"{value.rpartition("/")[0]}"' in words  # its name is the file's own
    if name == "value":
        return value in words
    return False


def test_no_request_tells_its_own_answer() -> None:
    for task in all_tasks():
        for check in of_kind(task, AnswerCheck):
            seen = SeenValues()
            seen.add([{"role": "user", "content": request(task)}])
            values = check.value if isinstance(check.value, list) else [check.value]
            assert not {str(value) for value in values} & {str(value) for value in seen}, task.id


def test_answers_are_as_true_in_the_end_as_in_the_beginning() -> None:
    for task in all_tasks():
        for check in of_kind(task, AnswerCheck):
            with ENV.make_sandbox(task) as sandbox:
                gold = replay(task.gold, sandbox)
                for source in check.sources:
                    later = sandbox.call(gold.calls[source.call])
                    before = gold.results[: source.call]
                    assert follow(source, [*before, later]) == follow(source, gold.results), task.id


QUESTIONS = {
    "path": ["Where should it go?", "What path should the file get?", "Which folder do you have in mind?"],
    "line": ["What should the line say?", "Which text shall I add?"],
    "value": ["What value should it have?", "Which number shall I set it to?"],
    "new name": ["What should it be called?", "What is the new name?"],
}


def test_one_asks_in_ones_own_words() -> None:
    seen = set()
    for task in all_tasks():
        for slot in (reply.slot for reply in task.user.replies):
            assert slot is not None
            seen.add(slot)
            for question in QUESTIONS[slot]:
                reply, _ = hear(task.user, Conversation(), question)
                assert reply is not None, question
                assert reply.slot == slot, question
    assert seen == set(QUESTIONS)


# What counts as done.


def test_other_ways_and_white_space_count_and_other_files_do_not() -> None:
    tried = 0
    for task in tasks("train"):
        if not of_kind(task, StateCheck) or of_kind(task, AnswerCheck):
            continue
        with ENV.make_sandbox(task) as sandbox:
            gold = replay(task.gold, sandbox).changes["files"]
            assert not any("folder" in (row["before"].get("kind"), row["after"].get("kind")) for row in gold.values())
            start = sandbox.snapshot()
            for path, row in list(gold.items())[:1]:
                if not row["after"]:
                    continue
                do(sandbox, "write_file", path=path, text=row["after"]["text"].rstrip() + " \n")
                assert same_changes(sandbox.diff(), {"files": gold}, COMPARATORS), task.id
                do(sandbox, "set_executable", path=path, executable=not row["after"]["executable"])
                assert not same_changes(sandbox.diff(), {"files": gold}, COMPARATORS), task.id
                sandbox.restore(start)
                do(sandbox, "write_file", path=path, text=row["after"]["text"] + "more")
                assert not same_changes(sandbox.diff(), {"files": gold}, COMPARATORS), task.id
                sandbox.restore(start)
                do(sandbox, "write_file", path="another", text="")
                assert not same_changes(sandbox.diff(), {"files": gold}, COMPARATORS), task.id
                sandbox.restore(start)
                do(sandbox, "write_file", path="elsewhere", text=row["after"]["text"])
                do(sandbox, "delete_file", path=path)
                assert not same_changes(sandbox.diff(), {"files": gold}, COMPARATORS), task.id
                tried += 1
    assert tried > 20


IN_SHELL = {
    "write_file": "mkdir -p $(dirname {path}); printf '%s\\n' {text} > {path}",
    "append_text": "echo {text} >> {path}",
    "replace_text": "sed -i s/{old}/{new}/g {path}",
    "delete_lines": "sed -i /{text}/d {path}",
    "move_file": "mkdir -p $(dirname {destination}); mv {source} {destination}",
    "copy_file": "mkdir -p $(dirname {destination}); cp {source} {destination}",
    "delete_file": "rm {path}",
    "set_executable": "chmod +x {path}",
    "run": "{command}",
}


def test_who_does_it_all_by_commands_succeeds() -> None:
    """A valid other way gets the full outcome; for the calls it is paid only where they match."""
    env = FilesEnv(reward="outcome")
    done = 0
    for task in tasks("train"):
        writes = {call.name for call in task.gold.calls if TOOLKIT[call.name].spec.effect != "read"}
        if not writes or not writes <= set(IN_SHELL) or task.user.replies:
            continue
        _, info = env.reset(options={"task": task.id})
        lines = []
        for call in info["oracle"].calls:
            if call.name in writes:
                words = {name: quoted(str(value)) for name, value in call.arguments.items()}
                lines.append(call.arguments["command"] if call.name == "run" else IN_SHELL[call.name].format(**words))
        env.step(env.dialect.render("", [ToolCall("run", {"command": "set -e\n" + "\n".join(lines)})]))
        *_, reward, _, _, info = env.step(info["oracle"].script()[-1][0])
        assert info["success"], (task.id, lines, info["checks"])
        assert reward == 1.0
        done += 1
    env.close()
    assert done > 15


def quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


# Tools for settings and tables.

SETTINGS: dict[str, Any] = {
    "a.ini": "; a note\n[server]\nport = 80\nhost=here \n\n[mail]\nport = 25\n# port = 1\n",
    "b.json": '{\n  "name": "é",\n  "server": {\n    "port": 80,\n    "on": true\n  },\n  "x.y": 1\n}\n',
    "c.txt": "port = 80\n",
    "d.json": "[1]",
    "e.csv": "id,kind,n\n1,a,10\n2,b,20\n3,a,30\n",
    "f.csv": "id,kind,n\n4,a,5\n",
    "g.csv": "id,n\n4,5\n",
}


def test_settings_are_read() -> None:
    sandbox = make_sandbox(SETTINGS)
    for path, key, value in [
        *(("a.ini", "server.port", "80"), ("a.ini", "mail.port", "25"), ("a.ini", "server.host", "here")),
        *(("b.json", "name", "é"), ("b.json", "server.port", "80"), ("b.json", "server.on", "true")),
        ("b.json", "x.y", "1"),
    ]:
        assert do(sandbox, "get_setting", path=path, key=key).content == {"path": path, "key": key, "value": value}
    for path, key, says in [
        ("a.ini", "port", "has no setting port; its settings are: server.port, server.host, mail.port"),
        ("b.json", "server", "has no setting server"),
        ("c.txt", "port", "no file of settings"),
        ("d.json", "port", "does not hold a JSON object"),
        ("z.ini", "port", "no file z.ini"),
    ]:
        assert says in str(do(sandbox, "get_setting", path=path, key=key).error)


def test_settings_are_changed_in_their_place() -> None:
    def after(path: str, tool_name: str, **arguments: Any) -> str:
        sandbox = make_sandbox(SETTINGS)
        result = do(sandbox, tool_name, path=path, **arguments)
        assert result.ok, result
        return str(do(sandbox, "read_file", path=path).content["text"])

    ini, data = SETTINGS["a.ini"], SETTINGS["b.json"]
    assert after("a.ini", "set_setting", key="mail.port", value="26") == ini.replace("25", "26")
    assert after("a.ini", "rename_setting", key="server.host", new_name="at") == ini.replace("host=here ", "at=here")
    assert after("a.ini", "delete_setting", key="server.port") == ini.replace("port = 80\n", "")
    assert after("b.json", "set_setting", key="server.port", value="81") == data.replace("80", "81")
    assert after("b.json", "set_setting", key="name", value="81") == data.replace("é", "81")
    assert after("b.json", "rename_setting", key="server.port", new_name="p") == data.replace('"port"', '"p"')
    assert after("b.json", "delete_setting", key="x.y") == data.replace(',\n  "x.y": 1', "")
    sandbox = make_sandbox(SETTINGS)
    assert "already" in str(do(sandbox, "rename_setting", path="a.ini", key="server.port", new_name="host").error)
    assert "leave the section out" in str(
        do(sandbox, "rename_setting", path="a.ini", key="server.port", new_name="mail.host").error
    )
    assert "one line" in str(do(sandbox, "set_setting", path="a.ini", key="mail.port", value="1\n[x]").error)
    deep = "{" + '"a": {' * 60 + "}" * 61
    for content in (deep, '{"a":' * 5000):
        odd = make_sandbox({"deep.json": content})
        assert do(odd, "get_setting", path="deep.json", key="a").error_kind == "refused"
    assert sandbox.diff() == {}


def test_tables() -> None:
    sandbox = make_sandbox(SETTINGS)
    found = do(sandbox, "select_rows", path="e.csv", column="kind", value="a").content
    assert found == {"count": 2, "rows": [{"id": "1", "kind": "a", "n": "10"}, {"id": "3", "kind": "a", "n": "30"}]}
    assert "its columns are id, kind, n" in str(do(sandbox, "select_rows", path="e.csv", column="k", value="a").error)
    merged = do(sandbox, "merge_tables", sources=["f.csv", "e.csv"], destination="all.csv")
    assert merged.content == {"path": "all.csv", "rows": 4}
    text = do(sandbox, "read_file", path="all.csv").content["text"]
    assert text == "id,kind,n\n4,a,5\n1,a,10\n2,b,20\n3,a,30\n"
    assert "other columns" in str(do(sandbox, "merge_tables", sources=["f.csv", "g.csv"], destination="x").error)
    assert "already there" in str(do(sandbox, "merge_tables", sources=["f.csv"], destination="all.csv").error)
    assert "at least one" in str(do(sandbox, "merge_tables", sources=[], destination="x").error)
    long = make_sandbox({"long.csv": "a\n" + "1\n" * 900_000, "long.json": '{"a": [' + "[]," * 800_000 + "[]]}"})
    assert do(long, "merge_tables", sources=["long.csv"] * 100, destination="x").error_kind == "disk_limit"
    assert len(do(long, "select_rows", path="long.csv", column="a", value="1").content["rows"]) == 500
    assert "too many for this tool" in str(do(long, "get_setting", path="long.json", key="a").error)
    odd = make_sandbox({"odd.csv": "a,b\n1\n1,2,3\n" + "x" * 200_000 + "\n", "empty.csv": ""})
    assert do(odd, "select_rows", path="odd.csv", column="a", value="1").error_kind in (None, "refused")
    assert "its columns are none" in str(do(odd, "select_rows", path="empty.csv", column="a", value="1").error)
    assert json.dumps(odd.diff()) == "{}"
