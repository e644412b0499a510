"""Copy-on-write state against the plain thing it stands for: deep-copied dicts."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tir_gym import ToolCall, ToolError, Toolkit, tool
from tir_gym.errors import InfrastructureError
from tir_gym.frozen import FrozenDict, freeze
from tir_gym.sandboxes.state import HashedIds, State, StateSandbox, World

NOW = datetime(2025, 1, 6, 9)
BASE = {
    "users": {"ann": {"name": "Ann", "tags": ["a"]}, "bob": {"name": "Bob", "tags": []}},
    "notes": {"ann": {"1": {"text": "x"}, "2": {"text": "y"}}},
}
paths = st.sampled_from([("users",), ("notes", "ann"), ("notes", "bob"), ("fresh",)])
keys = st.sampled_from(["ann", "bob", "1", "2", "3"])
records = st.dictionaries(st.sampled_from(["text", "n"]), st.integers(0, 2) | st.text(max_size=2), max_size=2)


class StateMatchesPlainCopies(RuleBasedStateMachine):
    """Any mix of reads, writes, snapshots and forks behaves as deep copies of plain dicts would."""

    @initialize()
    def start(self) -> None:
        self.state = State(World(BASE), NOW)
        self.model: dict[tuple[str, ...], dict[str, Any]] = {
            ("users",): copy.deepcopy(BASE["users"]),
            ("notes", "ann"): copy.deepcopy(BASE["notes"]["ann"]),
            ("notes", "bob"): {},
            ("fresh",): {},
        }
        self.saved: list[tuple[Any, Any]] = []

    @rule(path=paths, key=keys, record=records)
    def put(self, path: tuple[str, ...], key: str, record: dict[str, Any]) -> None:
        self.state.begin_turn()
        self.state.table(*path).put(key, record)
        self.model[path][key] = dict(record)

    @rule(path=paths, key=keys)
    def delete(self, path: tuple[str, ...], key: str) -> None:
        self.state.begin_turn()
        self.state.table(*path).delete(key)
        self.model[path].pop(key, None)

    @rule()
    def save(self) -> None:
        self.saved.append((self.state.snapshot(), copy.deepcopy(self.model)))

    @rule()
    def go_back(self) -> None:
        if self.saved:
            snapshot, model = self.saved[-1]
            self.state.restore(snapshot)
            self.model = copy.deepcopy(model)

    @rule(path=paths, key=keys, record=records)
    def a_fork_goes_its_own_way(self, path: tuple[str, ...], key: str, record: dict[str, Any]) -> None:
        twin = self.state.fork()
        assert twin.digest() == self.state.digest()
        twin.table(*path).put(key, record)
        twin.table(*path).delete(key)

    @rule(path=paths, key=keys, record=records)
    def a_rolled_back_call_leaves_nothing(self, path: tuple[str, ...], key: str, record: dict[str, Any]) -> None:
        before = self.state.digest()
        self.state.begin_turn()
        self.state.begin_call()
        self.state.table(*path).delete(key)
        self.state.table(*path).put(key, record)
        self.state.new_id("note", record)
        self.state.rollback_call()
        assert self.state.digest() == before

    @invariant()
    def same_content(self) -> None:
        for path, rows in self.model.items():
            assert dict(self.state.table(*path).rows()) == rows
            for key in ("ann", "bob", "1", "2", "3"):
                assert self.state.table(*path).get(key) == rows.get(key)

    @invariant()
    def diff_and_digest_tell_the_content(self) -> None:
        rebuilt = State(World(_nested(self.model)), NOW)
        assert rebuilt.digest() == self.state.digest()
        changed = {
            "/".join(path): {
                key: {"before": _base(path).get(key), "after": rows.get(key)}
                for key in sorted({*rows, *_base(path)})
                if rows.get(key) != _base(path).get(key)
            }
            for path, rows in self.model.items()
        }
        assert self.state.diff() == {path: rows for path, rows in changed.items() if rows}


StateMatchesPlainCopies.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestStateMatchesPlainCopies = StateMatchesPlainCopies.TestCase


def _base(path: tuple[str, ...]) -> dict[str, Any]:
    node: Any = BASE
    for step in path:
        node = node.get(step, {})
    return node  # type: ignore[no-any-return]


def _nested(model: dict[tuple[str, ...], dict[str, Any]]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for path, rows in model.items():
        node = data
        for step in path:
            node = node.setdefault(step, {})
        node.update(rows)
    return data


@tool(effect="write")
def rename(world: State, user: str, name: str) -> str:
    """Rename a user.

    Args:
        user: Whom.
        name: New name.
    """
    record = world.table("users").get(user)
    if record is None:
        raise ToolError(f"no user {user}")
    world.table("users").put(user, {**record, "name": name})
    return "ok"


@tool(effect="write")
def tag(world: State, user: str, tag: str) -> str:
    """Tag a user.

    Args:
        user: Whom.
        tag: With what.
    """
    record = world.table("users").get(user)
    world.table("users").put(user, {**record, "tags": [*record["tags"], tag]})
    return "ok"


@tool(effect="write")
def half_done(world: State) -> str:
    """Write, then refuse."""
    world.table("users").put("ann", {"name": "broken"})
    raise ToolError("changed my mind")


@tool
def vandal(world: State) -> str:
    """Try to change what is shared."""
    world.table("users").get("ann")["name"] = "broken"
    return "ok"


@tool(raises=(ZeroDivisionError,))
def declared(world: State) -> float:
    """Divide by zero, as declared."""
    return 1 / 0


TOOLKIT = Toolkit([rename, tag, half_done, vandal, declared])


@pytest.fixture
def sandbox() -> StateSandbox:
    return StateSandbox(TOOLKIT, World(BASE), NOW)


def test_two_writes_to_one_field_in_one_turn_conflict(sandbox: StateSandbox) -> None:
    first, second = sandbox.run_turn(
        [ToolCall("rename", {"user": "ann", "name": "A"}), ToolCall("rename", {"user": "ann", "name": "B"})]
    )
    assert first.ok
    assert second.error_kind == "conflict"
    assert "users/ann" in (second.error or "")
    assert sandbox.state.table("users").get("ann")["name"] == "A"
    assert sandbox.call(ToolCall("rename", {"user": "ann", "name": "B"})).ok


def test_writes_to_other_fields_or_records_do_not_conflict(sandbox: StateSandbox) -> None:
    results = sandbox.run_turn(
        [
            ToolCall("rename", {"user": "ann", "name": "A"}),
            ToolCall("tag", {"user": "ann", "tag": "new"}),
            ToolCall("rename", {"user": "bob", "name": "B"}),
        ]
    )
    assert [result.ok for result in results] == [True, True, True]
    assert sandbox.state.table("users").get("ann") == {"name": "A", "tags": ["a", "new"]}


def test_deleting_what_was_just_written_conflicts() -> None:
    state = State(World(BASE), NOW)
    state.begin_turn()
    state.begin_call()
    state.table("users").put("ann", {"name": "A", "tags": ["a"]})
    state.commit_call()
    state.begin_call()
    with pytest.raises(ToolError, match="users/ann"):
        state.table("users").delete("ann")


def test_a_refusal_leaves_nothing_behind(sandbox: StateSandbox) -> None:
    before = sandbox.digest()
    assert sandbox.call(ToolCall("half_done")).error == "changed my mind"
    assert sandbox.digest() == before
    assert sandbox.diff() == {}


def test_a_refusal_turns_the_clock_back() -> None:
    @tool(effect="write")
    def wait(world: State) -> str:
        """Let a day pass, then refuse."""
        world.now += timedelta(days=1)
        raise ToolError("changed my mind")

    sandbox = StateSandbox(Toolkit([wait]), World(BASE), NOW)
    before = sandbox.digest()
    assert not sandbox.call(ToolCall("wait")).ok
    assert sandbox.state.now == NOW
    assert sandbox.digest() == before


def test_true_written_over_one_is_a_change() -> None:
    @tool(effect="write")
    def switch(world: State, on: bool) -> str:
        """Switch the lamp.

        Args:
            on: Whether it shall shine.
        """
        lamp = world.table("lamps").get("desk")
        world.table("lamps").put("desk", {**(lamp or {}), "on": on})
        return "ok"

    sandbox = StateSandbox(Toolkit([switch]), World({"lamps": {"desk": {"on": 1}}}), NOW)
    before = sandbox.digest()
    results = sandbox.run_turn([ToolCall("switch", {"on": True}), ToolCall("switch", {"on": False})])
    assert [result.error_kind for result in results] == [None, "conflict"]
    assert sandbox.diff() == {"lamps": {"desk": {"before": {"on": 1}, "after": {"on": True}}}}
    assert sandbox.diff()["lamps"]["desk"]["after"]["on"] is True
    assert sandbox.digest() != before


class Notebook(State):
    def titles(self) -> list[str]:
        return [key for key, _ in self.table("notes", "ann").rows()]


@tool
def titles(notebook: Notebook) -> list[str]:
    """List titles."""
    return notebook.titles()


def test_a_fork_keeps_the_type_of_its_state() -> None:
    sandbox = StateSandbox(Toolkit([titles]), World(BASE), NOW, state_type=Notebook)
    assert sandbox.fork().fork().call(ToolCall("titles")).content == ["1", "2"]


def test_unknown_tool_and_bad_arguments_are_the_agents_mistakes(sandbox: StateSandbox) -> None:
    unknown = sandbox.call(ToolCall("renam", {}))
    assert (unknown.error_kind, unknown.error) == (
        "unknown_tool",
        "there is no tool named 'renam'; did you mean rename?",
    )
    assert sandbox.call(ToolCall("rename", {"user": 3})).error_kind == "invalid_arguments"


def test_a_tools_bug_is_an_infrastructure_failure(sandbox: StateSandbox) -> None:
    with pytest.raises(InfrastructureError, match="TypeError") as caught:
        sandbox.call(ToolCall("vandal"))
    assert caught.value.tool == "vandal"
    assert BASE["users"]["ann"]["name"] == sandbox.state.table("users").get("ann")["name"] == "Ann"


def test_a_declared_exception_is_a_refusal(sandbox: StateSandbox) -> None:
    result = sandbox.call(ToolCall("declared"))
    assert (result.error_kind, result.error) == ("refused", "division by zero")


def test_ids_depend_on_content_not_on_order() -> None:
    def issue(contents: list[str]) -> dict[str, str]:
        state = State(World({}), NOW, HashedIds(seed=3))
        return {content: state.new_id("note", content) for content in contents}

    assert issue(["a", "b"]) == issue(["b", "a"])
    state = State(World({}), NOW, HashedIds(seed=3))
    assert state.new_id("note", "a") != state.new_id("note", "a")
    assert State(World({}), NOW, HashedIds(seed=4)).new_id("note", "a") != issue(["a"])["a"]


def test_frozen_data_is_plain_data_that_cannot_change() -> None:
    frozen = freeze({"a": [1, {"b": None}], "c": (1, 2)})
    assert json.dumps(frozen) == '{"a": [1, {"b": null}], "c": [1, 2]}'
    assert frozen == {"a": [1, {"b": None}], "c": [1, 2]}
    for change in (
        lambda: frozen.update(x=1),
        lambda: frozen["a"].append(1),
        lambda: frozen.__ior__({"x": 1}),
        lambda: frozen["a"].__iadd__([1]),
        lambda: frozen["a"].sort(),
    ):
        with pytest.raises(TypeError, match="records are values"):
            change()
    assert copy.deepcopy(frozen) is frozen
    assert pickle.loads(pickle.dumps(frozen)) == frozen
    assert isinstance(pickle.loads(pickle.dumps(frozen)), FrozenDict)
    with pytest.raises(TypeError, match="plain JSON data"):
        freeze({"a": {1, 2}})
    with pytest.raises(TypeError, match="keys"):
        freeze({1: 2})


def test_an_id_given_out_without_a_write_is_not_given_again() -> None:
    state = State(World({}), NOW, HashedIds(seed=1))
    given = []
    for _ in range(3):
        state.begin_call()
        given.append(state.new_id("note", "a"))
        state.commit_call()
    state.begin_call()
    refused = state.new_id("note", "a")
    state.rollback_call()
    state.begin_call()
    assert state.new_id("note", "a") == refused
    assert len({*given, refused}) == 4


def test_an_id_counter_is_part_of_a_snapshot() -> None:
    state = State(World({}), NOW, HashedIds(seed=1))
    snapshot = state.snapshot()
    first = state.new_id("note", "a")
    state.restore(snapshot)
    assert state.new_id("note", "a") == first
