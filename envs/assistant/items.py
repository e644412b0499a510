"""Facts that a request asks for or passes on, each with the look-ups that find it.

`text_item` gives a text that stands in a result word for word, so that a later call can take it by reference;
`QUESTIONS` are all facts, those texts among them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from tir_gym.envs.assistant.draft import Draft, moment
from tir_gym.envs.assistant.finders import (
    Thing,
    alarms_between,
    some_alarm,
    some_event,
    some_mail,
    some_message,
    some_reminder,
    someone,
    whole_day,
)
from tir_gym.envs.writing.draft import Infeasible, Value
from tir_gym.envs.writing.speech import MONTHS, say_list
from tir_gym.records import AnswerCheck, Json

AnswerType: TypeAlias = Literal["text", "number", "time", "date", "set"]


@dataclass(frozen=True)
class Item:
    """A fact: what it is called in a request, what it is, and where it is found."""

    words: str
    type: AnswerType
    value: Json
    sources: Sequence[Value]

    def check(self) -> AnswerCheck:
        """The check that the final answer states it."""
        refs = tuple(source.ref for source in self.sources if source.ref is not None)
        return AnswerCheck(type=self.type, value=self.value, sources=refs)


def text_item(d: Draft) -> Item:
    """A text to pass on."""
    return d.rng.choice(TEXTS)(d)


def somewhere(d: Draft) -> tuple[Value, str]:
    """A city with weather, by name or as the place of an event."""
    if d.rng.random() < 0.4:
        event = some_event(d, lambda event: event["location"] in d.facts.cities)
        return event.at("location"), d.say("city_of_event", event=event.words)
    city = d.take("city", d.facts.cities)
    return Value(city), city


# Texts.


def mail_subject(d: Draft) -> Item:
    mail = some_mail(d)
    return _text(d.say("mail_subject", mail=mail.words), mail.at("subject"))


def message_text(d: Draft) -> Item:
    message = some_message(d)
    return _text(d.say("message_text", message=message.words), message.at("message"))


def event_place(d: Draft) -> Item:
    event = some_event(d)
    return _text(d.say("event_place", event=event.words), event.at("location"))


def phone(d: Draft) -> Item:
    person = someone(d)
    return _text(d.say("phone_of", person=person.words), person.tell(d, "phone"))


def name(d: Draft) -> Item:
    person = someone(d)
    return _text(d.say("name_of", person=person.words), person.tell(d, "name"))


def address(d: Draft) -> Item:
    person = someone(d)
    if "email" in person.known:
        raise Infeasible("the request would name the address itself")
    return _text(d.say("address_of", person=person.words), person.tell(d, "email"))


def own_phone(d: Draft) -> Item:
    d.only_once("account")
    return _text(d.say("own_phone"), d.call("GetAccountInformation").at("user", "phone"))


def conditions_today(d: Draft) -> Item:
    city, words = somewhere(d)
    return _text(
        d.say("conditions_today", city=words), d.call("CurrentWeather", location=city).at("weather", "conditions")
    )


def conditions_ahead(d: Draft) -> Item:
    city, words = somewhere(d)
    forecast = d.call("ForecastWeather", location=city)
    ahead = d.rng.randrange(3)
    day = d.say_day(moment(f"{forecast.content['forecast'][ahead]['date']} 00:00:00").date())
    return _text(d.say("conditions_ahead", city=words, day=day), forecast.at("forecast", ahead, "conditions"))


def _text(words: str, value: Value) -> Item:
    return Item(words, "text", value.value, [value])


# Times and dates.


def event_start(d: Draft) -> Item:
    event = some_event(d)
    _must_not_tell(event, "time")
    return Item(
        d.say("event_start", event=event.words), "time", event.record["start_time"][11:16], [event.at("start_time")]
    )


def event_end(d: Draft) -> Item:
    event = some_event(d)
    return Item(d.say("event_end", event=event.words), "time", event.record["end_time"][11:16], [event.at("end_time")])


def alarm_time(d: Draft) -> Item:
    alarm = some_alarm(d)
    return Item(d.say("alarm_time", alarm=alarm.words), "time", alarm.record["time"][:5], [alarm.at("time")])


def reminder_day(d: Draft) -> Item:
    reminder = some_reminder(d, lambda reminder: reminder["due_date"] is not None)
    due = reminder.at("due_date")
    return Item(d.say("reminder_day", reminder=reminder.words), "date", str(due.value)[:10], [due])


def mail_day(d: Draft) -> Item:
    mail = some_mail(d)
    _must_not_tell(mail, "day")
    return Item(d.say("mail_day", mail=mail.words), "date", mail.record["date"][:10], [mail.at("date")])


def message_day(d: Draft) -> Item:
    message = some_message(d)
    _must_not_tell(message, "day")
    sent = message.at("timestamp")
    return Item(d.say("message_day", message=message.words), "date", str(sent.value)[:10], [sent])


def warmest_day(d: Draft) -> Item:
    city, words = somewhere(d)
    forecast = d.call("ForecastWeather", location=city)
    days = forecast.content["forecast"]
    warmest = max(range(len(days)), key=lambda place: int(days[place]["high"]))
    value = forecast.at("forecast", warmest, "date")
    return Item(d.say("warmest_day", city=words), "date", value.value, [value])


def _must_not_tell(thing: Thing, what: str) -> None:
    if thing.way == what:
        raise Infeasible(f"the request would tell the {what} itself")


# Numbers.


def temperature(d: Draft) -> Item:
    city, words = somewhere(d)
    kind = d.rng.choice(("high", "low"))
    value = d.call("CurrentWeather", location=city).at("weather", kind)
    return Item(d.say(f"{kind}_today", city=words), "number", value.value, [value])


def temperature_gap(d: Draft) -> Item:
    (city, words), (other, other_words) = somewhere(d), somewhere(d)
    highs = [d.call("CurrentWeather", location=place).at("weather", "high") for place in (city, other)]
    gap = abs(highs[0].value - highs[1].value)
    if not gap:
        raise Infeasible("no difference; it may even be one city")
    return Item(d.say("temperature_gap", city=words, other=other_words), "number", gap, highs)


def highest(d: Draft) -> Item:
    cities = [d.take("city", d.facts.cities) for _ in range(d.rng.choice((3, 3, 4)))]
    highs = [d.call("CurrentWeather", location=city).at("weather", "high") for city in cities]
    return Item(d.say("highest", cities=say_list(cities)), "number", max(high.value for high in highs), highs)


def climate(d: Draft) -> Item:
    city, words = somewhere(d)
    month = d.rng.choice(MONTHS)
    field, key = d.rng.choice(
        (("record_max_temp", "record_high"), ("avg_rainfall", "rainfall"), ("snow_days", "snow_days"))
    )
    value = d.call("HistoricWeather", location=city, month=month).at("weather", field)
    return Item(d.say(key, city=words, month=month), "number", value.value, [value])


def rainfall_of_months(d: Draft) -> Item:
    city, words = somewhere(d)
    months = d.rng.sample(MONTHS, d.rng.choice((2, 3)))
    rain = [d.call("HistoricWeather", location=city, month=month).at("weather", "avg_rainfall") for month in months]
    total = round(sum(inches.value for inches in rain), 2)
    return Item(d.say("rainfall_sum", city=words, months=say_list(months)), "number", total, rain)


def busy_day(d: Draft) -> Item:
    event = d.pick(d.mine("Calendar").values())
    day = moment(event["start_time"]).date()
    d.reserve("day", day)
    found = d.call("QueryCalendar", **whole_day(day))
    events = found.content["events"]
    return Item(d.say("events_on", day=d.say_day(day)), "number", len(events), [found.at("events")])


def alarm_count(d: Draft) -> Item:
    found, words = alarms_between(d, d.rng.randrange(5, 16), d.rng.randrange(3, 7))
    if not found.content["alarms"]:
        raise Infeasible("none, which is too easily guessed")
    return Item(d.say("alarm_count", range=words), "number", len(found.content["alarms"]), [found.at("alarms")])


# Sets.


def attendees(d: Draft) -> Item:
    event = some_event(d, lambda event: event["attendees"] and len(event["attendees"]) > 2)
    others = [place for place, one in enumerate(event.record["attendees"]) if one != d.owner]
    names = [event.at("attendees", place) for place in others]
    return Item(d.say("attendees", event=event.words), "set", [name.value for name in names], names)


def attendee_names(d: Draft) -> Item:
    event = some_event(d, lambda event: event["attendees"])
    others = [place for place, one in enumerate(event.record["attendees"]) if one != d.owner]
    users = [d.call("QueryUser", username=event.at("attendees", place)) for place in others]
    names = [user.at("users", 0, "name") for user in users]
    return Item(d.say("attendee_names", event=event.words), "set", [name.value for name in names], names)


def pending_tasks(d: Draft) -> Item:
    found = d.call("GetReminders")
    pending = [place for place, one in enumerate(found.content["reminders"]) if one["status"] == "pending"]
    tasks = [found.at("reminders", place, "task") for place in pending]
    if not tasks:
        raise Infeasible("nothing is pending")
    return Item(d.say("pending_tasks"), "set", [task.value for task in tasks], tasks)


TEXTS: tuple[Callable[[Draft], Item], ...] = (
    *(mail_subject, message_text, event_place, phone, name, address, own_phone),
    *(conditions_today, conditions_ahead),
)
QUESTIONS: tuple[Callable[[Draft], Item], ...] = (
    *TEXTS,
    *(event_start, event_end, alarm_time, reminder_day, mail_day, message_day, warmest_day),
    *(temperature, temperature_gap, highest, highest, climate, rainfall_of_months, rainfall_of_months),
    *(busy_day, alarm_count, attendees, attendee_names, attendee_names, pending_tasks),
)
"""Every kind of fact; those of several look-ups twice."""
