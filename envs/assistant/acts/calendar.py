"""Putting events into the calendar, changing them, taking them out."""

from __future__ import annotations

from datetime import datetime, time, timedelta

from tir_gym.envs.assistant.draft import Draft
from tir_gym.envs.assistant.finders import Person, some_event, someone
from tir_gym.envs.writing.draft import Infeasible, quote
from tir_gym.envs.writing.speech import say_list, say_time

WHEN = ("time", "when", "hour", "slot", "the start", "o'clock", "set to", "set for")
"""Words of a question that asks for a time."""


def create_meeting(d: Draft, ask: bool = False) -> str:
    people: list[Person] = []
    for _ in range(d.rng.choice((1, 2, 2))):
        people.append(someone(d, besides=[person.username for person in people]))
    return meet(d, people, ask)


def meet(d: Draft, people: list[Person], ask: bool = False) -> str:
    name = d.say("a_meeting", topic=d.new_topic().capitalize())
    start, end = a_slot(d)
    attendees = [person.tell(d, "username") for person in people]
    words = d.say(
        "create_meeting_ask" if ask else "create_meeting",
        people=say_list([person.words for person in people]),
        name=quote(name),
        day=d.say_day(start.date()),
        **say_times(start, end),
    )
    if ask:
        d.ask(
            "time",
            WHEN,
            d.say("reply_times", **say_times(start, end)),
        )
    d.call(
        "CreateEvent", name=name, event_type="meeting", start_time=str(start), end_time=str(end), attendees=attendees
    )
    return words


def create_event(d: Draft) -> str:
    name, place = d.say("an_event", topic=d.new_topic()), d.pick(d.words.rooms)
    start, end = a_slot(d)
    d.call("CreateEvent", name=name, event_type="event", start_time=str(start), end_time=str(end), location=place)
    day = d.say_day(start.date())
    return d.say("create_event", name=quote(name), place=quote(place), day=day, **say_times(start, end))


def follow_up(d: Draft) -> str:
    event = some_event(d, lambda event: event["attendees"])
    name = d.say("a_meeting", topic=d.new_topic().capitalize())
    start, end = a_slot(d)
    d.call(
        "CreateEvent",
        name=name,
        event_type="meeting",
        start_time=str(start),
        end_time=str(end),
        attendees=event.at("attendees"),
    )
    day = d.say_day(start.date())
    return d.say("follow_up", event=event.words, name=quote(name), day=day, **say_times(start, end))


def reschedule(d: Draft, ask: bool = False) -> str:
    event = some_event(d)
    start, end = a_slot(d)
    day = d.say_day(start.date())
    words = d.say("reschedule_ask" if ask else "reschedule", event=event.words, day=day, **say_times(start, end))
    if ask:
        d.ask(
            "time",
            WHEN,
            d.say("reply_times", **say_times(start, end)),
        )
    d.call("ModifyEvent", event_id=event.at("event_id"), new_start_time=str(start), new_end_time=str(end))
    return words


def relocate(d: Draft, ask: bool = False) -> str:
    event = some_event(d)
    place = d.pick([room for room in d.words.rooms if room != event.record["location"]])
    words = d.say("relocate_ask" if ask else "relocate", event=event.words, place=quote(place))
    if ask:
        d.ask(
            "place",
            ("place", "where", "location", "room", "venue", "address"),
            d.say("reply_place", place=quote(place)),
        )
    d.call("ModifyEvent", event_id=event.at("event_id"), new_location=place)
    return words


def relocate_like(d: Draft) -> str:
    event, other = some_event(d), some_event(d)
    if event.record["location"] == other.record["location"]:
        raise Infeasible("nothing would change")
    d.call("ModifyEvent", event_id=event.at("event_id"), new_location=other.at("location"))
    return d.say("relocate_like", event=event.words, other=other.words)


def invite(d: Draft) -> str:
    event = some_event(d, lambda event: event["attendees"])
    person = someone(d, besides=event.record["attendees"])
    attendees = [event.at("attendees", place) for place in range(len(event.record["attendees"]))]
    d.call("ModifyEvent", event_id=event.at("event_id"), new_attendees=[*attendees, person.tell(d, "username")])
    return d.say("invite", event=event.words, person=person.words)


def cancel(d: Draft) -> str:
    event = some_event(d)
    d.call("DeleteEvent", event_id=event.at("event_id"))
    return d.say("cancel", event=event.words)


def call_off(d: Draft) -> str:
    """Cancel a meeting and tell everyone in it."""
    event = some_event(d, lambda event: event["attendees"])
    text = d.say("a_note_to_all")
    for place, one in enumerate(event.record["attendees"]):
        if one != d.owner:
            d.call("SendMessage", receiver=event.at("attendees", place), message=text)
    d.call("DeleteEvent", event_id=event.at("event_id"))
    return d.say("call_off", event=event.words, text=quote(text))


def a_slot(d: Draft) -> tuple[datetime, datetime]:
    """Beginning and end of something on a day that the request does not speak of elsewhere."""
    start = datetime.combine(d.future_day(), time(d.rng.randrange(8, 18), d.rng.choice((0, 10, 20, 30, 40, 50))))
    return start, start + timedelta(minutes=d.rng.choice((30, 45, 60, 90)))


def say_times(start: datetime, end: datetime) -> dict[str, str]:
    return {"start": say_time(start.time()), "end": say_time(end.time())}
