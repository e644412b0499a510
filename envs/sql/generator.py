"""Tasks without end: a database, a chain of questions about it, and now and then changes after them."""

from __future__ import annotations

import random
from contextlib import closing

from tir_gym.env import Split
from tir_gym.envs.sql.changes import CHANGES
from tir_gym.envs.sql.database import NOW, Name
from tir_gym.envs.sql.draft import Draft
from tir_gym.envs.sql.questions import QUESTIONS, Question
from tir_gym.envs.sql.same_sql import EFFECT, ROWS
from tir_gym.envs.sql.schemas import BY_SPLIT
from tir_gym.envs.writing.draft import Infeasible
from tir_gym.errors import InfrastructureError
from tir_gym.records import AnswerCheck, Check, GoldTrace, Ref, StateCheck, Task, ToolSpec
from tir_gym.sandboxes.sql.tools import READING, WRITING

SMALL = (150, 200, 300, 400, 600, 900)
"""Rows of a task's database, where nothing else is said."""

_LENGTHS = {1: 15, 2: 20, 3: 35, 4: 30}
"""How often a task has so many gold calls."""
_WRITING = 0.4
"""Share of tasks that change something."""
_DRAWS = 300

_SYSTEM = """\
You answer questions about a database and change it, with SQL that SQLite and PostgreSQL both understand. Ids of new \
rows are given by the database.

{tables}
- Ask one thing at a time: one query for each thing that is asked, which returns that one value in one row.
- Change only what the request says.
- When all is done, say so. If something was asked, give the bare answers in the order of the questions, separated by \
commas, inside <answer></answer>: names and numbers as the database gives them, without quotation marks or units, a \
day as YYYY-MM-DD, a month as YYYY-MM."""


def make_task(split: Split, number: int, rows: int | None) -> Task:
    """The task of that number, not verified yet.

    Args:
        split: Whose schemas and words to use.
        number: Which task.
        rows: About how many rows its database has; then all tasks of a split and a schema share one. A few hundred
            rows, other ones for each task, for `None`.

    Raises:
        InfrastructureError: No draft fits: a bug of the generator.
    """
    rng = random.Random(f"sql/{split}/{number}")
    schema = rng.choice(BY_SPLIT[split])
    length = rng.choices(list(_LENGTHS), list(_LENGTHS.values()))[0]
    writes = min(length, rng.choice((1, 1, 2))) if rng.random() < _WRITING else 0
    small = rng.choice(SMALL)
    name = Name(schema.name, f"{split}/{number}", small) if rows is None else Name(schema.name, f"{split}/shared", rows)
    for _ in range(_DRAWS):
        with closing(Draft(name, split, rng)) as draft:
            try:
                _fill(draft, length - writes, writes)
            except Infeasible:
                continue
            return _task(f"{split}/{number}", number, draft, writes)
    raise InfrastructureError(f"sql: none of {_DRAWS} drafts for {split}/{number} fits", kind="generator_bug")


def toolkit_specs(writes: bool) -> tuple[ToolSpec, ...]:
    """The sandbox's tools; how their gold values are compared is this family's."""
    rules = {"query": {"sql": ROWS}, "execute": {"sql": EFFECT}}
    specs = WRITING.specs if writes else READING.specs
    return tuple(spec.model_copy(update={"comparators": rules.get(spec.name, {})}) for spec in specs)


def _fill(draft: Draft, questions: int, changes: int) -> None:
    for _ in range(questions):
        draft.ask(_next_question(draft))
    for _ in range(changes):
        fresh = [change for change in CHANGES if not {change.key, change.table} & draft.used]
        fitting = [change for change in fresh if draft.focus is not None and change.about == draft.focus.kind]
        draft.change(draft.rng.choice(fitting if fitting and draft.rng.random() < 0.7 else fresh))


def _next_question(draft: Draft) -> Question:
    """Mostly about what was found last, so that one thing leads to another."""
    fresh = [question for question in QUESTIONS if question.key not in draft.used]
    fitting = [question for question in fresh if draft.focus is not None and question.about == draft.focus.kind]
    if fitting and draft.rng.random() < 0.85:
        fresh = fitting
    return draft.rng.choices(fresh, [question.size for question in fresh])[0]


def _task(id: str, seed: int, draft: Draft, writes: int) -> Task:
    answers = [value for value, _, _ in draft.answers]
    sources = tuple(Ref(call=call, path=("rows", 0, 0)) for _, _, call in draft.answers)
    checks: list[Check] = [StateCheck()] if writes else []
    if len(answers) == 1:
        checks.append(AnswerCheck(type=draft.answers[0][1], value=answers[0], sources=sources))
    elif answers:
        checks.append(AnswerCheck(type="set", value=[str(value) for value in answers], sources=sources))
    told = f"<answer>{', '.join(map(str, answers))}</answer>" if answers else "Done."
    name = draft.name
    return Task(
        id=id,
        messages=(
            {"role": "system", "content": _SYSTEM.format(tables=draft.tables)},
            {"role": "user", "content": " ".join(draft.sentences)},
        ),
        tools=toolkit_specs(bool(writes)),
        state={
            "database": {"schema": name.schema, "seed": name.seed, "rows": name.rows},
            "role": "write" if writes else "read",
        },
        now=NOW,
        seed=seed,
        gold=GoldTrace(calls=tuple(draft.calls), after=tuple(draft.after), checks=tuple(checks), reply=told),
        tags=(name.schema, f"calls-{len(draft.calls)}", "change" if writes else "ask", *draft.keys),
    )
