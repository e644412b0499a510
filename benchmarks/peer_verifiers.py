"""Steps per second of the stateful tool environment of `verifiers` on work like ours, its model answering at once.

    PYTHON benchmarks/peer_verifiers.py [--turns 20] [--episodes 50] [--json]

PYTHON is an interpreter with `verifiers` 0.1.14; `tir_gym` is not used. Each episode is one `rollout`, one after the
other on one thread without a network: 300 notes, four typed tools over them, one native tool call a turn, each of
which succeeds, then a final answer.

A step is a turn with a tool call, and all that the package does for it: its stop conditions, the call's JSON decoded,
the tool run on the notes of the episode, the result made a message, the messages checked and passed to the model's
client, the reply and its times and tokens recorded. The package does not check arguments against the tool's schema.

What could be counted either way is left out, so the figure is the most the package can do: scoring and the record
written after a rollout (`run_rollout`, `generate`), a provider's message format (the client replaced here is the
package's own layer, its replies made beforehand), and what an episode costs but for its tool turns (state, notes,
final answer, clean-up), measured by episodes without a tool turn and taken off, as `environment.py` takes off resets.
"""

import argparse
import asyncio
import gc
import json
import logging
import sys
import time
from importlib.metadata import version
from typing import Any, Literal

logging.disable(logging.CRITICAL)  # before the package sets up its own

try:
    import verifiers as vf
    from datasets import Dataset
    from verifiers.types import Response, ResponseMessage, ToolCall, Usage
except ModuleNotFoundError as missing:
    raise SystemExit(f"{sys.executable} lacks {missing.name!r}: run this by one with `verifiers` 0.1.14") from missing

NOTES = 300
RUNS = 9
"""The best of so many counts, as in `environment.py`: a busy machine only ever adds."""
TAGS = ("family", "garden", "health", "home", "ideas", "money", "music", "school", "travel", "work")

Note = dict[str, Any]
Notes = dict[str, Note]


def add_note(notes: Notes, title: str, tag: str, priority: int = 0) -> Note:
    """Add a note."""
    key = f"note-{len(notes)}"
    notes[key] = {"id": key, "title": title, "tag": tag, "priority": priority, "done": False}
    return notes[key]


def list_notes(notes: Notes, tag: str, order: Literal["title", "priority"] = "title", limit: int = 3) -> list[Note]:
    """List the first notes with a tag."""
    return sorted((note for note in notes.values() if note["tag"] == tag), key=lambda note: note[order])[:limit]


def update_note(notes: Notes, note_id: str, title: str, done: bool = False) -> Note:
    """Change the title of a note, and say whether it is done."""
    notes[note_id] |= {"title": title, "done": done}
    return notes[note_id]


def delete_note(notes: Notes, note_id: str) -> str:
    """Delete a note."""
    del notes[note_id]
    return f"{note_id} is deleted"


CALLS = (
    ("add_note", {"title": "Water the beds", "tag": "garden", "priority": 2}),
    ("list_notes", {"tag": "garden", "order": "priority"}),
    ("update_note", {"note_id": f"note-{NOTES}", "title": "Water the beds twice", "done": True}),
    ("delete_note", {"note_id": f"note-{NOTES}"}),
)
"""Called in turn, over and over: the fourth leaves the notes as the first found them."""


class NotesEnv(vf.StatefulToolEnv):
    """Each episode has its notes in its state; every tool gets them, and the model does not see that argument."""

    def __init__(self) -> None:
        prompt = [{"role": "user", "content": "Bring my notes on the garden up to date, one at a time."}]
        dataset = Dataset.from_list([{"prompt": prompt, "example_id": 0}])
        super().__init__(dataset=dataset, max_turns=-1, stop_errors=[Exception])  # no limit; a failing call fails all
        for tool in (add_note, list_notes, update_note, delete_note):
            self.add_tool(tool, args_to_skip=["notes"])

    async def setup_state(self, state: vf.State) -> None:
        notes: Notes = {}
        for number in range(NOTES):
            add_note(notes, f"Note {number}", TAGS[number % len(TAGS)], number % 4)
        state["notes"] = notes

    def update_tool_args(self, tool_name: str, tool_args: Any, messages: Any, state: vf.State, **_: Any) -> Any:
        return {**tool_args, "notes": state["notes"]}


class Model(vf.Client):
    """Calls a tool in each of `turns` turns, then answers. Nothing is converted, and no reply is made twice."""

    def __init__(self, turns: int) -> None:
        super().__init__([_reply(turn, turns) for turn in range(turns + 1)])

    async def get_native_response(self, prompt: Any, *_: Any, **__: Any) -> Response:
        return self.client[(len(prompt) - 1) // 2]  # after the prompt, a turn is two messages: the call, its result

    async def to_native_prompt(self, messages: Any) -> tuple[Any, dict[str, Any]]:
        return messages, {}

    async def to_native_tool(self, tool: Any) -> Any:
        return tool

    async def from_native_response(self, response: Response) -> Response:
        return response

    async def raise_from_native_response(self, response: Response) -> None: ...

    async def close(self) -> None: ...

    def setup_client(self, config: Any) -> Any:
        raise NotImplementedError("a model made here needs no connection")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=20, help="tool calls of an episode (default %(default)s)")
    parser.add_argument("--episodes", type=int, default=50, help="episodes of a run (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    options = parser.parse_args()
    if min(options.turns, options.episodes) < 1:
        parser.error("--turns and --episodes must be 1 or more")
    wall, cpu = asyncio.run(measure(options.turns, options.episodes))
    steps = options.turns * options.episodes
    found = {"peer": "verifiers", "version": version("verifiers"), "steps": steps, "turns": options.turns, "runs": RUNS}
    found |= {"wall_seconds": wall, "cpu_seconds": cpu}
    found |= {"steps_per_second": steps / wall, "steps_per_cpu_second": steps / cpu}
    print(json.dumps(found) if options.json else "\n".join(f"{name:21}{value}" for name, value in found.items()))


async def measure(turns: int, episodes: int) -> tuple[float, float]:
    """Wall and CPU seconds of the tool turns of so many episodes: the best run's, less the best without tool turns."""
    env = NotesEnv()
    row = env.get_dataset()[0]
    best = {}
    for model_turns in (turns, 0):
        model = Model(model_turns)
        await _check(env, row, model, model_turns)  # the first episodes warm up too
        runs = [await _run(env, row, model, episodes) for _ in range(RUNS)]
        best[model_turns] = [min(seconds) for seconds in zip(*runs, strict=True)]
    wall, cpu = (full - empty for full, empty in zip(best[turns], best[0], strict=True))
    return wall, cpu


async def _run(env: NotesEnv, row: Any, model: Model, episodes: int) -> tuple[float, float]:
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(episodes):
        await env.rollout(row, model, "mock", {})
    return time.perf_counter() - wall, time.process_time() - cpu


async def _check(env: NotesEnv, row: Any, model: Model, turns: int) -> None:
    """Play some episodes, and stop where one did other than what is counted."""
    for _ in range(5):
        state = await env.rollout(row, model, "mock", {})
        results = [message for message in state["completion"] if message.role == "tool"]
        ended = (state["error"], state["stop_condition"], len(results), len(state["notes"]))
        expected = (None, "no_tools_called", turns, NOTES + (turns % len(CALLS) > 0))
        if ended != expected:
            raise RuntimeError(f"error, end, tool results and notes are {ended}, not {expected}; is this 0.1.14?")


def _reply(turn: int, turns: int) -> Response:
    message = ResponseMessage(content="Done.", finish_reason="stop", is_truncated=False)
    if turn < turns:
        name, arguments = CALLS[turn % len(CALLS)]
        call = ToolCall(id=f"call_{turn}", name=name, arguments=json.dumps(arguments))
        message = ResponseMessage(tool_calls=[call], finish_reason="tool_calls", is_truncated=False)
    usage = Usage(prompt_tokens=400, reasoning_tokens=0, completion_tokens=30, total_tokens=430)
    return Response(id=f"reply_{turn}", created=0, model="mock", usage=usage, message=message)


if __name__ == "__main__":
    main()
