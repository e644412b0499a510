"""A task in the making: every gold call is run as it is written down, so a draft knows what an agent would see.

`Draft` records calls, words and checks. What to call and what to say is decided by the parts that use it: `finders`
(how a person or a thing is described and looked up), `items` (facts that can be told or passed on), `acts`,
`refusals` and `sessions`; `generator` puts them together.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from tir_gym.env import Split
from tir_gym.envs.assistant.speech import say_day, tidy
from tir_gym.envs.assistant.tools import TOOLKIT
from tir_gym.envs.assistant.vocabulary import VOCABULARY
from tir_gym.envs.assistant.wordings import wordings
from tir_gym.envs.assistant.world import Facts
from tir_gym.errors import TirGymError
from tir_gym.records import AnswerCheck, GoldCall, Json, Ref, Reply, ToolCall
from tir_gym.sandboxes.state import StateSandbox

if TYPE_CHECKING:
    from tir_gym.envs.assistant.finders import Person

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


class Infeasible(Exception):
    """What was drawn does not fit this world or what the draft holds already; draw again."""


class UnsoundTask(TirGymError):
    """The generator has made a task that is wrong: a bug of its own."""


@dataclass(frozen=True)
class Value:
    """What a gold call takes or an answer states, and where an earlier call found it, if one did."""

    value: Json
    ref: Ref | None = None

    def gold(self) -> Json:
        """As it stands in a gold call's arguments."""
        return self.value if self.ref is None else {"$ref": {"call": self.ref.call, "path": list(self.ref.path)}}


@dataclass(frozen=True)
class Found:
    """The result of a gold call."""

    call: int
    content: Json

    def at(self, *path: str | int) -> Value:
        node = self.content
        for step in path:
            node = node[step]
        return Value(node, Ref(call=self.call, path=path))

    def position(self, key: str, field: str, value: Json) -> int:
        """Where the one record with that field stands in the list under `key`.

        Raises:
            Infeasible: There is no such record, or more than one.
        """
        places = [i for i, record in enumerate(self.content[key]) if record[field] == value]
        if len(places) != 1:
            raise Infeasible(f"{len(places)} records with {field}={value!r}")
        return places[0]


class Draft:
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
        self.split = split
        self.facts = facts
        self.owner = owner
        self.rng = rng
        self.words = VOCABULARY[split]
        self.now = facts.now
        self.calls: list[GoldCall] = []
        self.after: list[tuple[int, int]] = []
        self.stage = 0
        self.replies: list[Reply] = []
        self.answer: AnswerCheck | None = None
        self.because: tuple[Ref, ...] | None = None
        """Set for a task that must be refused: the results that show why."""
        self.comparators: dict[str, str] = {}
        self.preface: list[str] = []
        """Sentences that stand before the one that is being made."""
        self.people: list[Person] = []
        """Whom the request has spoken of so far."""
        self.introduced = 0
        """How many of them the parts before the present one spoke of."""
        self.sandbox = sandbox
        self._before = sandbox.fork()
        self._made: dict[str, Found] = {}
        self._gate: tuple[int, ...] = ()
        self._taken: set[tuple[str, Hashable]] = set()

    # Gold calls.

    def call(self, tool: str, **arguments: Any) -> Found:
        """Make a gold call, or give the result of the same look-up made before.

        Args:
            tool: Its name.
            arguments: JSON values, `Value`s, or lists of either.

        Raises:
            Infeasible: An earlier part of the task has changed what the look-up shows, so that what is asked for would
                depend on the order in which the parts are done.
            UnsoundTask: The tool refuses.
        """
        gold = {name: _gold(value) for name, value in arguments.items()}
        call = ToolCall(tool, {name: _plain(value) for name, value in arguments.items()})
        reads = TOOLKIT[tool].spec.effect == "read"
        result = self.sandbox.call(call)
        if not result.ok:
            raise UnsoundTask(f"gold call {tool}({call.arguments}) fails: {result.error}")
        if reads and self._before.call(call) != result:
            raise Infeasible(f"{tool} after a change of what it shows")
        key = self._key(tool, gold)
        if key in self._made:
            return self._made[key]
        number = len(self.calls)
        self.calls.append(GoldCall(name=tool, arguments=gold, stage=self.stage))
        self.after += [(earlier, number) for earlier in self._gate]
        found = Found(number, result.content)
        if reads:
            self._made[key] = found
        return found

    def look_for_one(self, tool: str, **arguments: Any) -> Found:
        """Look something up to find one record, which no other part of the task changes.

        So a look-up made before will do, whatever has become of other records since; else as `call`.
        """
        key = self._key(tool, {name: _gold(value) for name, value in arguments.items()})
        return self._made[key] if key in self._made else self.call(tool, **arguments)

    def barrier(self) -> None:
        """Whatever is called from here on comes after all that was called so far."""
        self._gate = tuple(range(len(self.calls)))
        self._before = self.sandbox.fork()

    def ask(self, slot: str, phrases: tuple[str, ...], reply: str) -> None:
        """From here on nothing can be called before the user was asked for that value.

        Args:
            slot: What is missing.
            phrases: A question asks for it when it holds one of these; the first one names it.
            reply: What the user says then.
        """
        self.replies.append(Reply(text=tidy(reply), slot=slot, phrases=phrases))
        self.stage += 1

    def _key(self, tool: str, gold: dict[str, Any]) -> str:
        return repr((self.owner, tool, gold))

    @property
    def tools(self) -> frozenset[str]:
        """The names of the tools in the gold trace: its combination."""
        return frozenset(call.name for call in self.calls)

    @property
    def writes(self) -> bool:
        """Whether a gold call changes something."""
        return any(TOOLKIT[tool].spec.effect != "read" for tool in self.tools)

    # Words.

    def say(self, key: str, **parts: str) -> str:
        """One of the split's wordings for that key, its parts filled in."""
        return self.rng.choice(wordings(key, self.split)).format(**parts)

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

    def pick(self, candidates: Iterable[T]) -> T:
        """One of them.

        Raises:
            Infeasible: There are none.
        """
        choice = list(candidates)
        if not choice:
            raise Infeasible("nothing to choose from")
        return self.rng.choice(choice)

    def take(self, kind: str, candidates: Iterable[K]) -> K:
        """One of them that no other part of the task has taken; errors as `pick`."""
        chosen = self.pick(one for one in candidates if (kind, one) not in self._taken)
        self._taken.add((kind, chosen))
        return chosen

    def reserve(self, kind: str, one: Hashable) -> None:
        """Keep other parts of the task from taking it."""
        self._taken.add((kind, one))

    def future_day(self) -> date:
        """A day to come that no other part of the task speaks of."""
        return self.take("day", [self.now.date() + timedelta(days=n) for n in range(1, 12)])


def moment(text: str) -> datetime:
    """A date and time as records hold it."""
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S")


def quote(text: str) -> str:
    return f'"{text}"'


def _gold(value: Any) -> Any:
    if isinstance(value, Value):
        return value.gold()
    return [_gold(item) for item in value] if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Value):
        return value.value
    return [_plain(item) for item in value] if isinstance(value, list) else value
