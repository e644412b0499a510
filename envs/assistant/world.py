"""A seeded world for the Assistant: people with accounts, calendars, mail, messages, reminders and alarms, and weather.

Everything hangs together: who attends a meeting has it in the calendar, mail about a meeting tells its real place and
time, nobody is in two meetings at once, and each keyword that a task may search for names one thing. The records have
the layout of the ToolTalk databases, which the tools expect; none of their content comes from there.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tir_gym.env import Split
from tir_gym.envs.assistant.vocabulary import SHARED, VOCABULARY
from tir_gym.envs.writing.speech import MONTHS, say_day, say_time
from tir_gym.frozen import FrozenDict, freeze

SMALL = 7
"""People in the world of an ordinary task; some 55 KB as JSON."""
LEAST = 7
"""With fewer people the circles that one writes to and meets would be too small."""

_CITIES = 5
_WEATHER_DAYS = 4
_DATE_TIME = "%Y-%m-%d %H:%M:%S"


@dataclass(frozen=True)
class Facts:
    """A generated world: its tables, its clock, and who lives in it."""

    tables: FrozenDict
    """Frozen, shared by every task of the world: table -> ... -> record."""
    now: datetime
    usernames: tuple[str, ...]
    cities: tuple[str, ...]


def make_world(split: Split, seed: str, people: int = SMALL) -> Facts:
    """The world of that seed: always the same one.

    Args:
        split: Whose vocabulary it is made of.
        seed: Any text.
        people: How many live in it, at least 7.
    """
    return _Maker(split, random.Random(f"assistant-world/{split}/{people}/{seed}"), people).make()


class _Maker:
    def __init__(self, split: Split, rng: random.Random, people: int) -> None:
        self.rng = rng
        self.words = VOCABULARY[split]
        self.now = datetime(2025, 2, 3, 8) + timedelta(days=rng.randrange(600), minutes=5 * rng.randrange(24))
        self.accounts = self._accounts(people)
        self.usernames = list(self.accounts)
        self.cities = tuple(rng.sample(self.words.cities, _CITIES))
        self.topics: dict[str, set[str]] = defaultdict(set)
        """What each person has met or been written about: no keyword may stand for two things."""

    def make(self) -> Facts:
        weather, climate = self._weather()
        calendars = self._calendars()
        tables = {
            "Account": self.accounts,
            "Calendar": calendars,
            "Email": self._mailboxes(calendars),
            "Message": self._messages(),
            "Reminder": {username: self._reminders() for username in self.usernames},
            "Alarm": {username: self._alarms() for username in self.usernames},
            "Weather": weather,
            "HistoricWeather": climate,
        }
        return Facts(freeze(tables), self.now, tuple(self.usernames), self.cities)

    def _accounts(self, people: int) -> dict[str, Any]:
        rng, words = self.rng, self.words
        accounts: dict[str, Any] = {}
        addresses = set()
        while len(accounts) < people:
            first, last = rng.choice(words.first_names), rng.choice(words.last_names)
            username = rng.choice((f"{first}{last[0]}", f"{first[0]}{last}", f"{first}_{last}")).lower()
            email = f"{first}.{last}@{rng.choice(words.mail_domains)}".lower()
            if email in addresses:
                continue
            if username in accounts:
                username += str(rng.randrange(10, 100))
            if username in accounts:
                continue
            addresses.add(email)
            accounts[username] = {
                "username": username,
                "email": email,
                "phone": f"{rng.randrange(201, 990)}-{rng.randrange(201, 990)}-{rng.randrange(10000):04d}",
                "name": f"{first} {last}",
                "password": f"{rng.choice(words.passwords)}-{rng.choice(words.passwords)}-{rng.randrange(10, 100)}",
                "session_token": None,
            }
        return accounts

    def _circle(self, person: int) -> list[str]:
        """Whom one knows: neighbours on a ring, so that a large world is as dense as a small one."""
        reach = min(4, (len(self.usernames) - 1) // 2)
        ring = len(self.usernames)
        return [self.usernames[(person + step) % ring] for step in range(-reach, reach + 1) if step]

    def _calendars(self) -> dict[str, dict[str, Any]]:
        rng, today = self.rng, self.now.replace(hour=0, minute=0)
        days = [today + timedelta(days=distance) for distance in range(-4, 13)]
        workdays = [day for day in days if day.weekday() < 5]
        calendars: dict[str, dict[str, Any]] = {username: {} for username in self.usernames}
        busy: set[tuple[str, datetime]] = set()
        for person, organiser in enumerate(self.usernames):
            for number in range(3):
                guests = rng.sample(self._circle(person), rng.choice((1, 1, 2, 2, 3))) if number else []
                attendees = [organiser, *guests]
                hour = rng.choice(workdays if guests else days) + timedelta(hours=rng.randrange(9, 18))
                topic = self._fresh_topic(attendees)
                if topic is None or any((one, hour) in busy for one in attendees):
                    continue
                busy.update((one, hour) for one in attendees)
                event = self._event(hour, topic, attendees) if guests else self._errand(hour)
                for one in attendees:
                    calendars[one][event["event_id"]] = event
        return calendars

    def _event(self, hour: datetime, topic: str, attendees: list[str]) -> dict[str, Any]:
        rng = self.rng
        away = rng.random() < 0.2
        name = f"{topic.capitalize()} {rng.choice(SHARED.trip_kinds if away else SHARED.meeting_kinds)}"
        place = rng.choice(self.cities if away else self.words.rooms)
        return self._entry(hour, name, "meeting", place, f"About the {topic}.", attendees)

    def _errand(self, hour: datetime) -> dict[str, Any]:
        return self._entry(
            hour, self.rng.choice(SHARED.errands), "event", self.rng.choice(self.words.streets), None, None
        )

    def _entry(
        self, hour: datetime, name: str, kind: str, place: str, description: str | None, attendees: list[str] | None
    ) -> dict[str, Any]:
        rng = self.rng
        start = hour + timedelta(minutes=rng.choice((0, 15)))
        return {
            "event_id": f"{rng.getrandbits(32):08x}-{rng.getrandbits(16):04x}",
            "name": name,
            "event_type": kind,
            "start_time": start.strftime(_DATE_TIME),
            "end_time": (start + timedelta(minutes=rng.choice((30, 40, 45)))).strftime(_DATE_TIME),
            "location": place,
            "description": description,
            "attendees": attendees,
        }

    def _mailboxes(self, calendars: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        rng = self.rng
        boxes: dict[str, dict[str, Any]] = {username: {} for username in self.usernames}
        for person, sender in enumerate(self.usernames):
            for event in calendars[sender].values():
                if event["attendees"] and event["attendees"][0] == sender and rng.random() < 0.6:
                    self._deliver(boxes, sender, event["attendees"][1:], *self._invitation(event))
            for _ in range(3):
                receivers = rng.sample(self._circle(person), rng.choice((1, 2, 2)))
                topic = self._fresh_topic(receivers)
                if topic is not None:
                    self._deliver(boxes, sender, receivers, *self._note(topic), self.now)
        return boxes

    def _deliver(
        self, boxes: dict[str, Any], sender: str, receivers: list[str], subject: str, body: str, before: datetime
    ) -> None:
        rng = self.rng
        mail = {
            "email_id": f"{rng.getrandbits(8):02x}-{rng.getrandbits(16):04x}-{rng.getrandbits(32):08x}",
            "date": self._shortly_before(before),
            "sender": self.accounts[sender]["email"],
            "receivers": [self.accounts[one]["email"] for one in receivers],
            "subject": subject,
            "body": f"{body}\n\n{self.accounts[sender]['name']}",
        }
        for one in receivers:
            boxes[one][mail["email_id"]] = mail

    def _invitation(self, event: dict[str, Any]) -> tuple[str, str, datetime]:
        """Subject, text, and when it must have been sent by."""
        start = datetime.strptime(event["start_time"], _DATE_TIME)
        place = f"{say_day(start.date())}, {say_time(start.time())}, {event['location']}"
        line = self.rng.choice(SHARED.invitation_lines)
        return (
            f"Invitation: {event['name']}",
            f"You are invited: {event['name']}, {place}. {line}",
            min(start, self.now),
        )

    def _note(self, topic: str) -> tuple[str, str]:
        rng = self.rng
        body = rng.choice(SHARED.mail_texts).format(topic, rng.randrange(2, 20), rng.randrange(20, 90))
        return rng.choice(SHARED.mail_subjects).format(topic), body

    def _messages(self) -> dict[str, dict[str, Any]]:
        rng = self.rng
        boxes: dict[str, dict[str, Any]] = {username: {} for username in self.usernames}
        for person, sender in enumerate(self.usernames):
            for receiver in rng.sample(self._circle(person), 5):
                topic = self._fresh_topic([receiver])
                if topic is None:
                    continue
                id = f"{rng.getrandbits(32):08x}-{rng.getrandbits(32):08x}"
                boxes[receiver][id] = {
                    "message_id": id,
                    "timestamp": self._shortly_before(self.now),
                    "sender": sender,
                    "message": rng.choice(SHARED.message_texts).format(topic, rng.randrange(3, 60)),
                }
        return boxes

    def _reminders(self) -> dict[str, Any]:
        rng, reminders = self.rng, {}
        for chore in rng.sample(self.words.chores, 5):
            due = self.now.replace(hour=rng.randrange(9, 20), minute=0) + timedelta(days=rng.randrange(1, 15))
            id = f"{rng.getrandbits(8):02x}-{rng.getrandbits(16):04x}"
            reminders[id] = {
                "reminder_id": id,
                "task": chore,
                "due_date": due.strftime(_DATE_TIME) if rng.random() < 0.7 else None,
                "status": "complete" if rng.random() < 0.2 else "pending",
            }
        return reminders

    def _alarms(self) -> dict[str, Any]:
        rng, alarms = self.rng, {}
        for minutes in sorted(rng.sample(range(5 * 60, 22 * 60, 15), 5)):
            id = f"{rng.getrandbits(16):04x}-{rng.getrandbits(16):04x}"
            alarms[id] = {"alarm_id": id, "time": f"{minutes // 60:02d}:{minutes % 60:02d}:00"}
        return alarms

    def _weather(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Weather by city and day, and what is usual by city and month."""
        rng, weather, climate = self.rng, {}, {}
        days = [(self.now + timedelta(days=distance)).strftime("%Y-%m-%d") for distance in range(_WEATHER_DAYS)]
        for city in self.cities:
            base = rng.randrange(30, 75)
            highs = rng.sample(range(base, base + 20), len(days))  # no two alike: one day is the warmest
            weather[city.lower()] = {
                day: {
                    "date": day,
                    "high": high,
                    "low": high - rng.randrange(6, 18),
                    "conditions": rng.choice(SHARED.conditions),
                }
                for day, high in zip(days, highs, strict=True)
            }
            climate[city.lower()] = {
                month.lower(): {
                    "min_temp": (low := base - rng.randrange(5, 25)),
                    "max_temp": (high := base + rng.randrange(5, 20)),
                    "record_min_temp": low - rng.randrange(4, 20),
                    "record_max_temp": high + rng.randrange(4, 20),
                    "avg_rainfall": rng.randrange(20, 600) / 100,
                    "snow_days": max(0, rng.randrange(-6, 8)),
                }
                for month in MONTHS
            }
        return weather, climate

    def _fresh_topic(self, people: list[str]) -> str | None:
        """A topic that is new to all of them, and from now on no longer."""
        for topic in self.rng.sample(self.words.topics, 6):
            if not any(topic in self.topics[one] for one in people):
                for one in people:
                    self.topics[one].add(topic)
                return topic
        return None

    def _shortly_before(self, moment: datetime) -> str:
        """A moment of the ten days before."""
        return (moment - timedelta(seconds=self.rng.randrange(3600, 10 * 24 * 3600))).strftime(_DATE_TIME)
