"""A small family made for tests: notes with owners, a question to ask, and tools that break on demand."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tir_gym.env import Split, ToolEnv
from tir_gym.errors import ToolError
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
    UnchangedCheck,
)
from tir_gym.sandboxes.state import HashedIds, State, StateSandbox, World
from tir_gym.tool import Toolkit, tool


@tool(effect="write")
def add_note(state: State, owner: str, text: str) -> dict[str, str]:
    """Add a note.

    Args:
        owner: Whose.
        text: What it says.
    """
    note_id = state.new_id("note", [owner, text])
    state.table("notes", owner).put(note_id, {"note_id": note_id, "text": text})
    return {"note_id": note_id}


@tool
def list_notes(state: State, owner: str) -> dict[str, Any]:
    """List a person's notes.

    Args:
        owner: Whose.
    """
    return {"notes": list(state.table("notes", owner).records())}


@tool(effect="write")
def delete_note(state: State, owner: str, note_id: str) -> dict[str, str]:
    """Delete a note.

    Args:
        owner: Whose.
        note_id: Which.
    """
    if note_id not in state.table("notes", owner):
        raise ToolError(f"no note {note_id}")
    state.table("notes", owner).delete(note_id)
    return {"status": "deleted"}


@tool
def explode(state: State) -> str:
    """Break."""
    return {}["missing"]  # a bug, on purpose


@tool
def babble(state: State) -> Any:
    """Give back something that is no JSON data."""
    return {1, 2}


TOOLS = Toolkit([add_note, list_notes, delete_note, explode, babble])
WORLD = World({"notes": {"ann": {"n1": {"note_id": "n1", "text": "milk"}, "n2": {"note_id": "n2", "text": "bread"}}}})

MOVE = GoldTrace(
    calls=(
        GoldCall(name="list_notes", arguments={"owner": "ann"}),
        GoldCall(
            name="add_note", arguments={"owner": "bob", "text": {"$ref": {"call": 0, "path": ["notes", 0, "text"]}}}
        ),
        GoldCall(
            name="delete_note",
            arguments={"owner": "ann", "note_id": {"$ref": {"call": 0, "path": ["notes", 0, "note_id"]}}},
        ),
    ),
    checks=(StateCheck(),),
    reply="Moved.",
)
COUNT = GoldTrace(
    calls=(GoldCall(name="list_notes", arguments={"owner": "ann"}),),
    checks=(AnswerCheck(type="number", value=2, sources=(Ref(call=0, path=("notes",)),)),),
    reply="There are <answer>2</answer>.",
)
ASK = GoldTrace(
    calls=(GoldCall(name="add_note", arguments={"owner": "bob", "text": "tea"}, stage=1),),
    checks=(AskedCheck(slot="text"), StateCheck()),
    reply="Added.",
)
REFUSE = GoldTrace(
    calls=(GoldCall(name="list_notes", arguments={"owner": "zoe"}),),
    checks=(RefusedCheck(sources=(Ref(call=0, path=("notes",)),)), UnchangedCheck()),
    reply="Zoe has no notes.",
)

GOLDS = {"move": MOVE, "count": COUNT, "ask": ASK, "refuse": REFUSE}
USER = ScriptedUser(replies=(Reply(text="Write tea.", slot="text", phrases=("text", "what should")),))


def make_task(name: str, *, limits: TaskLimits | None = None, **changes: Any) -> Task:
    """The task of that name, with any field changed."""
    fields: dict[str, Any] = {
        "id": name,
        "messages": ({"role": "system", "content": "Keep notes."}, {"role": "user", "content": f"Please {name}."}),
        "tools": TOOLS.specs,
        "gold": GOLDS[name],
        "user": USER if name == "ask" else ScriptedUser(),
        "limits": limits or TaskLimits(max_turns=8),
    }
    return Task(**{**fields, **changes})


class NotebookEnv(ToolEnv):
    """Tasks by name: move, count, ask, refuse."""

    env_id = "test/Notebook-v0"

    def make_task(self, split: Split, number: int) -> Task:
        name = sorted(GOLDS)[number % len(GOLDS)]
        return make_task(name).model_copy(update={"id": f"{split}/{number}"})

    def task_named(self, name: str) -> Task:
        return make_task(name) if name in GOLDS else super().task_named(name)

    def make_sandbox(self, task: Task) -> StateSandbox:
        return StateSandbox(TOOLS, WORLD, datetime.fromisoformat(task.now), HashedIds(task.seed))
