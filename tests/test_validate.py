"""The gold linter: sound families pass, and for each rule a family broken in just that way fails, by task and fault."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tir_gym.cli.linter import Linter, LintReport, sample
from tir_gym.cli.tool_schemas import schema_faults
from tir_gym.cli.validate import publish_probes
from tir_gym.env import Split, ToolEnv
from tir_gym.envs.calculator import CalculatorEnv
from tir_gym.errors import ToolError, UsageError
from tir_gym.records import (
    AnswerCheck,
    AskedCheck,
    GoldCall,
    GoldTrace,
    Ref,
    RefusedCheck,
    Reply,
    ScriptedUser,
    StateCheck,
    Task,
    TaskLimits,
    ToolSpec,
    UnchangedCheck,
)
from tir_gym.sandboxes.state import State, StateSandbox, World
from tir_gym.tool import Toolkit, tool

_clock = itertools.count()


@tool(effect="write")
def write_note(state: State, key: str, text: str) -> str:
    """Write a note, or write over it.

    Args:
        key: Its name.
        text: Its words.
    """
    state.table("notes").put(key, {"text": text})
    return key


@tool
def read_note(state: State, key: str) -> str:
    """Read a note.

    Args:
        key: Its name.
    """
    note = state.table("notes").get(key)
    if note is None:
        raise ToolError(f"there is no note {key!r}")
    return str(note["text"])


@tool
def crash(state: State) -> int:
    """Break."""
    return 1 // 0


@tool(effect="write")
def stamp(state: State) -> str:
    """Write down what the time is outside."""
    state.table("notes").put("stamp", {"text": str(next(_clock))})
    return "stamped"


@tool
def look(state: State) -> str:
    """Look around."""
    return "nothing"


TOOLS = Toolkit([write_note, read_note, crash, stamp, look])


class NotesEnv(ToolEnv):
    """Read a note, write it under another name, and say what it says."""

    env_id = "tests/Notes-v0"
    change: ClassVar[Callable[[Task], Task]] = staticmethod(lambda task: task)
    broken: ClassVar[tuple[str, ...]] = ()
    """Ids of the tasks that `change` is applied to."""

    def make_task(self, split: Split, number: int) -> Task:
        key, text = f"{split}-{number}", f"word{number} of {split}"
        task = Task(
            id=f"{split}/{number}",
            messages=({"role": "user", "content": f"Copy the note {key} to copy-{number}. What does it say?"},),
            tools=TOOLS.specs,
            state={"notes": {key: {"text": text}}},
            gold=GoldTrace(
                calls=(
                    GoldCall(name="read_note", arguments={"key": key}),
                    GoldCall(
                        name="write_note",
                        arguments={"key": f"copy-{number}", "text": {"$ref": {"call": 0, "path": []}}},
                    ),
                ),
                checks=(StateCheck(), AnswerCheck(value=text, sources=(Ref(call=0),))),
                reply=f"It says <answer>{text}</answer>.",
            ),
        )
        return type(self).change(task) if task.id in self.broken else task

    def make_sandbox(self, task: Task) -> StateSandbox:
        return StateSandbox(TOOLS, World(task.state), datetime.fromisoformat(task.now))


def family(change: Callable[[Task], Task], *broken: str) -> type[NotesEnv]:
    """A family like `NotesEnv` in which some tasks (`train/1` if none are named) are changed."""
    return type("BrokenEnv", (NotesEnv,), {"change": staticmethod(change), "broken": broken or ("train/1",)})


def with_gold(**fields: Any) -> Callable[[Task], Task]:
    return lambda task: task.model_copy(update={"gold": task.gold.model_copy(update=fields)})


def lint(env: Callable[..., ToolEnv], n: int = 3, probes: bool = True) -> LintReport:
    linter = Linter(env, probes=probes)
    for name in sample(lambda split: env(split=split), ("train", "test"), n):
        linter.lint(name)
    return linter.finish()


def only_fault(env: Callable[..., ToolEnv], rule: str, task: str = "train/1") -> str:
    """The text of the one fault that there is, which is of that rule and task."""
    faults = lint(env).faults
    assert [(fault.task, fault.rule) for fault in faults] == [(task, rule)], list(map(str, faults))
    assert str(faults[0]).startswith(f"{task}: {rule}: ")
    return faults[0].text


def test_a_sound_family_has_no_faults() -> None:
    report = lint(NotesEnv, n=12)
    assert report.faults == []
    assert (report.tasks, report.tools, report.probe_tasks) == (24, 5, 0)


def test_the_gold_of_a_shipped_family_is_sound_and_its_probes_are_measured() -> None:
    report = lint(CalculatorEnv, n=12)
    assert [fault for fault in report.faults if fault.rule != "probe"] == []
    assert report.tools == 4
    assert report.probe_tasks > 0
    assert "repeat" in report.probes


def test_tasks_whose_right_end_is_to_ask_or_to_refuse_are_sound() -> None:
    def ask(task: Task) -> Task:
        call = GoldCall(name="write_note", arguments={"key": "x", "text": "milk"}, stage=1)
        user = ScriptedUser(replies=(Reply(text="It should say milk.", slot="text", phrases=("text",)),))
        gold = GoldTrace(calls=(call,), checks=(AskedCheck(slot="text"), StateCheck()), reply="Done.")
        return task.model_copy(update={"gold": gold, "user": user})

    refuse = with_gold(calls=(), checks=(UnchangedCheck(), RefusedCheck()), reply="I have no tool for that.")
    assert lint(family(ask, "train/0", "test/2")).faults == []
    assert lint(family(refuse, "train/0", "test/2")).faults == []


def test_a_gold_call_that_is_refused() -> None:
    calls = (GoldCall(name="read_note", arguments={"key": "no such note"}),)
    report = lint(family(with_gold(calls=calls, checks=(RefusedCheck(),))))
    assert "train/1: gold: gold call 0 (read_note) fails: there is no note 'no such note'" in map(str, report.faults)


def test_a_gold_call_that_breaks() -> None:
    text = only_fault(family(with_gold(calls=(GoldCall(name="crash"),))), "gold")
    assert "crash raised ZeroDivisionError" in text


def test_a_gold_reference_that_leads_nowhere() -> None:
    calls = (
        GoldCall(name="read_note", arguments={"key": "train-1"}),
        GoldCall(name="write_note", arguments={"key": "x", "text": {"$ref": {"call": 0, "path": ["body"]}}}),
    )
    assert "no 'body' there" in only_fault(family(with_gold(calls=calls)), "gold")


def test_a_gold_call_that_is_not_needed() -> None:
    def add(task: Task) -> Task:
        return with_gold(calls=(*task.gold.calls, GoldCall(name="look")))(task)

    assert "gold call 2 (look) is not needed" in only_fault(family(add), "gold")


def test_an_end_state_that_depends_on_the_world_outside() -> None:
    def add(task: Task) -> Task:
        return with_gold(calls=(*task.gold.calls, GoldCall(name="stamp")))(task)

    faults = lint(family(add)).faults
    assert {(fault.task, fault.rule) for fault in faults} == {("train/1", "end-state")}
    assert "differs from replay to replay" in faults[0].text


def test_an_end_state_that_an_agent_cannot_reach() -> None:
    # Two writes to one record in one message are a conflict; the gold trace fails to say which comes first.
    def twice(task: Task) -> Task:
        calls = tuple(GoldCall(name="write_note", arguments={"key": "x", "text": text}) for text in ("one", "two"))
        return with_gold(calls=calls, checks=(StateCheck(),))(task)

    text = only_fault(family(lambda task: with_gold(after=((0, 1),))(twice(task))), "gold")
    assert "gold call 0 (write_note) is not needed" in text
    faults = [fault for fault in lint(family(twice)).faults if fault.rule == "end-state"]
    assert [fault.task for fault in faults] == ["train/1"]
    assert "the oracle does not reach it; checks that fail: state" in faults[0].text


def test_an_oracle_that_does_not_succeed() -> None:
    assert "checks that fail: answer" in only_fault(family(with_gold(reply="Copied.")), "oracle")


def test_an_oracle_that_runs_out_of_turns() -> None:
    def shorten(task: Task) -> Task:
        return task.model_copy(update={"limits": TaskLimits(max_turns=2)})

    assert "ended by max_turns" in only_fault(family(shorten), "oracle")


def test_an_oracle_return_that_is_not_positive() -> None:
    report = lint(lambda **options: NotesEnv(reward={"match": 0.0, "outcome": 0.0}, **options), n=1)
    assert [(fault.task, fault.rule) for fault in report.faults] == [
        ("train/0", "oracle-return"),
        ("test/0", "oracle-return"),
    ]
    assert "is 0, which is not positive" in report.faults[0].text


def test_a_task_that_checks_nothing_that_has_to_be_done() -> None:
    text = only_fault(family(with_gold(calls=(), checks=(UnchangedCheck(),))), "unchecked")
    assert "one who does nothing succeeds; it checks only: unchanged" in text
    nothing = [fault.text for fault in lint(family(with_gold(checks=()))).faults]
    assert any("nothing is checked" in text for text in nothing)
    still = [fault.text for fault in lint(family(with_gold(calls=(), checks=(StateCheck(),)))).faults]
    assert any("the end state is the initial one" in text for text in still)


def test_a_probe_above_its_bound_is_named_with_its_worst_task() -> None:
    # Three times the same call without arguments: whoever calls every tool for ever gets it all.
    def easy(task: Task) -> Task:
        calls = tuple(
            GoldCall(name="read_note", arguments={"key": {"$ref": {"call": i - 1, "path": []}} if i else "k"})
            for i in range(3)
        )
        gold = GoldTrace(calls=calls, checks=(AnswerCheck(value="k", sources=(Ref(call=2),)),), reply="k")
        return task.model_copy(update={"gold": gold, "state": {"notes": {"k": {"text": "k"}}}})

    report = lint(family(easy, "train/2"))
    assert report.probe_tasks == 1
    assert {(fault.task, fault.rule) for fault in report.faults} == {("train/2", "probe")}
    assert any("repeat gets" in fault.text and "it must stay below 0.35" in fault.text for fault in report.faults)
    assert lint(family(easy, "train/2"), probes=False).faults == []


def test_a_task_that_cannot_be_made() -> None:
    def fail(task: Task) -> Task:
        raise KeyError("colour")

    assert only_fault(family(fail), "task") == "cannot be made: KeyError: 'colour'"


def test_a_task_that_is_another_one_when_made_again() -> None:
    def drift(task: Task) -> Task:
        return task.model_copy(update={"seed": next(_clock)})

    faults = lint(family(drift)).faults
    assert ("train/1", "task", "is another one when made again; draw everything from its split and number") in [
        (fault.task, fault.rule, fault.text) for fault in faults
    ]


def test_a_task_with_another_id() -> None:
    faults = lint(family(lambda task: task.model_copy(update={"id": "train/0"}))).faults
    assert ("train/1", "its id is 'train/0'") in [(fault.task, fault.text) for fault in faults]
    assert "train/1: duplicate: the id 'train/0' was seen before with other content" in map(str, faults)


def test_a_duplicate_task_in_the_sample_and_across_splits() -> None:
    first = NotesEnv().make_task("train", 0)
    same = family(lambda task: first.model_copy(update={"id": task.id}), "train/2")
    assert only_fault(same, "duplicate", "train/2") == "says the same as task train/0"
    leaked = family(lambda task: first.model_copy(update={"id": task.id}), "test/1")
    assert only_fault(leaked, "duplicate", "test/1") == "says the same as task train/0"


def test_a_schema_that_validators_refuse_is_named_with_its_tool() -> None:
    bad = ToolSpec(name="bad.name", description="Do it.", parameters={"type": "object", "properties": {"x": {}}})
    faults = lint(family(lambda task: task.model_copy(update={"tools": (*task.tools, bad)}))).faults
    assert [(fault.task, fault.rule) for fault in faults] == [("train/1", "schema")] * 2
    assert faults[0].text.startswith("tool bad.name: the name 'bad.name' must be")
    assert faults[1].text == "tool bad.name: parameters.x: has no type"
    twice = lint(family(lambda task: task.model_copy(update={"tools": (*task.tools, task.tools[0])}))).faults
    assert [fault.text for fault in twice] == ["two tools are named write_note"]


def entry(**function: Any) -> dict[str, Any]:
    base = {"name": "f", "description": "Do it.", "parameters": {"type": "object", "properties": {}}}
    return {"type": "function", "function": base | function}


def typed(part: Any, **more: Any) -> dict[str, Any]:
    return entry(parameters={"type": "object", "properties": {"x": part}, **more})


SOUND = [
    entry(),
    typed({"type": "string", "enum": ["a", "b"]}, required=["x"], additionalProperties=False),
    typed({"type": ["string", "null"]}),
    typed({"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "null"}], "default": None}),
    typed({"enum": [1, "a"]}),
    typed({"const": 3}),
    typed({"$ref": "#/$defs/P"}, **{"$defs": {"P": {"type": "object", "properties": {"y": {"type": "number"}}}}}),
    typed({"type": "object", "additionalProperties": {"type": "string"}}),
    typed({"type": "number", "enum": [1, 2.5]}),
]

UNSOUND = [
    (entry(name="a b"), "the name 'a b' must be"),
    (entry(name="x" * 65), "must be 1 to 64"),
    (entry(name="é"), "must be 1 to 64"),
    (entry(name=None), "the name None must be"),
    (entry(description=" "), "it has no description"),
    (entry(description="d" * 1025), "1025 characters"),
    (entry(parameters=None), "must be a JSON Schema object"),
    (entry(parameters={"type": "array", "items": {"type": "string"}}), "must have type 'object' at the top"),
    (entry(parameters={"properties": {}}), "must have type 'object' at the top, got None"),
    (entry(parameters={"type": "object", "anyOf": [{"type": "object"}]}), "must not have 'anyOf' at the top"),
    (entry(parameters={"type": "object", "properties": []}), "`properties` must be an object"),
    (typed({"description": "anything"}), "parameters.x: has no type"),
    (typed(True), "parameters.x: has no type"),
    (typed("string"), "parameters.x: must be a schema object"),
    (typed({"type": "str"}), "parameters.x: unknown type 'str'"),
    (typed({"type": "array"}), "parameters.x: an array needs `items`"),
    (typed({"type": "array", "items": {}}), "parameters.x[]: has no type"),
    (typed({"type": "array", "items": {"type": "array"}}), "parameters.x[]: an array needs `items`"),
    (typed({"anyOf": [{"type": "array"}, {"type": "null"}]}), "parameters.x.anyOf[0]: an array needs `items`"),
    (typed({"anyOf": []}), "anyOf must be a list of schemas"),
    (typed({"type": "string"}, required=["y"]), "`required` names 'y', which is not among its properties"),
    (typed({"type": "string"}, required="x"), "`required` must be a list of names"),
    (typed({"$ref": "#/$defs/P"}), "$ref '#/$defs/P' leads nowhere"),
    (typed({"$ref": "https://example.org/schema.json"}), "leads nowhere"),
    (typed({"$ref": "#/properties/x"}), "refers to itself"),
    (typed({"type": "string", "enum": []}), "at least one value"),
    (typed({"type": "integer", "enum": [1, "2"]}), "enum value '2' is no integer"),
    (typed({"type": "integer", "enum": [True]}), "enum value True is no integer"),
    (typed({"type": "number", "default": float("nan")}), "no JSON"),
    (typed({"type": "object", "properties": {"y": {}}}), "parameters.x.y: has no type"),
    ({"name": "f", "parameters": {}}, "an entry of `tools` is"),
]


@pytest.mark.parametrize("tool", SOUND)
def test_a_sound_schema_is_taken(tool: dict[str, Any]) -> None:
    assert schema_faults(tool) == []


@pytest.mark.parametrize(("tool", "message"), UNSOUND)
def test_an_unsound_schema_is_refused(tool: dict[str, Any], message: str) -> None:
    assert [fault for fault in schema_faults(tool) if message in fault], schema_faults(tool)


CARD = """# About this file.
id = "tests/Notes-v0"
entry_point = "tests:NotesEnv"
title = "Notes"   # kept
summary = "Says [probes] and probes = {} in words."
"""


def test_publishing_keeps_every_other_line_and_can_be_repeated(tmp_path: Path) -> None:
    card = tmp_path / "card.toml"
    card.write_text(CARD)
    publish_probes(card, {"repeat": 0.31234567, "first one": -1.0}, 'with "care"')
    once = card.read_text()
    assert once.startswith(CARD)
    read = tomllib.loads(once)
    assert read["probes"] == {"repeat": 0.3123, "first one": -1.0}
    assert read["probes_measured"] == 'with "care"'
    publish_probes(card, {"repeat": 0.31234567, "first one": -1.0}, 'with "care"')
    assert card.read_text() == once
    publish_probes(card, {"all": 0.0}, "again")
    assert card.read_text().startswith(CARD)
    assert tomllib.loads(card.read_text())["probes"] == {"all": 0.0}


def test_publishing_refuses_a_card_that_it_would_damage(tmp_path: Path) -> None:
    card = tmp_path / "card.toml"
    card.write_text(CARD + 'note = """\nprobes_measured = 3\n"""\n')
    before = card.read_text()
    with pytest.raises(UsageError, match="cannot find where its probes stand"):
        publish_probes(card, {"all": 0.0}, "again")
    assert card.read_text() == before
