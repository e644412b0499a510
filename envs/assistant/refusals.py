"""Requests that cannot be done: what they need is not there, or no tool can do it.

Each makes the look-ups that show it, notes them as the reason, and gives the words of the request.
"""

from __future__ import annotations

from collections.abc import Callable

from tir_gym.envs.assistant.draft import Draft
from tir_gym.envs.assistant.finders import alarms_between, someone, whole_day
from tir_gym.envs.assistant.vocabulary import SHARED
from tir_gym.envs.writing.draft import Found, Infeasible, quote


def no_such_event(d: Draft) -> str:
    day = d.future_day()
    found = d.call("QueryCalendar", **whole_day(day))
    topic = d.new_topic()
    if any(topic in event["name"].lower() for event in found.content["events"]):
        raise Infeasible("there is such an event")
    _because(d, found, "events")
    name = f"{topic.capitalize()} {d.rng.choice(SHARED.meeting_kinds)}"
    return d.say("no_such_event", name=quote(name), day=d.say_day(day))


def no_such_reminder(d: Draft) -> str:
    tasks = [reminder["task"] for reminder in d.mine("Reminder").values()]
    task = d.pick([chore for chore in d.words.chores if chore not in tasks])
    _because(d, d.call("GetReminders"), "reminders")
    return d.say("no_such_reminder", task=quote(task))


def no_such_alarm(d: Draft) -> str:
    found, words = alarms_between(d, d.rng.randrange(5, 21), 2)
    _must_be_empty(found, "alarms")
    _because(d, found, "alarms")
    return d.say("no_such_alarm", range=words)


def no_such_mail(d: Draft) -> str:
    word, person = d.new_topic().split()[0], someone(d, nested=False)
    found = d.call("SearchInbox", query=word)
    _must_be_empty(found, "emails")
    _because(d, found, "emails")
    return d.say("no_such_mail", word=quote(word), person=person.words)


def no_such_message(d: Draft) -> str:
    word, person = d.new_topic().split()[0], someone(d, nested=False)
    found = d.call("SearchMessages", query=word)
    _must_be_empty(found, "messages")
    _because(d, found, "messages")
    return d.say("no_such_message", word=quote(word), person=person.words)


def no_such_address(d: Draft) -> str:
    first, last = d.rng.choice(d.words.first_names), d.rng.choice(d.words.last_names)
    address = f"{first}-{last}@{d.rng.choice(d.words.mail_domains)}".lower()
    found = d.call("QueryUser", email=address)
    _must_be_empty(found, "users")
    _because(d, found, "users")
    return d.say("no_such_address", address=address, text=quote(d.say("a_note", topic=d.new_topic())))


def no_mail_from_them(d: Draft) -> str:
    sender, receiver = someone(d), someone(d, nested=False)
    found = d.call("SearchInbox", sender=sender.tell(d, "email"))
    _must_be_empty(found, "emails")
    _because(d, found, "emails")
    return d.say("no_mail_from_them", sender=sender.words, receiver=receiver.words)


def no_message_from_them(d: Draft) -> str:
    sender = someone(d)
    found = d.call("SearchMessages", sender=sender.tell(d, "username"))
    _must_be_empty(found, "messages")
    _because(d, found, "messages")
    return d.say("no_message_from_them", sender=sender.words)


def no_tool(d: Draft) -> str:
    """Nothing to look up: none of the tools does such a thing."""
    d.because = ()
    return d.say("no_tool", city=d.pick(d.facts.cities), street=d.pick(d.words.streets), day=d.say_day(d.future_day()))


REFUSALS: tuple[Callable[[Draft], str], ...] = (
    *(no_such_event, no_such_event, no_such_reminder, no_such_alarm, no_such_mail, no_such_message, no_such_address),
    *(no_mail_from_them, no_mail_from_them, no_message_from_them, no_message_from_them),
)


def _because(d: Draft, found: Found, key: str) -> None:
    ref = found.at(key).ref
    assert ref is not None
    d.because = (ref,)


def _must_be_empty(found: Found, key: str) -> None:
    if found.content[key]:
        raise Infeasible("there is one")
