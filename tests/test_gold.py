"""Replaying gold traces, and finding the ones that are wrong."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from notebook import GOLDS, MOVE, TOOLS, WORLD, NotebookEnv, make_task
from pydantic import ValidationError

from tir_gym import GoldCall, GoldTrace, Toolkit, ToolResult, tool
from tir_gym.checks import same_changes
from tir_gym.errors import UsageError
from tir_gym.gold import faults, refs, replay, resolve
from tir_gym.records import AnswerCheck, AskedCheck, Ref, Reply, StateCheck, Task, UnchangedCheck
from tir_gym.sandboxes.state import State, StateSandbox, World


@pytest.fixture
def sandbox() -> StateSandbox:
    return StateSandbox(TOOLS, WORLD, datetime(2025, 1, 6, 9))


def test_replay_resolves_references_and_reaches_the_end_state(sandbox: StateSandbox) -> None:
    gold = replay(MOVE, sandbox)
    assert gold.calls[1].arguments == {"owner": "bob", "text": "milk"}
    assert gold.calls[2].arguments == {"owner": "ann", "note_id": "n1"}
    assert gold.after == ((), (0,), (0,))
    assert gold.levels() == [[0], [1, 2]]
    assert set(gold.changes) == {"notes/ann", "notes/bob"}
    assert gold.changes["notes/ann"] == {"n1": {"before": {"note_id": "n1", "text": "milk"}, "after": None}}


@pytest.mark.parametrize("name", GOLDS)
def test_sound_golds_have_no_faults(name: str, sandbox: StateSandbox) -> None:
    before = sandbox.digest()
    assert faults(make_task(name), sandbox) == []
    assert sandbox.digest() == before


def call(name: str, **arguments: Any) -> GoldCall:
    return GoldCall(name=name, arguments=arguments)


@pytest.mark.parametrize(
    ("gold", "fault"),
    [
        (
            GoldTrace(calls=(call("delete_note", owner="ann", note_id="zz"),), checks=(StateCheck(),)),
            "fails: no note zz",
        ),
        (GoldTrace(calls=(call("nope"),), checks=(StateCheck(),)), "fails: there is no tool named 'nope'"),
        (GoldTrace(calls=(call("list_notes", owner="ann"),), checks=(StateCheck(),)), "doing nothing would succeed"),
        (GoldTrace(calls=(call("list_notes", owner="ann"),)), "nothing is checked"),
        (
            GoldTrace(calls=(call("add_note", owner="a", text="b"),), checks=(UnchangedCheck(),)),
            "must stay unchanged",
        ),
        (
            GoldTrace(
                calls=(call("list_notes", owner="ann"), call("add_note", owner="a", text="b")), checks=(StateCheck(),)
            ),
            "call 0 (list_notes) is not needed",
        ),
        (
            GoldTrace(
                calls=(call("add_note", owner="a", text={"$ref": {"call": 1, "path": []}}),), checks=(StateCheck(),)
            ),
            "has no result at that point",
        ),
        (
            GoldTrace(
                calls=(
                    call("list_notes", owner="ann"),
                    call("add_note", owner="a", text={"$ref": {"call": 0, "path": ["notes", 9, "text"]}}),
                ),
                checks=(StateCheck(),),
            ),
            "no 9 there",
        ),
        (
            GoldTrace(
                calls=(call("list_notes", owner="ann"),),
                checks=(AnswerCheck(value="jam", sources=(Ref(call=0, path=("notes", 0, "text")),)),),
            ),
            "is not what its sources hold",
        ),
    ],
)
def test_each_fault_is_found(gold: GoldTrace, fault: str, sandbox: StateSandbox) -> None:
    found = faults(make_task("move", gold=gold), sandbox)
    assert any(fault in text for text in found), found


def test_a_call_is_needed_when_without_it_a_reference_dangles(sandbox: StateSandbox) -> None:
    written = {"$ref": {"call": 1, "path": ["notes", 0, "text"]}}
    calls = (call("add_note", owner="zoe", text="a"), call("list_notes", owner="zoe"))
    gold = GoldTrace(
        calls=(*calls, call("add_note", owner="bob", text=written)), after=((0, 1),), checks=(StateCheck(),)
    )
    assert faults(make_task("move", gold=gold), sandbox) == []


def test_a_call_is_needed_when_what_is_written_is_read_in_its_result(sandbox: StateSandbox) -> None:
    calls = (call("list_notes", owner="ann"), call("add_note", owner="bob", text="milk"))
    read = (Ref(call=0, path=("notes", 0)),)
    assert faults(make_task("move", gold=GoldTrace(calls=calls, checks=(StateCheck(sources=read),))), sandbox) == []
    gone = (Ref(call=0, path=("notes", 7)),)
    (fault,) = faults(make_task("move", gold=GoldTrace(calls=calls, checks=(StateCheck(sources=gone),))), sandbox)
    assert "no 7 there" in fault


def test_faults_of_alternatives_are_found_too(sandbox: StateSandbox) -> None:
    broken = GoldTrace(calls=(call("nope"),), checks=(StateCheck(),))
    task = make_task("move", gold=MOVE.model_copy(update={"alternatives": (broken,)}))
    assert any("nope" in text for text in faults(task, sandbox))


def test_references_are_found_and_followed_anywhere() -> None:
    value = {"a": [{"$ref": {"call": 0, "path": ["x", 1]}}, 5], "b": {"c": {"$ref": {"call": 1}}}}
    assert [ref.call for ref in refs(value)] == [0, 1]
    assert resolve(value, [ToolResult(content={"x": [1, 2]}), ToolResult(content="y")]) == {
        "a": [2, 5],
        "b": {"c": "y"},
    }
    with pytest.raises(UsageError, match="call 1"):
        resolve(value, [ToolResult(content={"x": [1, 2]}), ToolResult(error="no")])


@pytest.mark.parametrize(
    ("type", "value"),
    [("number", "twelve"), ("number", True), ("set", 5), ("set", "ab"), ("date", None), ("text", {"a": 1})],
)
def test_an_expected_answer_fits_its_type(type: Any, value: Any) -> None:
    with pytest.raises(ValidationError, match=f"an answer of type '{type}' is "):
        AnswerCheck(type=type, value=value)


@pytest.mark.parametrize("phrases", [(), ("",), ("text", " ")])
def test_a_slot_needs_words_that_ask_for_it(phrases: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError, match="the slot 'text' needs words"):
        Reply(text="Tea.", slot="text", phrases=phrases)


def test_a_user_must_be_able_to_say_what_the_gold_waits_for() -> None:
    late = GoldTrace(calls=(MOVE.calls[0].model_copy(update={"stage": 2}),), checks=(StateCheck(),))
    with pytest.raises(ValidationError, match="a call of stage 2, but the user has 0 replies"):
        make_task("move", gold=late)
    with pytest.raises(ValidationError, match="slot 'colour' must be asked for"):
        make_task("ask", gold=GOLDS["ask"].model_copy(update={"checks": (AskedCheck(slot="colour"),)}))


def test_alternatives_have_none_of_their_own() -> None:
    with pytest.raises(ValidationError, match="list them all beside each other"):
        GoldTrace(alternatives=(GoldTrace(alternatives=(MOVE,)),))


def test_edges_must_point_forward() -> None:
    with pytest.raises(ValidationError, match="edge"):
        GoldTrace(calls=(call("a"), call("b")), after=((1, 0),))
    with pytest.raises(ValidationError, match="edge"):
        GoldTrace(calls=(call("a"),), after=((0, 1),))


def row(before: Any, after: Any) -> dict[str, Any]:
    return {"before": before, "after": after}


def test_states_are_compared_by_content_ids_of_new_records_aside() -> None:
    ours = {"t": {"k1": row(None, {"id": "k1", "n": 1}), "k2": row(None, {"id": "k2", "n": 2})}}
    swapped = {"t": {"z1": row(None, {"id": "z1", "n": 2}), "z2": row(None, {"id": "z2", "n": 1})}}
    other = {"t": {"z1": row(None, {"id": "z1", "n": 2}), "z2": row(None, {"id": "z2", "n": 2})}}
    assert same_changes(ours, swapped)
    assert not same_changes(ours, other)
    assert not same_changes(ours, {})
    assert not same_changes({"t": {"k": row({"n": 1}, {"n": 2})}}, {"t": {"k": row({"n": 1}, {"n": 3})}})
    assert not same_changes({"t": {"k": row({"n": 1}, None)}}, {"t": {"j": row({"n": 1}, None)}})
    near = {"t/x": {"k": row({}, {"text": "Buy milk"})}}, {"t/x": {"k": row({}, {"text": "buy milk!"})}}
    assert not same_changes(*near)
    assert same_changes(*near, {"t.text": "text:0.8"})


def test_a_new_record_under_a_key_that_was_asked_for_must_have_it() -> None:
    bob, ann = ({"accounts": {name: row(None, {"username": name, "city": "Bath"})}} for name in ("bob", "ann"))
    assert same_changes(bob, ann)
    assert not same_changes(bob, ann, named={"ann"})
    assert not same_changes(ann, bob, named={"ann"})
    assert same_changes(ann, ann, named={"ann"})


def test_what_gold_calls_spell_out_is_named_and_what_they_refer_to_is_not(sandbox: StateSandbox) -> None:
    assert replay(GOLDS["move"], sandbox).named == {"ann", "bob"}


def test_an_account_of_another_name_is_another_end_state() -> None:
    @tool(effect="write")
    def open_account(state: State, username: str) -> str:
        """Open an account.

        Args:
            username: Its name.
        """
        state.table("accounts").put(username, {"username": username})
        return "opened"

    class Bank(NotebookEnv):
        def make_sandbox(self, task: Task) -> StateSandbox:
            return StateSandbox(Toolkit([open_account]), World({}), datetime.fromisoformat(task.now))

    gold = GoldTrace(calls=(GoldCall(name="open_account", arguments={"username": "ann"}),), checks=(StateCheck(),))
    for username, right in (("ann", True), ("bob", False)):
        env = Bank(task=make_task("move", gold=gold))
        env.reset()
        env.step({"tool_calls": [{"function": {"name": "open_account", "arguments": {"username": username}}}]})
        assert env.step("Done.")[4]["success"] is right
