"""People and things as a request describes them, and the look-ups by which an agent finds what is meant.

`someone` gives a person; `some_mail`, `some_message`, `some_event`, `some_reminder` and `some_alarm` give a thing. Each
draws a way of describing it, makes the gold calls of that way, and checks that the description fits nothing else.
Descriptions nest: the latest mail from whoever sent the message that mentions a word.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, time
from typing import Any

from tir_gym.envs.assistant.draft import Draft, moment
from tir_gym.envs.writing.draft import Found, Infeasible, Value, quote
from tir_gym.envs.writing.speech import say_time


@dataclass
class Person:
    """Somebody, and what the calls made so far tell about them."""

    username: str
    words: str
    known: dict[str, Value] = field(default_factory=dict)
    """`username`, `email`, `name`, `phone`, as far as known."""

    def tell(self, d: Draft, what: str) -> Value:
        """Their username, email, name or phone, looked up where it is not known yet."""
        if what not in self.known:
            key = "username" if "username" in self.known else "email"
            found = d.call("QueryUser", **{key: self.known[key]})
            if not found.content["users"]:
                raise Infeasible("an earlier part of the task has changed the address")
            for other in ("username", "email", "name", "phone"):
                self.known.setdefault(other, found.at("users", 0, other))
        return self.known[what]


@dataclass(frozen=True)
class Thing:
    """A record that a look-up has found."""

    words: str
    way: str
    """How the words describe it: `word`, `day`, `latest`, `name`, `time`, ..."""
    found: Found
    path: tuple[str | int, ...]
    record: Mapping[str, Any]

    def at(self, *path: str | int) -> Value:
        """A field of it."""
        return self.found.at(*self.path, *path)


# People.


def someone(d: Draft, besides: Collection[str] = (), nested: bool = True) -> Person:
    """A person other than the owner.

    Args:
        d: The draft.
        besides: Usernames of people who must not be meant.
        nested: Whether the description may need a look-up.
    """
    if len(d.people) == d.introduced == 1 and d.people[0].username not in besides and d.rng.random() < 0.35:
        return Person(d.people[0].username, d.say("same_person"), d.people[0].known)
    ways: list[Callable[[Draft], Person]] = [_by_username, _by_address]
    if nested:
        ways += [_who_mailed, _who_mailed, _who_messaged, _who_messaged, _who_meets, _other_reader]
    person = d.rng.choice(ways)(d)
    if person.username in (d.owner, *besides):
        raise Infeasible(f"{person.username} again")
    d.take("person", [person.username])
    d.people.append(person)
    return person


def _by_username(d: Draft) -> Person:
    username = d.pick(d.others())
    return Person(username, d.say("person_by_username", username=username), {"username": Value(username)})


def _by_address(d: Draft) -> Person:
    username = d.pick(d.others())
    address = d.account(username)["email"]
    return Person(username, d.say("person_by_address", address=address), {"email": Value(address)})


def _who_mailed(d: Draft) -> Person:
    mail = some_mail(d, nested=False)
    return Person(
        d.username_at(mail.record["sender"]), d.say("who_mailed", mail=mail.words), {"email": mail.at("sender")}
    )


def _who_messaged(d: Draft) -> Person:
    message = some_message(d, nested=False)
    return Person(
        message.record["sender"], d.say("who_messaged", message=message.words), {"username": message.at("sender")}
    )


def _who_meets(d: Draft) -> Person:
    event = some_event(d, lambda event: len(event["attendees"] or ()) == 2)
    place = 1 - event.record["attendees"].index(d.owner)
    return Person(
        event.record["attendees"][place],
        d.say("who_meets", event=event.words),
        {"username": event.at("attendees", place)},
    )


def _other_reader(d: Draft) -> Person:
    mail = some_mail(d, lambda mail: len(mail["receivers"]) == 2, nested=False)
    place = 1 - mail.record["receivers"].index(d.own_address)
    return Person(
        d.username_at(mail.record["receivers"][place]),
        d.say("other_reader", mail=mail.words),
        {"email": mail.at("receivers", place)},
    )


# Mail and messages.


def some_mail(d: Draft, fits: Callable[[Any], bool] = lambda _: True, nested: bool = True) -> Thing:
    """A mail in the owner's inbox."""
    mails = d.mine("Email")
    mail = mails[d.take("mail", [id for id, mail in mails.items() if fits(mail)])]
    return _received(d, "SearchInbox", "emails", "email", mail, nested)


def some_message(d: Draft, fits: Callable[[Any], bool] = lambda _: True, nested: bool = True) -> Thing:
    """A message that the owner has received."""
    messages = d.mine("Message")
    message = messages[d.take("message", [id for id, message in messages.items() if fits(message)])]
    return _received(d, "SearchMessages", "messages", "username", message, nested)


def _received(d: Draft, tool: str, key: str, sender_is: str, record: Mapping[str, Any], nested: bool) -> Thing:
    """A mail or message, by a word in it, by two, by its day, or as the latest of its sender."""
    what = "mail" if key == "emails" else "message"
    way = d.rng.choice(("word", "word", "words", "day", "latest") if nested else ("word", "word", "words", "day"))
    if way == "latest":
        sender = someone(d, nested=False)
        found = d.call(tool, sender=sender.tell(d, sender_is))
        if not found.content[key]:
            raise Infeasible("nothing from them")
        return Thing(d.say(f"latest_{what}", person=sender.words), way, found, (key, 0), found.content[key][0])
    if way == "day":
        day = moment(record["date" if what == "mail" else "timestamp"]).date()
        found = d.call(tool, start_date=f"{day} 00:00:00", end_date=f"{day} 23:59:59")
        words = d.say(f"{what}_by_day", day=d.say_day(day))
    else:
        topic = d.topic_of(record["subject" if what == "mail" else "message"])
        first, second = topic.split(" ", 1)
        if way == "words" and " " not in second:
            found = d.call(tool, query=topic, match_type="all")
            words = d.say(f"{what}_by_words", first=quote(first), second=quote(second))
        else:
            found = d.call(tool, query=first)
            words = d.say(f"{what}_by_word", word=quote(first))
    if len(found.content[key]) != 1:
        raise Infeasible(f"{words}: fits {len(found.content[key])}")
    return Thing(words, way, found, (key, 0), found.content[key][0])


# Calendar, reminders, alarms.


def some_event(d: Draft, fits: Callable[[Any], bool] = lambda _: True) -> Thing:
    """An event to come in the owner's calendar."""
    events = d.mine("Calendar")
    now = str(d.now)
    event = events[d.take("event", [id for id, event in events.items() if event["start_time"] > now and fits(event)])]
    start = moment(event["start_time"])
    day = d.say_day(start.date())
    d.reserve("day", start.date())
    found = d.look_for_one("QueryCalendar", **whole_day(start.date()))
    place = found.position("events", "event_id", event["event_id"])
    same_day = found.content["events"]
    way = d.rng.choice(("name", "name", "time", "order"))
    if way == "name":
        found.position("events", "name", event["name"])
        words = d.say("event_by_name", name=quote(event["name"]), day=day)
    elif way == "time":
        found.position("events", "start_time", event["start_time"])
        words = d.say("event_by_time", time=say_time(start.time()), day=day)
    elif len(same_day) == 1:
        words = d.say("only_event", day=day)
    elif event == min(same_day, key=lambda other: str(other["start_time"])):
        words = d.say("first_event", day=day)
    elif event == max(same_day, key=lambda other: str(other["start_time"])):
        words = d.say("last_event", day=day)
    else:
        raise Infeasible("neither first nor last")
    return Thing(words, way, found, ("events", place), event)


def whole_day(day: date) -> dict[str, str]:
    """The range of a day, for `QueryCalendar`."""
    return {"start_time": f"{day} 00:00:00", "end_time": f"{day} 23:59:59"}


def some_reminder(d: Draft, fits: Callable[[Any], bool] = lambda _: True) -> Thing:
    """A reminder of the owner that is still pending."""
    reminders = d.mine("Reminder")
    pending = [id for id, one in reminders.items() if one["status"] == "pending" and fits(one)]
    reminder = reminders[d.take("reminder", pending)]
    found = d.look_for_one("GetReminders")
    place = found.position("reminders", "reminder_id", reminder["reminder_id"])
    return Thing(d.say("reminder_by_task", task=quote(reminder["task"])), "task", found, ("reminders", place), reminder)


def some_alarm(d: Draft) -> Thing:
    """The owner's only alarm within some hours."""
    alarms = d.mine("Alarm")
    alarm = alarms[d.take("alarm", alarms)]
    found, words = alarms_between(d, _hour(alarm["time"]) - d.rng.randrange(2), 2)
    if len(found.content["alarms"]) != 1:
        raise Infeasible("another alarm is near")
    return Thing(d.say("alarm_between", range=words), "hours", found, ("alarms", 0), alarm)


def alarms_between(d: Draft, hour: int, hours: int) -> tuple[Found, str]:
    """Look the alarms of some hours up; the result, and the hours in words."""
    start, end = time(max(0, hour)), time(min(23, hour + hours))
    found = d.call("FindAlarms", start_range=f"{start:%H:%M:%S}", end_range=f"{end:%H:%M:%S}")
    return found, d.say("hours", start=say_time(start), end=say_time(end))


def _hour(clock: str) -> int:
    return int(clock[:2])
