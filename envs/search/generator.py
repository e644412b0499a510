"""Tasks without end: a world and a question drawn, its documents written, its gold path made and verified."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from tir_gym.env import Split
from tir_gym.envs.search.absences import ABSENCES
from tir_gym.envs.search.documents import write
from tir_gym.envs.search.library import DOCUMENTS, LibraryState, library_of
from tir_gym.envs.search.paths import gold_of
from tir_gym.envs.search.questions import Drawing, Question, chain_question, difference_question
from tir_gym.envs.search.tools import TOOLKIT
from tir_gym.envs.search.world import World
from tir_gym.envs.writing.draft import Infeasible, UnsoundTask
from tir_gym.frozen import FrozenDict, freeze
from tir_gym.gold import verified
from tir_gym.records import GoldTrace, Task
from tir_gym.sandboxes.state import StateSandbox

SYSTEM = """\
You answer questions from a library of documents. Tools search it, open a document, find passages in one, and submit \
the answer.

- Go by what the documents say and by nothing else. Things may be named nearly alike: check that you read about the \
right one.
- Submit the bare answer, a name in full or a number in digits. Then end with a message that gives it inside \
<answer></answer>.
- If the library does not tell, {dead_end}end with a message that begins with CANNOT:"""

DEAD_END = "submit instead the name of the person or thing at which your search comes to its end, and "
"""What to do besides refusing, for generated questions: whoever refuses everything knows no such name."""

_NOW = "2025-01-06 09:00:00"
_DRAWS = 300
"""Questions after which the search for one that fits is given up."""

_PLANS: tuple[tuple[float, Callable[[Drawing], Question]], ...] = (
    (0.70, chain_question),
    (0.16, difference_question),
    (0.14, lambda d: d.rng.choice(ABSENCES)(d)),
)


def make_task(split: Split, number: int) -> Task:
    """The task of that number, its gold verified by execution.

    Raises:
        UnsoundTask: No question fits: a bug of the generator.
        UsageError: The gold trace has a fault, likewise.
    """
    rng = random.Random(f"search/{split}/{number}")
    drawing = Drawing(World(split, rng), split, rng)
    plan = rng.choices([plan for _, plan in _PLANS], [share for share, _ in _PLANS])[0]
    for _ in range(_DRAWS):
        try:
            question = plan(drawing)
            if _is_gift(question):
                continue
            documents = _documents(drawing, question, f"{split}/{number}")
            gold = gold_of(question, make_sandbox({DOCUMENTS: documents}))
        except Infeasible:
            continue
        task = make_record(f"{split}/{number}", question.text, documents, gold, (question.kind,), DEAD_END)
        return verified(task, make_sandbox(task.state))
    raise UnsoundTask(f"task {split}/{number}: none of {_DRAWS} questions fits")


def make_record(
    id: str,
    question: str,
    documents: FrozenDict,
    gold: GoldTrace,
    tags: tuple[str, ...] = (),
    dead_end: str = "submit nothing and ",
) -> Task:
    """A question in a library as a task.

    Args:
        id: The task's id.
        question: The request.
        documents: The library.
        gold: How it is answered.
        tags: For tables.
        dead_end: What to do besides refusing where the library does not tell.
    """
    return Task(
        id=id,
        messages=(
            {"role": "system", "content": SYSTEM.format(dead_end=dead_end)},
            {"role": "user", "content": question},
        ),
        tools=TOOLKIT.specs,
        state={DOCUMENTS: documents},
        now=_NOW,
        gold=gold,
        tags=(*tags, f"calls-{len(gold.calls)}"),
    )


def make_sandbox(state: Mapping[str, Any], now: str = _NOW) -> StateSandbox:
    """A sandbox with the four tools on these documents."""
    library = library_of(state.get(DOCUMENTS, _NO_DOCUMENTS))
    return StateSandbox(TOOLKIT, library, datetime.fromisoformat(now), state_type=LibraryState)


_NO_DOCUMENTS = FrozenDict()


def _is_gift(question: Question) -> bool:
    """Whether one who searches for every name of the request, and opens what comes first, would be paid too much.

    That is a right call for each thing that is named and one for the document, less half a point for all that is tried
    in vain. Of three calls and more it must stay below a third of what the oracle gets: 1 per call, 1 for the outcome.
    """
    visits = (*question.visits, *question.other_visits)
    named = sum(visit.told_by is None and visit.query == visit.title for visit in visits)
    # Search and read, document by document, but for one that is not there; then submit.
    calls = 2 * len(question.visits) - len(question.missing) + 1
    return calls >= 3 and (named + 0.5) / (calls + 1) >= 0.33 and question.visits[0].passage is None


def _documents(d: Drawing, question: Question, seed: str) -> FrozenDict:
    """What is written about the world, in an order that tells nothing."""
    rng = random.Random(f"search-documents/{seed}")
    written = []
    for thing in d.world.all():
        if thing not in question.missing:
            silent = [fact for one, fact in question.silent if one is thing]
            written.append(write(thing, d.split, d.world, rng, silent).record())
    rng.shuffle(written)
    ids = rng.sample(range(16**5), len(written))
    frozen: FrozenDict = freeze({f"d{id:05x}": record for id, record in zip(ids, written, strict=True)})
    return frozen
