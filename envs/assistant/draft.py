"""A task in the making in the assistant's world.

What to call and what to say is decided by the parts that use it: `finders` (how a person or a thing is described and
looked up), `items` (facts that can be told or passed on), `acts`, `refusals` and `sessions`; `generator` puts them
together.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tir_gym.env import Split
from tir_gym.envs.assistant.tools import TOOLKIT
from tir_gym.envs.assistant.vocabulary import VOCABULARY
from tir_gym.envs.assistant.wordings import WORDINGS
from tir_gym.envs.assistant.world import Facts
from tir_gym.envs.writing.draft import Found, TaskDraft
from tir_gym.envs.writing.speech import say_day
from tir_gym.records import ToolCall
from tir_gym.sandboxes.state import StateSandbox

if TYPE_CHECKING:
    from tir_gym.envs.assistant.finders import Person

_READERS = frozenset(spec.name for spec in TOOLKIT.specs if spec.effect == "read")


class Draft(TaskDraft):
    """Gold calls, words and checks so far.

    Args:
        split: Whose wordings are used.
        facts: The world.
        owner: Username of whoever is served; `None` while nobody is logged in.
        rng: Source of every choice.
        sandbox: In the task's initial state; the gold calls are run in it.
    """

    def __init__(
        self, split: Split, facts: Facts, owner: str | None, rng: random.Random, sandbox: StateSandbox
    ) -> None:
        super().__init__(split, rng, sandbox, _READERS)
        self.facts = facts
        self.owner = owner
        self.words = VOCABULARY[split]
        self.now = facts.now
        self.people: list[Person] = []
        """Whom the request has spoken of so far."""
        self.introduced = 0
        """How many of them the parts before the present one spoke of."""
        self.sandbox = sandbox
        self._gate: tuple[int, ...] = ()

    # Gold calls.

    def look_for_one(self, tool: str, **arguments: Any) -> Found:
        """Look something up to find one record, which no other part of the task changes.

        So a look-up made before will do, whatever has become of other records since; else as `call`.
        """
        return self.made(tool, **arguments) or self.call(tool, **arguments)

    def barrier(self) -> None:
        """Whatever is called from here on comes after all that was called so far."""
        self._gate = tuple(range(len(self.calls)))
        self._before = self.sandbox.fork()

    def _follows(self, call: ToolCall) -> Iterable[int]:
        return self._gate

    def _key(self, tool: str, gold: Mapping[str, Any]) -> str:
        return repr((self.owner, super()._key(tool, gold)))  # another user sees other records

    @property
    def tools(self) -> frozenset[str]:
        """The names of the tools in the gold trace: its combination."""
        return frozenset(call.name for call in self.calls)

    @property
    def writes(self) -> bool:
        return not self.tools <= _READERS

    # Words.

    def wordings(self, key: str) -> Sequence[str]:
        return WORDINGS[key][self.split]

    def part_ended(self) -> None:
        super().part_ended()
        self.introduced = len(self.people)

    def say_day(self, day: date) -> str:
        distance = (day - self.now.date()).days
        return ("today", "tomorrow")[distance] if distance in (0, 1) else f"on {say_day(day)}"

    # What there is.

    def mine(self, table: str) -> Mapping[str, Any]:
        """The owner's records of a table, as the world was made."""
        records: Mapping[str, Any] = self.facts.tables[table].get(self.owner, {})
        return records

    def account(self, username: str) -> Mapping[str, Any]:
        record: Mapping[str, Any] = self.facts.tables["Account"][username]
        return record

    def username_at(self, address: str) -> str:
        """Whose address that is."""
        accounts = self.facts.tables["Account"]
        return next(str(username) for username, account in accounts.items() if account["email"] == address)

    @property
    def own_address(self) -> str:
        """The address to which the owner's mail has come so far."""
        return str(self.account(self.owner or "")["email"])

    @property
    def password(self) -> str:
        """The owner's password, as it is now."""
        account = self.sandbox.state.table("Account").get(self.owner or "")
        return str(account["password"]) if account else ""

    def new_password(self) -> str:
        words = self.rng.sample(self.words.passwords, 2)
        return f"{words[0].capitalize()}{self.rng.randrange(100, 1000)}{words[1]}"

    def others(self) -> list[str]:
        """Everybody's username but the owner's."""
        return [username for username in self.facts.usernames if username != self.owner]

    def new_topic(self) -> str:
        """A topic that no other part of the task has taken."""
        return self.take("topic", self.words.topics)

    def only_once(self, part: str) -> None:
        """Let no other part of the task do that again.

        Raises:
            Infeasible: One has done it.
        """
        self.take("once", [part])

    def topic_of(self, text: str) -> str:
        """The topic that a text is about."""
        return self.pick([topic for topic in self.words.topics if topic in text.lower()])

    def future_day(self) -> date:
        """A day to come that no other part of the task speaks of."""
        return self.take("day", [self.now.date() + timedelta(days=n) for n in range(1, 12)])


def moment(text: str) -> datetime:
    """A date and time as records hold it."""
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S")
