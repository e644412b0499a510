"""The Code family: golds that run, credit by what is printed, functions judged by tests that nobody sees."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import string
from typing import Any

import gymnasium as gym
import pytest

from tir_gym import ToolEnv
from tir_gym.agents import make_agent
from tir_gym.compare import comparator
from tir_gym.env import SPLITS
from tir_gym.envs.code import tools
from tir_gym.envs.code.draft import Draft, Infeasible, UnsoundTask, split_of, tells
from tir_gym.envs.code.env import CodeEnv
from tir_gym.envs.code.functions import EXAMPLES, TESTS, Function, draw_function
from tir_gym.envs.code.generator import make_sandbox, make_task
from tir_gym.envs.code.tools import share_passed
from tir_gym.envs.code.wordings import VOCABULARY, WORDINGS
from tir_gym.episode import play_episode
from tir_gym.gold import faults, replay
from tir_gym.records import AnswerCheck, Task
from tir_gym.sandbox import Limits

ID = "tir_gym/Code-v0"


@pytest.fixture(scope="module")
def tasks() -> dict[str, list[Task]]:
    return {split: [make_task(split, number) for number in range(16)] for split in SPLITS}


@pytest.fixture(scope="module")
def function_task() -> Task:
    return next(task for n in range(200) if "function_task" in (task := make_task("train", n)).tags)


def make(**options: Any) -> ToolEnv:
    env = gym.make(ID, **options).unwrapped
    assert isinstance(env, CodeEnv)
    return env


def request(task: Task) -> str:
    return str(task.messages[-1]["content"])


def act(name: str, code: str) -> dict[str, Any]:
    return {"content": "", "tool_calls": [{"function": {"name": name, "arguments": {"code": code}}}]}


def chain(tasks: dict[str, list[Task]]) -> Task:
    return next(task for task in tasks["train"] if len(task.gold.calls) >= 3 and "function_task" not in task.tags)


# Golds


@pytest.mark.parametrize("split", SPLITS)
def test_the_oracle_succeeds_and_earns_all_there_is(split: str, tasks: dict[str, list[Task]]) -> None:
    for task in tasks[split]:
        env = make(task=task)
        trace = play_episode(env, make_agent("oracle"), task=task.id).trace
        assert trace.success
        assert sum(turn.reward for turn in trace.turns) == pytest.approx(len(task.gold.calls) + 1)
        env.close()


def test_golds_have_no_faults_and_tasks_are_the_same_when_made_again(tasks: dict[str, list[Task]]) -> None:
    for task in tasks["train"][:6] + tasks["test"][:6]:
        with make_sandbox(task.state) as sandbox:
            assert faults(task, sandbox) == []
    again = [make_task("test", number).model_dump_json() for number in (0, 5, 9)]
    assert again == [tasks["test"][number].model_dump_json() for number in (0, 5, 9)]
    assert len({request(task) for split in SPLITS for task in tasks[split]}) == 32


def test_every_step_prints_what_no_other_step_prints(tasks: dict[str, list[Task]]) -> None:
    for task in tasks["train"] + tasks["test"]:
        if "function_task" in task.tags:
            continue
        with make_sandbox(task.state) as sandbox:
            printed = [str(result.content) for result in replay(task.gold, sandbox).results]
        assert len(set(printed)) == len(printed)
        assert all(map(tells, printed))
        (check,) = task.gold.checks
        assert isinstance(check, AnswerCheck)
        assert str(check.value) == printed[-1].strip()
        assert request(task).count("\n") == len(printed) + 3, "a line for each step"


@pytest.mark.parametrize(
    ("printed", "enough"), [("3", False), ("-2.5", False), ("12", True), ("4.0", True), ("ab", False), ("oak", True)]
)
def test_small_figures_tell_nothing(printed: str, enough: bool) -> None:
    assert tells(printed) is enough


def test_a_step_that_fails_is_a_bug_and_one_that_repeats_is_not_taken() -> None:
    with Draft("train", random.Random(1)) as draft:
        draft.make_room()
        draft.step("sum", "print(512)")
        with pytest.raises(Infeasible, match="prints '512"):
            draft.step("sum", "print(512.0)")
        with pytest.raises(Infeasible, match="prints '1"):
            draft.step("sum", "print(1)")
        with pytest.raises(UnsoundTask, match="ZeroDivisionError"):
            draft.step("sum", "1 / 0")
        assert [step.printed for step in draft.steps] == ["512\n"]


def test_kinds_and_lengths(tasks: dict[str, list[Task]]) -> None:
    kinds = {tag for split in SPLITS for task in tasks[split] for tag in task.tags if tag.endswith("_task")}
    assert kinds == {"table_task", "word_task", "number_task", "function_task"}
    lengths = {split: max(len(task.gold.calls) for task in tasks[split]) for split in SPLITS}
    assert lengths["train"] <= 5
    assert lengths["test"] > lengths["train"] - 1


# Splits

_ROWS = {"noun", "column", "value"}
PLACES: dict[str, set[str]] = {
    "csv_intro": {"file", "noun", "columns"},
    "json_intro": {"file", "noun", "columns", "group"},
    "log_intro": {"file", "noun", "columns", "day"},
    "load": {"noun", "file", "amount"},
    "of_group": _ROWS,
    "not_of_kind": _ROWS,
    "before": _ROWS,
    "above": {"noun", "column", "middle"},
    "weekdays": {"noun", "column", "first"},
    "best": {"noun", "column", "other"},
    "product": {"noun", "column", "other"},
    "limit_mean": {"column"},
    "limit_median": {"column"},
    "total": {"column"},
    "spread": {"column"},
    "text_intro": {"file"},
    "words": {"file"},
    "long": {"least"},
    "with_letter": {"letter"},
    "every_nth": {"n", "ordinal"},
    "acrostic": {"n"},
    "primes": {"below"},
    "generator": {"a", "c", "m", "start", "n"},
    "multiples": {"one", "other", "below"},
    "last_digit": {"digit"},
    "remainder": {"m", "r"},
    "squares": {"modulus"},
    "power": {"exponent", "modulus"},
    "function": {"name", "words"},
    "examples": {"inputs", "outputs"},
}
"""The places that the code fills in, by key of the wordings; none where absent."""


def test_splits_share_no_wording_no_word_and_no_function() -> None:
    assert PLACES.keys() <= WORDINGS.keys()
    for key, wordings in WORDINGS.items():
        assert wordings["train"], key
        assert wordings["test"], key
        assert not set(wordings["train"]) & set(wordings["test"])
        for text in (*wordings["train"], *wordings["test"]):
            assert {name for _, name, _, _ in string.Formatter().parse(text) if name} <= PLACES.get(key, set()), text
    ours, theirs = (VOCABULARY[split] for split in ("train", "test"))
    assert not set(ours["words"]) & set(theirs["words"])
    for field in ("nouns", "groups", "kinds", "group", "kind", "count", "amount", "day"):
        values = [{value for table in part["tables"] for value in table[field]} for part in (ours, theirs)]
        assert not values[0] & values[1], field
    names = [{draw_function(split, random.Random(n)).name for n in range(40)} for split in ("train", "test")]
    assert not names[0] & names[1]
    assert [len(found) for found in names] == [4, 4]


def test_splits_share_no_chain_of_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    claimed: dict[str, set[tuple[str, ...]]] = {"train": set(), "test": set()}
    claim = Draft.claim

    def spy(draft: Draft, *operations: Any) -> None:
        claim(draft, *operations)
        claimed[draft.split].add(tuple(operation.__name__ for operation in operations))
        raise Infeasible("seen enough")

    monkeypatch.setattr(Draft, "claim", spy)
    for split in SPLITS:
        for number in range(8):
            with contextlib.suppress(UnsoundTask):  # or a function is drawn, which has no chain
                make_task(split, number)
    assert len(claimed["train"]) > 50
    assert len(claimed["test"]) > 50
    assert not claimed["train"] & claimed["test"]
    assert all(split_of(operations) == split for split in SPLITS for operations in claimed[split])


# Credit


@pytest.mark.parametrize(
    ("predicted", "gold", "same"),
    [
        ("print( 1+1 )  # two", "print(1 + 1)", True),
        ("x = 'a'\n\nprint(x)", 'x = "a"\nprint(x)', True),
        ("print(2 + 1)", "print(1 + 2)", False),
        ("y = 1", "x = 1", False),
        ("print(", "print(", True),
        ("print(", "print((", False),
        ("\0", "x", False),
        ("-" * 9000 + "1", "x", False),
        ("(" * 5000, "x", False),
        (5, "x", False),
        ("x", None, False),
    ],
)
def test_code_is_the_same_when_its_syntax_is(predicted: Any, gold: Any, same: bool) -> None:
    assert comparator("code")(predicted, gold) is same


@pytest.mark.parametrize(
    ("predicted", "gold", "same"),
    [
        ("120\n", "120\n", True),
        ("rows: 120", "120\n", True),
        ("Number of rows = 120\n", "120", True),
        ("12.50", "12.5\n", True),
        ("[3, 5]\n", "3\n5\n", True),
        ("('oak', 12)", "oak 12", True),
        ("121", "120", False),
        ("120 121", "120", False),
        ("rows are 120", "120", False),
        ("", "120", False),
        ("\n", "\n", False),
        ("oak", "elm", False),
        (None, "120", False),
        ("1" * 20_000, "120", False),
        ("nan", "120", False),
    ],
)
def test_output_is_the_same_when_its_values_are(predicted: Any, gold: Any, same: bool) -> None:
    assert comparator("printed")(predicted, gold) is same


@pytest.mark.parametrize("reward", ["default", "progress"])
def test_other_code_that_prints_the_same_is_the_same_step(reward: str, tasks: dict[str, list[Task]]) -> None:
    task = chain(tasks)
    with make_sandbox(task.state) as sandbox:
        printed = [str(result.content).strip() for result in replay(task.gold, sandbox).results]
    env = make(task=task, reward=reward)
    env.reset()
    total = 0.0
    for figure in printed:
        _, earned, *_ = env.step(act("python", f"found = {figure!r}\nprint('found:', found)"))
        total += float(earned)
    assert total == pytest.approx(len(printed))
    _, earned, *_ = env.step(act("python", f"print({printed[0]!r})"))
    assert float(earned) == pytest.approx(-0.05), "the same once more is no step of its own"
    _, earned, *_ = env.step(act("python", "quiet = 1"))
    assert float(earned) == pytest.approx(-0.05)
    env.close()


def test_the_notebook_keeps_variables_and_tells_of_errors(tasks: dict[str, list[Task]]) -> None:
    env = make(task=chain(tasks))
    env.reset()
    env.step(act("python", "kept = 41"))
    observation, *_ = env.step(act("python", "print(kept + 1)"))
    assert "42" in observation[0]["content"]
    observation, reward, *_ = env.step(act("python", "print('so far')\nmissing"))
    assert "NameError" in observation[0]["content"]
    assert "so far" in observation[0]["content"]
    assert float(reward) == pytest.approx(-0.05)
    observation, *_ = env.step(act("submit_solution", "x = 1"))
    assert "no tool named" in observation[0]["content"]
    env.close()


def test_a_random_agent_does_not_succeed(tasks: dict[str, list[Task]]) -> None:
    for task in tasks["test"]:
        env = make(task=task)
        assert not play_episode(env, make_agent("random"), task=task.id).trace.success
        env.close()


# Functions


def play(task: Task, *submissions: str) -> dict[str, Any]:
    env = make(task=task)
    env.reset()
    for code in submissions:
        env.step(act("submit_solution", code))
    *_, info = env.step("Submitted.")
    env.close()
    return info


def test_what_is_submitted_last_is_judged_by_hidden_tests(function_task: Task) -> None:
    right = function_task.gold.calls[-1].arguments["code"]
    noisy = f"print('loading')\n{right}\nprint('ready')"
    for submissions, share in (
        ((right,), 1.0),
        ((noisy,), 1.0),
        (("broken(", right), 1.0),
        ((right, "def other():\n    return 1\n"), 0.0),
        ((right, "raise SystemExit"), 0.0),
        ((), 0.0),
    ):
        info = play(function_task, *submissions)
        assert info["metrics"] == {"hidden_tests": share}
        assert info["success"] is (share == 1.0)
        assert info["checks"] == {"figure:hidden_tests": share == 1.0}


def test_knowing_the_examples_by_heart_is_not_enough(function_task: Task) -> None:
    function = function_task.state["function"]
    with make_sandbox(function_task.state) as sandbox:
        results = replay(function_task.gold, sandbox).results
    shown = [json.loads(line) for line in str(results[-1].content).splitlines()]
    known = dict(zip(map(json.dumps, function["examples"]), shown, strict=True))
    code = f"import json\ndef {function['name']}(*arguments):\n    return {known!r}.get(json.dumps(list(arguments)))\n"
    env = make(task=function_task)
    env.reset()
    _, reward, *_ = env.step(act("submit_solution", code))
    assert float(reward) == pytest.approx(1.0), "it does what the examples show"
    *_, info = env.step("Submitted.")
    assert info["metrics"]["hidden_tests"] < 0.5
    assert not info["success"]
    env.close()


def test_hidden_tests_are_nowhere_to_be_seen(function_task: Task) -> None:
    function = function_task.state["function"]
    assert len(function["tests"]) == TESTS
    assert len(function["examples"]) == EXAMPLES
    env = make(task=function_task)
    observation, info = env.reset()
    # Wherever the agent's code can look: files, the environment, every text that its interpreter holds.
    code = (
        "import gc, os\n"
        "names = [os.path.join(at, name) for at, _, found in os.walk('.') for name in found]\n"
        "print(names, dict(os.environ))\n"
        "held = [repr(one)[:50_000] for one in gc.get_objects() if isinstance(one, (dict, list))]\n"
        "print([text for text in held if 'tests' in text][:2])"
    )
    seen, *_ = env.step(act("python", code))
    everything = json.dumps([observation, info["tools"], seen])
    long_inputs = [json.dumps(test["input"]) for test in function["tests"] if len(json.dumps(test["input"])) > 8]
    assert len(long_inputs) > 3
    assert not [text for text in long_inputs if json.dumps(text)[1:-1] in everything]
    env.close()


@pytest.mark.parametrize(
    "body",
    [
        "return 7",
        "import os\n    os._exit(0)",
        "raise ValueError(n)",
        "import sys\n    sys.__stdout__.write('49\\n' * 50)\n    return 0",
        "while True:\n        pass",
        "return object()",
    ],
)
def test_no_trick_passes_for_a_right_result(body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "LIMITS", Limits(cpu_seconds=1.0, wall_seconds=4.0))
    tests = [{"input": [n], "output": n * n} for n in range(10, 20)]
    assert share_passed(f"def square(n):\n    {body}\n", "square", tests) == 0.0
    assert share_passed("def square(n):\n    return n * n\n", "square", tests) == 1.0
    assert share_passed("def square(n):\n    return n * n if n < 15 else n\n", "square", tests) == 0.5


def find_function(name: str) -> Function:
    split: Any = next(s for s in SPLITS for n in range(40) if draw_function(s, random.Random(n)).name == name)
    return next(f for n in range(40) if (f := draw_function(split, random.Random(n))).name == name)


def run_reference(function: Function) -> list[tuple[list[Any], Any]]:
    space: dict[str, Any] = {}
    exec(function.code, space)
    return [(arguments, space[function.name](*json.loads(json.dumps(arguments)))) for arguments in function.inputs]


def numbers_in(text: str) -> list[int]:
    return [int(part) for part in "".join(c if c.isdigit() else " " for c in text).split()]


def test_references_do_what_the_words_say() -> None:
    """Each against another way of doing it, its numbers read from the words."""
    price = find_function("price")
    _, cost, first, less, second, least = numbers_in(price.words)
    for (pieces,), result in run_reference(price):
        assert result == sum(cost if n < first else less if n < second else least for n in range(pieces))
    survivors = find_function("survivors")
    step, left = [n for n in numbers_in(survivors.words) if n > 1][:2]
    for (n,), result in run_reference(survivors):
        circle = list(range(1, n + 1))
        while len(circle) > left:
            for _ in range(step - 1):
                circle.append(circle.pop(0))
            circle.pop(0)
        assert result == sorted(circle)
    zigzag = find_function("zigzag")
    (rows, *_) = numbers_in(zigzag.words)
    for (text,), result in run_reference(zigzag):
        period = 2 * (rows - 1)
        row_of = [min(i % period, period - i % period) for i in range(len(text))]
        assert result == "".join(
            c for _, _, c in sorted((row, i, c) for i, (row, c) in enumerate(zip(row_of, text, strict=True)))
        )
    merge = find_function("merge")
    (gap, *_) = numbers_in(merge.words)
    for (intervals,), result in run_reference(merge):
        covered = {n for start, end in intervals for n in range(start, end + 1)}
        kept = {n for start, end in result for n in range(start, end + 1)}
        assert covered <= kept
        assert all(b[0] - a[1] > gap for a, b in itertools.pairwise(result))
        assert all(
            any(start == i[0] for i in intervals) and any(end == i[1] for i in intervals) for start, end in result
        )
    checksum = find_function("checksum")
    one, two, three, *_, modulus = numbers_in(checksum.words)
    for (digits,), result in run_reference(checksum):
        weights = [one, two, three] * len(digits)
        assert result == sum(map(lambda d, w: int(d) * w, digits, weights)) % modulus
