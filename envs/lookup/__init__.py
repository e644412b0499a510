"""`tir_gym/Lookup-v0`: chains of look-ups over facts that are new in every task. Small enough to learn on.

A request names a chain, "boss of city of B73?", and each link is one call whose argument the call before it gave:
`city(of="B73")` gives `K41`, `boss(of="K41")` gives the answer. All words of an episode are few and short, so that a
policy of a million parameters can be trained on it.

- **Facts** are drawn afresh for each task, so that there is nothing to remember: a policy must copy from results.
- **What looks right and is not**: each of the eight tools has a near synonym, which answers just as readily; the
  request tells old facts that no longer hold; and a wrong call leads on, to ids from which no way leads back. The
  right answer comes only from the last right call, and that one's argument only from the one before.
- **Branches**: several chains in one request do not depend on each other, and can be followed side by side.
- **Splits** share no id, and no chain of two or more tools.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, TypeAlias

from tir_gym.env import Split, ToolEnv
from tir_gym.errors import ToolError, UsageError
from tir_gym.gold import verified
from tir_gym.records import AnswerCheck, GoldCall, GoldTrace, Ref, Task, TaskLimits
from tir_gym.sandboxes.state import State, StateSandbox, World
from tir_gym.tool import Tool, Toolkit

RELATIONS = ("boss", "head", "city", "town", "team", "crew", "road", "lane")
"""Names of the tools; each has its look-alike beside it."""

SYSTEM = "Look facts up; old ones no longer hold. Answer with nothing but ids, separated by commas."

Chain: TypeAlias = tuple[str, ...]
"""Tools in the order in which they are called."""

Span: TypeAlias = int | Sequence[int]
"""`(low, high)`, both included; a number alone is both."""

_LETTERS = "BCDFGHJKLM"
_NUMBERS = range(10, 100)
_BYSTANDERS = 16
"""Ids of a task besides those of its chains and of its old facts."""

_MOST_HOPS, _MOST_BRANCHES, _MOST_DISTRACTORS = 10, 4, 8


def _look_up(relation: str) -> Tool:
    def look_up(state: State, of: str) -> str:
        facts = state.table("facts").get(of)
        if facts is None:
            raise ToolError("unknown id")
        return str(facts[relation])

    look_up.__doc__ = f"The {relation} of an id."
    return Tool(look_up, name=relation)


TOOLS = Toolkit(map(_look_up, RELATIONS))


class LookupEnv(ToolEnv):
    """Chains of 1 to 10 look-ups that depend on each other, alone or side by side.

    No probe gets 0.35 of the oracle's return where there are at least as many distractors as branches; with fewer,
    trying every tool on every id of the request begins to pay.

    Args:
        hops: Length of a chain, `(low, high)` with 1 <= low <= high <= 10; a number alone is both.
        branches: Chains of a request, `(low, high)` likewise, 1 to 4.
        distractors: Old facts that the request tells, 0 to 8: those of the first steps of each chain, as they no longer
            are, and of where they would lead.
        options: As `ToolEnv` has them.

    Raises:
        UsageError: A span or a number out of bounds.
    """

    env_id = "tir_gym/Lookup-v0"

    def __init__(self, *, hops: Span = (1, 10), branches: Span = (1, 2), distractors: int = 2, **options: Any) -> None:
        self.hops = _span(hops, "hops", _MOST_HOPS)
        self.branches = _span(branches, "branches", _MOST_BRANCHES)
        if not _is_whole(distractors) or not 0 <= distractors <= _MOST_DISTRACTORS:
            raise UsageError(f"distractors={distractors!r}: give a whole number from 0 to {_MOST_DISTRACTORS}")
        self.distractors = distractors
        super().__init__(**options)

    def make_task(self, split: Split, number: int) -> Task:
        rng = random.Random(f"lookup/{split}/{number}")
        chains = [_draw_chain(rng, split, rng.randint(*self.hops)) for _ in range(rng.randint(*self.branches))]
        ids = iter(rng.sample(_IDS[split], sum(len(chain) + 1 for chain in chains) + self.distractors + _BYSTANDERS))
        paths = [[next(ids) for _ in range(len(chain) + 1)] for chain in chains]
        others = list(ids)
        old = list(_old_facts(rng, chains, paths, others[: self.distractors]))
        calls = sum(map(len, chains))
        task = Task(
            id=f"{split}/{number}",
            messages=({"role": "system", "content": SYSTEM}, {"role": "user", "content": _request(chains, paths, old)}),
            tools=TOOLS.specs,
            state={"facts": _facts(rng, chains, paths, others, old)},
            gold=_gold(chains, paths),
            # Room for as many mistakes as there are links, and an end for those who walk in circles.
            limits=TaskLimits(max_turns=2 * calls + 2),
            tags=(f"hops-{max(map(len, chains))}", f"branches-{len(chains)}", f"calls-{calls}"),
        )
        return verified(task, self.make_sandbox(task))

    def make_sandbox(self, task: Task) -> StateSandbox:
        return StateSandbox(TOOLS, World(task.state), datetime.fromisoformat(task.now))

    def task_source(self) -> tuple[object, ...]:
        return self.hops, self.branches, self.distractors


def split_of(chain: Chain) -> Split | None:
    """The split that a chain belongs to: a fourth of them `test`, by a hash; a single tool to both, `None`."""
    if len(chain) < 2:
        return None
    digest = hashlib.blake2b(" ".join(chain).encode(), digest_size=4).digest()
    return "test" if int.from_bytes(digest, "big") % 4 == 0 else "train"


def _ids(split: Split) -> list[str]:
    """The split's ids: every letter and every number stands in both splits, no two of them together."""
    named = ((i, number) for i in range(len(_LETTERS)) for number in _NUMBERS)
    return [f"{_LETTERS[i]}{number}" for i, number in named if ((i + number) % 4 == 0) == (split == "test")]


_IDS: dict[Split, list[str]] = {"train": _ids("train"), "test": _ids("test")}


def _draw_chain(rng: random.Random, split: Split, length: int) -> Chain:
    while True:
        chain = tuple(rng.choice(RELATIONS) for _ in range(length))
        if split_of(chain) in (split, None):
            return chain


def _old_facts(
    rng: random.Random, chains: list[Chain], paths: list[list[str]], values: Iterable[str]
) -> Iterator[tuple[str, str, str]]:
    """Relation, id and value of facts that no longer hold, one for each value: by turns for each chain, from its start
    along what it asks for; where that is said, along anything."""
    ends = [path[0] for path in paths]
    for i, value in enumerate(values):
        step, branch = divmod(i, len(chains))
        chain = chains[branch]
        yield (chain[step] if step < len(chain) else rng.choice(RELATIONS)), ends[branch], value
        ends[branch] = value


def _facts(
    rng: random.Random,
    chains: list[Chain],
    paths: list[list[str]],
    others: list[str],
    old: list[tuple[str, str, str]],
) -> dict[str, dict[str, str]]:
    """All relations of all ids. What is no link of a chain leads among the others, so that no detour ends well."""
    links = {
        (here, relation): there
        for chain, path in zip(chains, paths, strict=True)
        for here, relation, there in zip(path, chain, path[1:], strict=False)
    }
    gone = {(id, relation): value for relation, id, value in old}

    def fact(id: str, relation: str) -> str:
        link = links.get((id, relation))
        if link is not None:
            return link
        value = rng.choice(others)
        while value == gone.get((id, relation)):
            value = rng.choice(others)
        return value

    every = sorted([*(id for path in paths for id in path), *others])  # sorted, so that their order tells nothing
    return {id: {relation: fact(id, relation) for relation in RELATIONS} for id in every}


def _request(chains: list[Chain], paths: list[list[str]], old: list[tuple[str, str, str]]) -> str:
    questions = " and ".join(
        " of ".join([*reversed(chain), path[0]]) for chain, path in zip(chains, paths, strict=True)
    )
    said = ", ".join(f"{relation} of {id} = {value}" for relation, id, value in old)
    return f"old: {said}. {questions}?" if old else f"{questions}?"


def _gold(chains: list[Chain], paths: list[list[str]]) -> GoldTrace:
    calls: list[GoldCall] = []
    latest: list[Any] = [path[0] for path in paths]  # of each chain: its start, then a reference to its last result
    for step in range(max(map(len, chains))):  # side by side, so that one who plays the gold sends them together
        for branch, chain in enumerate(chains):
            if step < len(chain):
                calls.append(GoldCall(name=chain[step], arguments={"of": latest[branch]}))
                latest[branch] = {"$ref": {"call": len(calls) - 1, "path": []}}
    ends = [path[-1] for path in paths]
    sources = tuple(Ref.model_validate(one["$ref"]) for one in latest)
    check = AnswerCheck(type="set", value=ends, sources=sources)
    return GoldTrace(calls=tuple(calls), checks=(check,), reply=", ".join(ends))


def _span(span: Span, name: str, most: int) -> tuple[int, int]:
    pair = (span, span) if isinstance(span, int) else span
    if not isinstance(pair, Sequence) or len(pair) != 2 or not all(map(_is_whole, pair)):
        raise UsageError(f"{name}={span!r}: give a whole number or a pair (low, high) of them")
    low, high = pair
    if not 1 <= low <= high <= most:
        raise UsageError(f"{name}={span!r}: 1 <= low <= high <= {most} must hold")
    return low, high


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
