"""Tasks without end: a plan drawn and filled, its gold checked by running it.

Which split a task belongs to is decided by its combination of tools alone (`split_of`), and its words and people come
from that split's own lists: nothing that tells train from test is left to chance.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tir_gym.env import Split
from tir_gym.envs.assistant.draft import Draft
from tir_gym.envs.assistant.items import QUESTIONS
from tir_gym.envs.assistant.plans import PLANS
from tir_gym.envs.assistant.tools import FIELD_COMPARATORS, TOOLKIT, AssistantIds
from tir_gym.envs.assistant.world import Facts
from tir_gym.envs.writing.draft import Infeasible, UnsoundTask
from tir_gym.envs.writing.request import Plan, Request
from tir_gym.envs.writing.speech import say_day, say_time
from tir_gym.gold import verified
from tir_gym.records import ScriptedUser, Task
from tir_gym.sandboxes.state import StateSandbox, World

MOST_CALLS = 12
"""Gold calls of a task."""

COMPARATORS = {**FIELD_COMPARATORS, "SentEmail.body": "text:0.9", "SentMessage.message": "text:0.9"}
"""How fields of the final state are compared: a text that the request quotes may differ by a comma. A task that passes
on a fact word for word, or sets a reminder to the minute, is stricter."""

_DRAWS = 500
"""Drafts after which the search for one that fits is given up."""

_SYSTEM = """\
You are a personal assistant with tools for accounts, alarms, calendar, email, messages, reminders and weather.

Now: {now}. The user is in {city}. {who}

- Act with the tools. Do all of what is asked and nothing else; leave out optional details that nobody gave.
- Times are exact, and what stands in quotation marks is taken as it stands. To look at a whole day, search from \
00:00:00 to 23:59:59.
- If a detail is missing that only the user can know, ask for it in one question that ends with a question mark.
- If the request cannot be done, change nothing and answer with a message that begins with CANNOT:
- When all is done, say so. If something was asked, give the bare answer inside <answer></answer>: a time as HH:MM, a \
date as YYYY-MM-DD, a number in digits, several things separated by commas, a text word for word."""


def split_of(tools: frozenset[str]) -> Split:
    """The split that a combination of tools belongs to: a fourth of them `test`, by a hash of their names."""
    digest = hashlib.blake2b(",".join(sorted(tools)).encode(), digest_size=4).digest()
    return "test" if int.from_bytes(digest, "big") % 4 == 0 else "train"


def make_task(split: Split, number: int, facts: Facts) -> Task:
    """The task of that number in that world, its gold verified by execution.

    Raises:
        UnsoundTask: No draft fits, or a gold call is refused: a bug of the generator.
        UsageError: Likewise, the gold trace having a fault.
    """
    rng = random.Random(f"assistant/{split}/{number}")
    plan = rng.choices(PLANS, [plan.share for plan in PLANS])[0]
    for _ in range(_DRAWS):
        owner = rng.choice(facts.usernames) if plan.logged_in else None
        state = _initial_state(facts, owner)
        sandbox = make_sandbox(state, str(facts.now), number)
        draft = Draft(split, facts, owner, rng, sandbox.fork())
        request = Request(draft, QUESTIONS)
        try:
            plan.fill(draft, request)
        except Infeasible:
            continue
        if _suits(draft, split):
            return verified(_task(f"{split}/{number}", number, plan, draft, request, state, owner), sandbox)
    raise UnsoundTask(f"task {split}/{number} ({plan.name}): none of {_DRAWS} drafts fits")


def make_sandbox(state: Mapping[str, Any], now: str, seed: int) -> StateSandbox:
    """A sandbox with the 28 tools in that state."""
    return StateSandbox(TOOLKIT, World(state), datetime.fromisoformat(now), AssistantIds(seed))


def _initial_state(facts: Facts, username: str | None) -> dict[str, Any]:
    """The world's tables, shared, and who is logged in."""
    return {**facts.tables, "Session": {} if username is None else {"current": {"username": username}}}


def _suits(draft: Draft, split: Split) -> bool:
    """Whether a draft is of that split, no longer than allowed, and no gift to those who call without thinking."""
    if draft.calls and split_of(draft.tools) != split:
        return False
    # Without arguments, the right tool is a right call. So of three calls and more, those of the right tools with
    # wrong values must stay below a third of what the oracle gets: 1 per call, 1 for the outcome.
    calls, gifts = len(draft.calls), sum(not call.arguments for call in draft.calls)
    return calls <= MOST_CALLS and (calls < 3 or (gifts + 0.1 * (calls - gifts)) / (calls + 1) < 0.33)


def _task(
    id: str,
    seed: int,
    plan: Plan[Draft],
    draft: Draft,
    request: Request[Draft],
    state: dict[str, Any],
    owner: str | None,
) -> Task:
    return Task(
        id=id,
        messages=(
            {"role": "system", "content": _system_prompt(draft, owner)},
            {"role": "user", "content": request.text},
        ),
        tools=TOOLKIT.specs,
        state=state,
        now=str(draft.now),
        seed=seed,
        gold=draft.gold(COMPARATORS),
        user=ScriptedUser(replies=tuple(draft.replies)),
        tags=(plan.name, *request.parts, f"calls-{len(draft.calls)}"),
    )


def _system_prompt(draft: Draft, owner: str | None) -> str:
    now = f"{say_day(draft.now.date())}, {draft.now.year}, {say_time(draft.now.time())}"
    who = "Nobody is logged in."
    if owner is not None:
        account = draft.account(owner)
        who = f"Logged in: {account['name']}, username {owner}, email {account['email']}."
    return _SYSTEM.format(now=now, city=draft.facts.cities[0], who=who)
