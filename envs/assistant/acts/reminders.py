"""Reminders and alarms. What a task does to either it does once, so that nothing depends on the order of its parts."""

from __future__ import annotations

from datetime import time

from tir_gym.envs.assistant.acts.calendar import WHEN, a_slot
from tir_gym.envs.assistant.draft import Draft
from tir_gym.envs.assistant.finders import alarms_between, some_alarm, some_event, some_reminder
from tir_gym.envs.assistant.items import text_item
from tir_gym.envs.writing.draft import Infeasible, quote
from tir_gym.envs.writing.speech import say_time


def add_reminder(d: Draft, ask: bool = False) -> str:
    d.only_once("due date")
    task, day = _new_chore(d), d.future_day()
    words = d.say("add_reminder_ask" if ask else "add_reminder", task=quote(task), day=d.say_day(day))
    if ask:
        d.ask("task", ("task", "what", "remind", "about"), d.say("reply_task", task=quote(task)))
    d.call("AddReminder", task=task, due_date=f"{day} 00:00:00")
    return words


def add_timed_reminder(d: Draft) -> str:
    d.only_once("due date")
    task, (start, _) = _new_chore(d), a_slot(d)
    d.comparators["Reminder.due_date"] = "exact"
    d.call("AddReminder", task=task, due_date=str(start))
    return d.say("add_timed_reminder", task=quote(task), day=d.say_day(start.date()), time=say_time(start.time()))


def remind_of_item(d: Draft) -> str:
    d.only_once("due date")
    d.comparators["Reminder.task"] = "folded"
    item, day = text_item(d), d.future_day()
    d.call("AddReminder", task=item.sources[0], due_date=f"{day} 00:00:00")
    return d.say("remind_of_item", item=item.words, day=d.say_day(day))


def remind_of_event(d: Draft) -> str:
    d.only_once("due date")
    event, task = some_event(d), _new_chore(d)
    d.comparators["Reminder.due_date"] = "exact"
    d.call("AddReminder", task=task, due_date=event.at("start_time"))
    return d.say("remind_of_event", task=quote(task), event=event.words)


def complete_reminder(d: Draft) -> str:
    reminder = some_reminder(d)
    d.call("CompleteReminder", reminder_id=reminder.at("reminder_id"))
    return d.say("complete_reminder", reminder=reminder.words)


def delete_reminder(d: Draft) -> str:
    reminder = some_reminder(d)
    d.call("DeleteReminder", reminder_id=reminder.at("reminder_id"))
    return d.say("delete_reminder", reminder=reminder.words)


def replace_reminder(d: Draft) -> str:
    d.only_once("due date")
    reminder, day = some_reminder(d), d.future_day()
    d.call("DeleteReminder", reminder_id=reminder.at("reminder_id"))
    d.call("AddReminder", task=reminder.at("task"), due_date=f"{day} 00:00:00")
    return d.say("replace_reminder", reminder=reminder.words, day=d.say_day(day))


def add_alarm(d: Draft, ask: bool = False) -> str:
    d.only_once("alarms")
    at = _new_alarm(d)
    words = d.say("add_alarm_ask" if ask else "add_alarm", time=say_time(at))
    if ask:
        d.ask("time", WHEN, d.say("reply_time", time=say_time(at)))
    d.call("AddAlarm", time=str(at))
    return words


def delete_alarm(d: Draft) -> str:
    d.only_once("alarms")
    alarm = some_alarm(d)
    d.call("DeleteAlarm", alarm_id=alarm.at("alarm_id"))
    return d.say("delete_alarm", alarm=alarm.words)


def move_alarm(d: Draft) -> str:
    d.only_once("alarms")
    alarm, at = some_alarm(d), _new_alarm(d)
    d.call("DeleteAlarm", alarm_id=alarm.at("alarm_id"))
    d.call("AddAlarm", time=str(at))
    return d.say("move_alarm", alarm=alarm.words, time=say_time(at))


def clear_alarms(d: Draft) -> str:
    d.only_once("alarms")
    found, words = alarms_between(d, d.rng.randrange(5, 16), d.rng.randrange(3, 7))
    alarms = found.content["alarms"]
    if len(alarms) < 2:
        raise Infeasible("fewer than two alarms")
    for place in range(len(alarms)):
        d.call("DeleteAlarm", alarm_id=found.at("alarms", place, "alarm_id"))
    return d.say("clear_alarms", range=words)


def _new_alarm(d: Draft) -> time:
    """At ten past or the like, so that no look-up of whole hours meets it at its bounds."""
    at = time(d.rng.randrange(4, 23), d.rng.choice((5, 10, 20, 25, 35, 40, 50, 55)))
    if any(alarm["time"] == str(at) for alarm in d.mine("Alarm").values()):
        raise Infeasible("there is one already")
    return at


def _new_chore(d: Draft) -> str:
    mine = {reminder["task"] for reminder in d.mine("Reminder").values()}
    return d.take("chore", [chore for chore in d.words.chores if chore not in mine])
